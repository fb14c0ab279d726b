"""Self-reenactment: `evaluate/reenact.py`, with engines whose results are known and with the plan that ships."""

from pathlib import Path

import numpy as np
import pytest

from fetfast import image
from fetfast.engine import Engine
from fetfast.evaluate.reenact import SIDE, describe, follow, reenact
from fetfast.evaluate.similarity import face_box, psnr
from fetfast.face import Landmarker, crop_matrix, to_crop
from fetfast.ops.crop import crop

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture(scope="module")
def engine():
    return Engine("flow_fp32.plan", "eager")


@pytest.fixture(scope="module")
def clip(engine):
    """Three frames, each with its face: a made-up person, the same twice, and half of another laid over."""
    smile, other = (image.load(DEMO / f"{name}.png") for name in ("smile", "surprise"))
    mixed = (smile * 0.7 + other * 0.3).astype(np.uint8)
    return [(engine.landmarker.detect(frame)[0], frame) for frame in (smile, smile, mixed)]


@pytest.fixture
def frames(engine, clip, monkeypatch):
    """Its frames, in which the engine finds those faces, whatever it saw before."""
    faces = {id(frame): face for face, frame in clip}
    monkeypatch.setattr(engine, "follow", lambda frame, _: faces.get(id(frame)))
    return [frame for _, frame in clip]


def test_a_clip_that_stands_still(engine, frames):
    figures = reenact(engine, frames[:2])
    assert figures["copy_psnr"] == pytest.approx(100) and figures["copy_ssim"] == pytest.approx(1)
    assert figures["psnr"] > 30 and figures["landmarks_psnr"] > 40  # nothing to do: nothing much is done
    assert figures["landmarks_psnr"] >= figures["psnr"] - 0.1


def test_figures_are_means_over_the_frames_but_the_first(engine, clip, frames):
    both, one, other = reenact(engine, frames), reenact(engine, frames[:2]), reenact(engine, [frames[0], frames[2]])
    for name in both:
        assert both[name] == pytest.approx((one[name] + other[name]) / 2)
    (face, first), (there, mixed) = clip[0], clip[2]
    box = face_box(to_crop(there.landmarks[:, :2], crop_matrix(there.landmarks)), SIDE)
    crops = [crop(f, crop_matrix(who.landmarks), SIDE) for who, f in ((face, first), (there, mixed))]
    assert other["copy_psnr"] == pytest.approx(psnr(*crops, box))


def test_faces_are_followed(engine, clip, monkeypatch):
    seen = []
    monkeypatch.setattr(engine, "follow", lambda frame, previous: seen.append(previous) or clip[0][0])
    reenact(engine, [frame for _, frame in clip])
    assert seen == [None, clip[0][0], clip[0][0]]


def test_frames_without_a_face_are_passed_over(engine, frames):
    empty = np.full_like(frames[0], 90)
    assert reenact(engine, [empty, *frames[:2], empty]) == reenact(engine, frames[:2])
    assert reenact(engine, [empty, frames[0], empty]) is None


def test_the_line_names_all_three(engine, frames):
    both = reenact(engine, frames)
    line = describe(both)
    assert all(f"{both[name]:.2f} dB" in line for name in ("psnr", "copy_psnr", "landmarks_psnr"))


def test_following_landmarks_moves_the_face_there(engine, clip):
    face, frame = clip[0]
    target = engine.prepare(frame, face)
    M = crop_matrix(face.landmarks)
    points = to_crop(face.landmarks[:, :2], M).astype(np.float32)
    wanted = points.copy()
    # The mouth's corners drawn together.
    away = points - points[[61, 291]].mean(0)
    wanted -= 0.25 * away * np.exp(-np.square(away / 0.2).sum(1, keepdims=True))
    still, moved = (follow(engine, target, face, frame, p) for p in (points, wanted))
    assert np.abs(still.astype(int) - frame).max() <= 2
    seen = to_crop(Landmarker(threads=1).detect(moved)[0].landmarks[:, :2], M)
    mouth = [61, 291]
    asked = np.linalg.norm(wanted[mouth] - points[mouth], axis=1).mean()
    left = np.linalg.norm(wanted[mouth] - seen[mouth], axis=1).mean()
    assert asked > 0.008 and left < 0.6 * asked
