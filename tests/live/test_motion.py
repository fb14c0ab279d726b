"""Filters, resting faces, and the coming and going of a face, on faces made of numbers."""

import numpy as np
import pytest

from fetfast.errors import BadInput
from fetfast.face import Face
from fetfast.live.motion import FADE, HOLD, Neutral, OneEuro, Presence, Smoother, blend, relative
from fetfast.spec import BLENDSHAPES

RATE = 25.0
SMILE = BLENDSHAPES.index("mouthSmileLeft")


@pytest.fixture
def face():
    """A face of 100 pixels between the eyes, its other points anywhere."""
    landmarks = np.random.default_rng(0).uniform(100, 400, (478, 3)).astype(np.float32)
    landmarks[33, :2], landmarks[263, :2] = (200, 200), (300, 200)
    landmarks[2, :2], landmarks[234, :2], landmarks[454, :2] = (250, 260), (170, 220), (330, 220)
    return Face(landmarks, np.full(52, 0.2, np.float32), 0.9)


def smiling(face, amount):
    blendshapes = face.blendshapes.copy()
    blendshapes[SMILE] = amount
    return Face(face.landmarks, blendshapes, face.score)


def test_one_euro_is_the_papers():
    """Against the formula written out for one number, uneven steps included."""
    values, times = np.random.default_rng(1).normal(size=50).cumsum(), np.linspace(0.1, 1.5, 50) ** 2
    least, speed = 1.5, 2.0
    expected, slope = [values[0]], 0.0

    def alpha(cutoff, step):
        return 1 / (1 + 1 / (2 * np.pi * cutoff) / step)

    for value, step in zip(values[1:], np.diff(times), strict=True):
        slope += alpha(1.0, step) * ((value - expected[-1]) / step - slope)
        expected.append(expected[-1] + alpha(least + speed * abs(slope), step) * (value - expected[-1]))
    filtered = OneEuro(least, speed)
    got = [filtered(np.array([value]), time)[0] for value, time in zip(values, times, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_a_still_face_jitters_less_than_half(face):
    noise, smoother = np.random.default_rng(2), Smoother(0.5)
    raw, filtered = [], []
    for i in range(200):
        landmarks = face.landmarks + noise.normal(0, 0.3, (478, 3)).astype(np.float32)
        shapes = face.blendshapes + noise.normal(0, 0.01, 52).astype(np.float32)
        given = Face(landmarks, shapes, 1.0)
        made = smoother(given, i / RATE)
        if i > 25:
            raw.append(np.r_[given.landmarks.ravel(), 100 * given.blendshapes])
            filtered.append(np.r_[made.landmarks.ravel(), 100 * made.blendshapes])
    assert np.std(filtered, 0).mean() < 0.5 * np.std(raw, 0).mean()


def test_a_fast_smile_lags_little(face):
    """A smile within 0.3 s is half there at most 1.5 frames late."""
    smoother = Smoother(0.5)
    amounts = np.clip((np.arange(50) / RATE - 0.6) / 0.3, 0, 1)
    made = [smoother(smiling(face, a), i / RATE).blendshapes[SMILE] for i, a in enumerate(amounts)]
    frames = np.arange(50.0)
    assert np.interp(0.5, made[14:30], frames[14:30]) - np.interp(0.5, amounts[14:24], frames[14:24]) < 1.5
    assert made[-1] == pytest.approx(1, abs=0.01)


def test_smoothing_can_be_off_and_starts_anew(face):
    assert Smoother(0)(face, 0.0) is face
    smoother = Smoother(1)
    smoother(face, 0.0)
    smoother.reset()
    np.testing.assert_allclose(smoother(smiling(face, 1), 0.04).blendshapes[SMILE], 1)
    with pytest.raises(BadInput, match="smooth"):
        Smoother(1.5)


def test_neutral_is_the_calmest_of_the_first_second(face):
    neutral = Neutral()
    for time, amount in ((5.0, 0.6), (5.4, 0.1), (5.8, 0.3), (6.2, 0.0)):
        neutral.offer(smiling(face, amount), time)
    assert neutral.settled and neutral.face.blendshapes[SMILE] == np.float32(0.1)
    neutral.set(smiling(face, 0.9))
    neutral.offer(smiling(face, 0.0), 7.0)
    assert neutral.face.blendshapes[SMILE] == np.float32(0.9)


def test_relative_adds_the_change_to_the_targets_own(face):
    """A driver twice as large, turned by 30 degrees and elsewhere: only what changed counts."""
    target = smiling(face, 0.5)
    assert relative(smiling(face, 0.4), smiling(face, 0.4), target).blendshapes[SMILE] == pytest.approx(0.5)
    assert relative(smiling(face, 0.6), smiling(face, 0.4), target).blendshapes[SMILE] == pytest.approx(0.7)
    assert relative(smiling(face, 1.0), smiling(face, 0.1), target).blendshapes[SMILE] == 1
    turn = 2 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]], np.float32)

    def elsewhere(landmarks):
        flat = landmarks[:, :2] @ turn.T + np.float32([300, -40])
        return Face(np.c_[flat, 2 * landmarks[:, 2]].astype(np.float32), face.blendshapes, 1.0)

    opened = face.landmarks.copy()
    opened[17] += (3, 12, -2)  # below the lip
    made = relative(elsewhere(opened), elsewhere(face.landmarks), target).landmarks
    np.testing.assert_allclose(made, opened, atol=0.01)


def test_a_lost_face_is_held_then_fades_and_comes_back_at_once():
    presence, weights = Presence(), {}
    for i in range(150):
        seen = 10 <= i < 40 or i >= 100
        weights[i] = presence(seen, i / RATE)
    assert weights[9] == 0 and weights[10] == 1, "the first face shows in full"
    assert weights[39 + int(HOLD * RATE)] == 1
    assert 0 < weights[40 + int((HOLD + FADE / 2) * RATE)] < 1
    assert weights[42 + int((HOLD + FADE) * RATE)] == 0
    assert weights[100] > 0 and weights[102] == 1
    steps = np.abs(np.diff(list(weights.values())))[40:]
    assert steps.max() <= 1 / (0.1 * RATE) + 1e-9


def test_blend():
    plain, driven = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    assert (blend(plain, driven, 0) == plain).all() and (blend(plain, driven, 1) == driven).all()
    middle = (plain.astype(float) + driven) / 2
    assert np.abs(blend(plain, driven, 0.5) - middle).max() <= 1
