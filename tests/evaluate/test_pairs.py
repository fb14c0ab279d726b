"""Pairs whose truth is known: `evaluate/pairs.py`."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fetfast import image  # noqa: E402
from fetfast.engine import Engine  # noqa: E402
from fetfast.evaluate import pairs  # noqa: E402
from fetfast.evaluate.album import Album  # noqa: E402
from fetfast.face import Landmarker, crop_matrix, to_crop  # noqa: E402
from fetfast.ops.crop import crop, to_picture  # noqa: E402
from fetfast.ops.heatmap import first_flow  # noqa: E402
from fetfast.ops.paste import paste  # noqa: E402

SIDE = 192


@pytest.fixture(scope="module")
def engine():
    return Engine("flow_fp32.plan", "eager")


@pytest.fixture(scope="module")
def scene(engine):
    """A made-up face in its crop, its landmarks, landmarks that smile less, and the picture warped to them as family
    `flow` does it."""
    picture = image.load(Path(__file__).parents[2] / "demo" / "smile.png")
    face = Landmarker(threads=1).detect(picture)[0]
    M = crop_matrix(face.landmarks)
    frame = to_picture(crop(picture, M, SIDE))
    points = to_crop(face.landmarks[:, :2], M).astype(np.float32)
    away = points - points[[61, 291]].mean(0)
    driven = points - 0.12 * away * np.exp(-np.square(away / 0.12).sum(1, keepdims=True))
    own = np.array([[SIDE, 0, 0], [0, SIDE, 0]], np.float32)
    flow = first_flow(points[None], driven[None].astype(np.float32), engine.plan.spec.resolution)[0]
    return (
        np.ascontiguousarray(frame),
        points,
        driven.astype(np.float32),
        paste(np.ascontiguousarray(frame), own, flow=flow),
    )


def pair_of(scene, truth):
    frame, points, driven, _ = scene
    return {"target": frame, "truth": truth, "target_points": points, "driven_points": driven}


def figures(engine, pair):
    setup = SimpleNamespace(engines={"plan": engine}, album=Album(open=True))
    found = {}
    for r in pairs.compared(setup, "somebody", pair):
        found.setdefault(r.method, {})[r.figure] = r.top / r.below
    assert set(setup.album.pages()["pairs"][0][0].pictures) == {"target", "truth", "result"}
    return found


def test_the_truth_that_the_warp_makes(engine, scene):
    found = figures(engine, pair_of(scene, scene[3]))
    assert found["plan"]["face, dB"] > 50 and found["plan"]["mouth, dB"] > 50  # family flow is that warp
    assert found["plan"]["face, SSIM"] == pytest.approx(1, abs=1e-3)
    assert found["copy"]["face, dB"] < 40 and found["copy"]["face, SSIM"] < 0.995
    assert found["copy"]["mouth, dB"] < found["copy"]["face, dB"]  # the change is at the mouth


def test_the_unchanged_target(engine, scene):
    found = figures(engine, pair_of(scene, scene[0]))
    assert found["copy"]["face, dB"] == pytest.approx(100) and found["copy"]["face, SSIM"] == pytest.approx(1)
    assert found["plan"]["face, dB"] < 50 and found["plan"]["mouth, dB"] < 40


def test_pairs_of_photographs_are_the_same_each_time(shared):
    setup = SimpleNamespace(data=shared)
    file = shared / "portraits" / "005.jpg"
    first, again = (list(pairs.made(setup, [file], 2)) for _ in range(2))
    assert [name for name, _ in first] == ["005", "005"]
    for (_, a), (_, b) in zip(first, again, strict=True):
        assert np.array_equal(a["truth"], b["truth"]) and a["truth"].shape == (pairs.MADE, pairs.MADE, 3)
    assert not np.array_equal(first[0][1]["truth"], first[1][1]["truth"])
    assert not np.array_equal(first[0][1]["truth"], first[0][1]["target"])
