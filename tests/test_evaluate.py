"""What may be fed to `fetfast evaluate`, and a run of it."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from clips import QUARTERS, raw, turn

from fetfast.errors import BadInput, MissingAsset, Unavailable
from fetfast.evaluate import PROTOCOLS, compare, evaluate, points
from fetfast.evaluate import data as pictures
from fetfast.evaluate.album import Album
from fetfast.evaluate.report import page
from fetfast.face import Landmarker


def test_folders_by_name_and_videos_by_step(tmp_path, data):
    for name in ("b.png", "a.JPG", "notes.txt"):
        shutil.copy(data / "portraits" / "001.jpg", tmp_path / name)
    assert [name for name, _ in pictures.frames(tmp_path)] == ["a.JPG", "b.png"]
    clip = list(pictures.frames(data / "clips" / "single_face.mp4", every=24))
    assert [name for name, _ in clip] == [f"single_face.mp4 frame {i}" for i in (0, 24, 48)]
    assert clip[0][1].ndim == 3 and clip[0][1].shape[2] == 3 and clip[0][1].dtype == np.uint8


def test_what_is_no_picture(tmp_path):
    for name, content in (("empty.mp4", b""), ("notes.txt", b"no video")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match="cannot be opened as a video"):
            list(pictures.frames(tmp_path / name))
    with pytest.raises(BadInput, match="no such"):
        list(pictures.frames(tmp_path / "absent"))
    with pytest.raises(BadInput, match="no photographs"):
        list(pictures.frames(tmp_path))
    with pytest.raises(BadInput, match="every is 0"):
        list(pictures.frames(tmp_path, every=0))


@pytest.mark.parametrize("range_", [1, 2])
def test_a_phones_clip_is_upright_and_in_its_colours(tmp_path, range_):
    pytest.importorskip("av")
    path = raw(tmp_path / "v.mp4", "libx264", frames=3, color_range=range_, options={"crf": "5"})
    for name, frame in pictures.frames(turn(path, 1), every=2):
        assert name in ("v.mp4 frame 0", "v.mp4 frame 2")
        difference = np.abs(np.rot90(frame, -1).astype(int) - QUARTERS)
        assert max(difference[y : y + 16, x : x + 24].max() for y in (8, 40) for x in (12, 60)) <= 5


def test_a_video_without_pyav(monkeypatch, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(Unavailable, match=r"fetfast\[video\]"):
        list(pictures.frames(tmp_path / "clip.mp4"))


def test_no_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("FETFAST_DATA", str(tmp_path))
    with pytest.raises(MissingAsset, match="--targets"):
        pictures.default("portraits")


@pytest.mark.parametrize(("about", "left"), [
    ({}, ["a.jpg", "b.jpg", "c.jpg"]),
    ({"data": {"portraits": ["a.jpg", "b.jpg"], "held_out": [1]}}, ["b.jpg", "c.jpg"]),
    ({"data": {"identities": 7, "held_out": [1, 5]}}, ["a.jpg", "b.jpg", "c.jpg"]),
    ({"data": {"videos": ["a.mp4"], "held_out": []}}, ["a.jpg", "b.jpg", "c.jpg"]),
])  # fmt: skip
def test_portraits_a_plan_was_trained_on_are_left_out(about, left):
    photos = [Path("folder", name) for name in ("a.jpg", "b.jpg", "c.jpg")]
    assert [p.name for p in pictures.unseen(SimpleNamespace(provenance=about), photos)] == left


def test_a_sheet_is_filled_up_with_faces_that_are_no_portraits(data):
    from fetfast.evaluate.sheet import strangers

    shown = list(strangers())
    landmarker = Landmarker(threads=1)
    assert len(shown) == 2 and all(len(landmarker.detect(frame)) == 1 for frame in shown)


@pytest.fixture
def judges():
    if reason := points.why_not():
        pytest.skip(reason)


def test_a_protocol_that_there_is_not(judges):
    with pytest.raises(BadInput, match="expected some of actions"):
        evaluate("flow_fp32", ["dance"])


def test_without_the_judges(monkeypatch):
    monkeypatch.setattr(points, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"fetfast\[judges\]"):
        evaluate("flow_fp32")


def test_no_face_at_all(tmp_path, data, judges):
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "wall.png")
    with pytest.raises(BadInput, match="no face in any of 1 pictures"):
        evaluate("flow_fp32", ["clip"], targets=tmp_path)


def test_a_run_end_to_end(tmp_path, data, judges):
    """Two people and what is quick: the figures are those that a plan must reach, the report shows them."""
    for name in ("001.jpg", "005.jpg"):
        shutil.copy(data / "portraits" / name, tmp_path)
    album = Album(open=True)
    figures = evaluate("flow_fp32", ["clip", "reenact"], quick=True, targets=tmp_path, album=album)
    assert list(figures["figures"]) == ["clip", "reenact"] and set(figures["people"]) == {"001", "005"}
    clip = {figure: row["plan"][0] for figure, row in figures["figures"]["clip"].items()}
    assert clip["gap closed (landmarker)"] > 0.3 and clip["mouth open, slope"] > 0.5
    assert clip["identity, distance to the target"] < 0.4 and clip["nearer to the target"] > 0.5
    copied = {figure: row["copy"][0] for figure, row in figures["figures"]["clip"].items()}
    assert copied["gap closed (landmarker)"] == 0 and copied["lids, slope"] == pytest.approx(0, abs=1e-6)
    assert copied["identity, distance to the target"] == pytest.approx(0, abs=1e-6)
    driver = {figure: row["driver"][0] for figure, row in figures["figures"]["clip"].items()}
    assert driver["gap closed (landmarker)"] == 1 and driver["nearer to the target"] == 0
    assert all(driver[f"{name} agrees"] == 1 > copied[f"{name} agrees"] for name in ("facex", "fer"))
    again = json.loads(json.dumps(figures, allow_nan=False))
    assert "lids, slope" in compare.table(again) and "flow_fp32" in page(again, album)
    assert len(album.pages()["clip"][0]) == 2 and set(PROTOCOLS) >= set(album.pages())
