"""The scaling suite: costs are told by the item, and what is timed was right."""

import numpy as np
import pytest

pytest.importorskip("torch")

import bench_scaling
import measure

from fetfast import _native


@pytest.fixture
def clock(monkeypatch):
    """A call takes as many ms as it returns."""
    timed = lambda ways, *_, **__: {w: measure.Timing.of([call(), 2 * call()]) for w, call in ways.items()}  # noqa: E731
    monkeypatch.setattr(measure, "interleaved", timed)


@pytest.mark.usefixtures("clock")
def test_items_are_what_is_compared():
    rows = bench_scaling.series("case", {2: lambda: 4.0, 8: lambda: 8.0}, 2, items=True)
    assert [(row["way"], row["size"], row["item_ms"], row["ratio"]) for row in rows] == [
        ("2", 2, 3.0, 1.0), ("8", 8, 1.5, 2.0),  # four times the items for twice the time
    ]  # fmt: skip


@pytest.mark.usefixtures("clock")
def test_one_picture_is_one_item_at_any_size():
    rows = bench_scaling.series("case", {128: lambda: 1.0, 256: lambda: 4.0}, 2)
    assert [(row["item_ms"], row["ratio"]) for row in rows] == [(1.5, 1.0), (6.0, 0.25)]


def test_a_batch_that_mixes_its_items_is_not_timed(monkeypatch):
    def mixed(stages, inputs):
        return [array[::-1] for given in inputs.values() for array in given.values()]

    monkeypatch.setattr(bench_scaling, "run", mixed)
    with pytest.raises(AssertionError, match="another one's result"):
        bench_scaling.batches((1, 2), 1)


def test_faces_of_one_frame():
    rows = bench_scaling.faces((1, 2), 1)
    cases = [row["case"] for row in rows]
    assert len(rows) == 6 and cases[0] == "faces: finding them" and "eager fp32" in cases[2]


def test_threads_are_given_back():
    before = _native.threads()
    rows = bench_scaling.threads((1, 2), 1)
    assert _native.threads() == before
    assert [row["size"] for row in rows] == [1, 2] * 5


def test_frames_show_one_face_at_any_side():
    rows = bench_scaling.frames((128, 256), 1)
    assert np.isfinite([row["item_ms"] for row in rows]).all() and len(rows) == 6
