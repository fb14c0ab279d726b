"""The measures by hand-made figures, what may be fed to them, and a run on two portraits."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from clips import QUARTERS, raw, turn

from fetfast.errors import BadInput, MissingAsset, Unavailable
from fetfast.evaluate import data as pictures
from fetfast.evaluate import evaluate, expression, identity, reenact, table
from fetfast.face import Landmarker

rng = np.random.default_rng(0)
T, D, E = 3, 5, 52


@pytest.fixture
def faces():
    """Targets [3, 52] and drivers [5, 52], of which blendshapes 0 ... 9 vary."""
    drivers = np.full((D, E), 0.2)
    drivers[:, :10] += np.linspace(0, 0.5, D)[:, None]
    return rng.uniform(0, 1, (T, E)), drivers


def test_the_drivers_own_expression_closes_the_gap(faces):
    targets, drivers = faces
    figures = expression.score(targets, drivers, np.broadcast_to(drivers, (T, D, E)))
    assert figures["gap_closed"] == 1 and figures["corr_within"] == pytest.approx(1)
    assert len(figures["blendshapes"]) == 10


def test_the_unchanged_target_closes_nothing(faces):
    targets, drivers = faces
    figures = expression.score(targets, drivers, np.repeat(targets[:, None], D, axis=1))
    assert figures["gap_closed"] == 0 and figures["corr_within"] == pytest.approx(0)


def test_half_the_way_closes_half(faces):
    targets, drivers = faces
    outputs = (targets[:, None] + drivers) / 2
    outputs[..., 10:] = 9  # what does not vary in the driver does not count
    figures = expression.score(targets, drivers, outputs)
    assert figures["gap_closed"] == pytest.approx(0.5) and figures["corr_within"] == pytest.approx(1)


def test_moving_the_wrong_way_is_below_nothing(faces):
    targets, drivers = faces
    figures = expression.score(targets, drivers, 2 * targets[:, None] - drivers)
    assert figures["gap_closed"] == pytest.approx(-1) and figures["corr_within"] == pytest.approx(-1)


def test_a_lost_face_counts_as_the_target_unchanged(faces):
    targets, drivers = faces
    outputs = np.array(np.broadcast_to(drivers, (T, D, E)))
    outputs[0] = np.nan
    gap = np.abs(targets[:, None] - drivers)[..., :10].sum(axis=(1, 2))
    assert expression.score(targets, drivers, outputs)["gap_closed"] == pytest.approx(1 - gap[0] / gap.sum())


def test_one_driving_picture_has_no_correlation(faces):
    targets, drivers = faces
    figures = expression.score(targets, drivers[:1], np.broadcast_to(drivers[:1], (T, 1, E)))
    assert figures["gap_closed"] == 1 and figures["corr_within"] is None and len(figures["blendshapes"]) == E
    assert "does not vary" in expression.describe(figures)


def test_identity_distances():
    targets, drivers = np.zeros((2, 128)), np.zeros((1, 128))
    drivers[0, 0] = 1.0
    outputs = np.zeros((2, 1, 128))
    outputs[0, 0, 0], outputs[1, 0, 0] = 0.25, 0.75
    figures = identity.score(targets, drivers, outputs)
    assert figures == {"to_target": 0.5, "to_driver": 0.5, "nearer_to_target": 0.5}
    outputs[0] = np.nan
    assert identity.score(targets, drivers, outputs) == {"to_target": 0.75, "to_driver": 0.25, "nearer_to_target": 0}
    outputs[:] = np.nan
    figures = identity.score(targets, drivers, outputs)
    assert figures == {"to_target": None, "to_driver": None, "nearer_to_target": 0}
    assert identity.describe(figures) == "no result shows a face"


def test_each_target_may_have_its_own_drivers(faces):
    targets, drivers = faces
    own = np.stack([drivers, drivers[::-1], drivers + 0.1])
    outputs = (targets[:, None] + own) / 2
    figures = expression.score(targets, own, outputs)
    assert figures["gap_closed"] == pytest.approx(0.5) and figures["corr_within"] == pytest.approx(1)
    swapped = expression.score(targets, own, outputs[[1, 0, 2]])
    assert swapped["corr_within"] == pytest.approx(-1 / 3)  # two against, one with
    one = expression.score(targets, own[:, :1], outputs[:, :1])
    assert one["corr_within"] is None  # they differ from target to target, not within one
    apart = np.zeros((T, D, 128))
    apart[1] = 1
    away = identity.score(np.zeros((T, 128)), apart, np.zeros((T, D, 128)))
    assert away["to_driver"] == pytest.approx(np.sqrt(128) / 3) and away["nearer_to_target"] == pytest.approx(1 / 3)


def test_the_identity_judge_knows_people_apart(data):
    if reason := identity.why_not():
        pytest.skip(reason)
    from fetfast import image
    from fetfast.face import Landmarker

    read, landmarker = identity.reader(), Landmarker()
    photos = [image.load(p) for p in sorted((data / "portraits").glob("*.jpg"))[:2]]
    photos.append(photos[0][40:-8, 24:-24])  # the same person, cropped
    a, b, again = (read(photo, landmarker.detect(photo)[0]) for photo in photos)
    assert np.linalg.norm(a - again) < 0.3 < 0.6 < np.linalg.norm(a - b)


def test_the_missing_judge_is_named(monkeypatch):
    monkeypatch.setattr(identity, "find_spec", lambda name: None)
    assert "fetfast[judges]" in (identity.why_not() or "")


def test_folders_by_name_and_videos_by_step(tmp_path, data):
    for name in ("b.png", "a.JPG", "notes.txt"):
        shutil.copy(data / "portraits" / "001.jpg", tmp_path / name)
    assert [name for name, _ in pictures.frames(tmp_path)] == ["a.JPG", "b.png"]
    clip = list(pictures.frames(data / "clips" / "single_face.mp4", every=24))
    assert [name for name, _ in clip] == [f"single_face.mp4 frame {i}" for i in (0, 24, 48)]
    assert clip[0][1].shape == (360, 640, 3) and clip[0][1].dtype == np.uint8


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


@dataclass
class Copier:
    """An engine that gives back the target, the driver or a grey frame, whatever it is asked for."""

    gives: str
    plan: ClassVar = SimpleNamespace(name="copier", digest="0")
    backend: ClassVar = "none"

    def prepare(self, frame, face):
        return frame

    def follow(self, frame, previous):
        return None

    def render(self, face, target, frame):
        return {"target": target, "driver": frame, "grey": np.full_like(target, 127)}[self.gives]


@pytest.fixture
def two(tmp_path, data):
    """A folder of two portraits and a picture without a face."""
    for name in ("001.jpg", "005.jpg"):
        shutil.copy(data / "portraits" / name, tmp_path)
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "wall.png")
    return tmp_path


@pytest.mark.parametrize("gives, gap, lost", [("target", 0, 0), ("driver", 1, 0), ("grey", 0, 4)])
def test_a_run_end_to_end(two, data, monkeypatch, gives, gap, lost):
    monkeypatch.setattr(identity, "why_not", lambda: "not today")
    monkeypatch.setattr(reenact, "reenact", lambda engine, frames: {"frames": len(list(frames))})
    monkeypatch.setattr(reenact, "describe", lambda figures: f"{figures['frames']} frames")
    figures = evaluate(Copier(gives), two, data / "clips" / "single_face.mp4", every=40)
    assert figures["targets"] == 2 and figures["drivers"] == 2 and figures["results_without_face"] == lost
    assert figures["without_face"] == ["wall.png"]
    assert figures["measures"]["expression"]["gap_closed"] == pytest.approx(gap, abs=1e-6)
    others = figures["others"]
    assert others["drivers"] == 1 and others["results_without_face"] == lost / 2
    assert others["measures"]["expression"]["gap_closed"] == pytest.approx(gap, abs=1e-6)
    assert figures["measures"]["reenactment"] == {"frames": 72}  # every one
    text = table(json.loads(json.dumps(figures, allow_nan=False)))
    assert text.count("gap closed") == 2 and "each target driven by 1 of the others" in text
    assert "gap closed" in text and "identity    left out: not today" in text and "wall.png" in text


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("gives", ["target", "grey"])
def test_one_driving_frame_and_one_target(two, data, gives):
    (two / "005.jpg").unlink()
    figures = evaluate(Copier(gives), two, data / "clips" / "single_face.mp4", every=100)
    assert figures["drivers"] == figures["targets"] == 1 and "others" not in figures
    assert "reenactment" not in figures["measures"]
    assert figures["measures"]["expression"]["corr_within"] is None
    assert "NaN" not in json.dumps(figures) and "nan" not in table(figures)


def test_what_cannot_be_compared_is_said(two, data, monkeypatch):
    def lacking(engine, frames):
        raise Unavailable("no scikit-image")

    monkeypatch.setattr(reenact, "reenact", lacking)
    figures = evaluate(Copier("target"), two, data / "clips" / "single_face.mp4", every=40)
    assert figures["measures"]["reenactment"] == {"unavailable": "no scikit-image"}
    assert "reenactment left out: no scikit-image" in table(figures)


@pytest.mark.parametrize(("about", "left"), [
    ({}, ["a.jpg", "b.jpg", "c.jpg"]),
    ({"data": {"portraits": ["a.jpg", "b.jpg"], "held_out": [1]}}, ["b.jpg", "c.jpg"]),
    ({"data": {"identities": 7, "held_out": [1, 5]}}, ["a.jpg", "b.jpg", "c.jpg"]),
    ({"data": {"videos": ["a.mp4"], "held_out": []}}, ["a.jpg", "b.jpg", "c.jpg"]),
])  # fmt: skip
def test_portraits_a_plan_was_trained_on_are_left_out(about, left):
    photos = [Path("folder", name) for name in ("a.jpg", "b.jpg", "c.jpg")]
    assert [p.name for p in pictures.unseen(SimpleNamespace(provenance=about), photos)] == left


def test_no_face_at_all(tmp_path, data):
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "wall.png")
    with pytest.raises(BadInput, match="at least one driver"):
        evaluate(Copier("target"), data / "portraits", tmp_path)


def test_the_shipped_plan_closes_the_gap(two, data):
    """Two portraits and four frames only; the bar over all of them is `fetfast evaluate`'s."""
    figures = evaluate("flow_fp32.plan", two, data / "clips" / "single_face.mp4", every=20)
    assert figures["measures"]["expression"]["gap_closed"] > 0.2


def test_a_sheet_is_filled_up_with_faces_that_are_no_portraits(data):
    from fetfast.evaluate.sheet import strangers

    shown = list(strangers())
    landmarker = Landmarker(threads=1)
    assert len(shown) == 2 and all(len(landmarker.detect(frame)) == 1 for frame in shown)
