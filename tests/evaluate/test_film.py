"""Self-reenactment, jitter and flicker, by ways whose answer is known and with the plan that ships."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fetfast import image
from fetfast.engine import Engine
from fetfast.evaluate import film, points
from fetfast.evaluate.album import Album
from fetfast.evaluate.figures import add_up, estimates
from fetfast.evaluate.setup import Person, Setup
from fetfast.face import Landmarker, crop_matrix, to_crop

if reason := points.why_not():
    pytest.skip(reason, allow_module_level=True)

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture(scope="module")
def setup():
    return Setup(Engine("flow_fp32.plan", "eager"), None, [], DEMO, True)


@pytest.fixture(scope="module")
def clip(setup):
    """Three frames: a made-up person, the same twice, and half of another laid over."""
    smile, other = (image.load(DEMO / f"{name}.png") for name in ("smile", "surprise"))
    mixed = (smile * 0.7 + other * 0.3).astype(np.uint8)
    face = setup.landmarker.detect(smile)[0]
    there = setup.landmarker.detect(mixed)[0]
    return [Person(f"frame {n}", *pair) for n, pair in enumerate(((smile, face), (smile, face), (mixed, there)))]


def reenacted(setup, monkeypatch, frames):
    monkeypatch.setattr(film, "driving", lambda *_: frames)
    return {name: row for name, row in estimates(add_up(film.reenact(setup, Path("c.mp4"), 1))).items()}


def test_a_clip_that_stands_still(setup, clip, monkeypatch):
    found = reenacted(setup, monkeypatch, clip[:2])
    assert found["face, dB"]["copy"][0] == pytest.approx(100) and found["face, SSIM"]["copy"][0] == pytest.approx(1)
    assert found["face, dB"]["plan"][0] > 30, "nothing to do: nothing much is done"
    assert found["face, dB, given landmarks"]["plan"][0] > 40
    assert "copy" not in found["face, dB, given landmarks"] and "driver" not in found["face, dB"]


def test_figures_are_means_over_the_frames_but_the_first(setup, clip, monkeypatch):
    both, one, other = (reenacted(setup, monkeypatch, f) for f in (clip, clip[:2], clip[::2]))
    for name, row in both.items():
        for method, (value, low, high) in row.items():
            assert value == low == high == pytest.approx((one[name][method][0] + other[name][method][0]) / 2)


def test_following_landmarks_moves_the_face_there(setup, clip):
    person = clip[0]
    points_ = to_crop(person.face.landmarks[:, :2], person.M).astype(np.float32)
    wanted, mouth = points_.copy(), [61, 291]
    away = points_ - points_[mouth].mean(0)  # the mouth's corners drawn together
    wanted -= 0.25 * away * np.exp(-np.square(away / 0.2).sum(1, keepdims=True))
    still, moved = (film.follow(setup.engine, setup, person, person, p) for p in (points_, wanted))
    assert np.abs(still.astype(int) - person.frame).max() <= 2
    seen = to_crop(Landmarker(threads=1).detect(moved)[0].landmarks[:, :2], person.M)
    asked = np.linalg.norm(wanted[mouth] - points_[mouth], axis=1).mean()
    left = np.linalg.norm(wanted[mouth] - seen[mouth], axis=1).mean()
    assert asked > 0.008 and left < 0.6 * asked


def test_jitter_is_what_goes_up_and_down_by_turns():
    line = [np.full((68, 2), 0.01 * n) for n in range(20)]
    assert film.jitter(line) == pytest.approx(0, abs=1e-9), "steady motion is none"
    turns = [np.full((68, 2), 0.01 * (n % 2)) for n in range(20)]
    assert film.jitter(turns) == pytest.approx(0.02 * np.sqrt(2), rel=1e-6)
    outside = [np.where(np.arange(68)[:, None] < 17, 0.3 * (n % 2), 0.0) for n in range(20)]
    assert film.jitter([np.broadcast_to(p, (68, 2)) for p in outside]) == 0, "the jaw's outline is not counted"


def test_flicker_is_of_still_regions():
    look = points.judge()
    frame = image.load(DEMO / "smile.png")
    first = look(frame, crop_matrix(Landmarker(threads=1).detect(frame)[0].landmarks))

    def film_of(change):
        looks = []
        for n in range(8):
            picture = first.picture.astype(int)
            change(picture, n)
            looks.append(points.Look(picture.clip(0, 255).astype(np.uint8), first.points, first.lids))
        return film.flicker(looks)

    def mouth(picture, n):
        picture[250:300, 150:230] += 40 * (n % 2)

    def everywhere(picture, n):
        np.clip(picture, 20, 230, out=picture)
        picture += 6 * (n % 2) - 3

    assert film_of(lambda picture, n: None) == 0 and film_of(mouth) == 0
    assert film_of(everywhere) == pytest.approx(3, rel=0.05)


def test_a_steady_way_and_one_that_shakes(monkeypatch, clip):
    """The driver is still; whoever shakes the picture has more jitter than the driver, the other less."""
    look = points.judge()
    rng = np.random.default_rng(0)
    frames = [Person(str(n), np.roll(clip[0].frame, int(rng.integers(-1, 2)), (0, 1)), clip[0].face) for n in range(12)]
    monkeypatch.setattr(film, "driving", lambda *_: frames)
    shaken = {"n": 0}

    def shake(person, face, frame):
        shaken["n"] += 1
        return np.roll(person.frame, 4 * (shaken["n"] % 2), (0, 1))

    for way, least, most in ((lambda person, face, frame: person.frame, 0, 0.01), (shake, 1.5, 99)):
        setup = SimpleNamespace(look=look, people=[clip[0]], engines={"plan": None}, methods={"plan": way},
                                bar=lambda items, what: items, album=Album())  # fmt: skip
        found = estimates(add_up(film.steady(setup, Path("c.mp4"), 3)))
        assert least <= found["jitter over the driver's"]["plan"][0] <= most
        assert (found["flicker, levels"]["plan"][0] > 1) == (way is shake)
