"""Both eyes look the same way."""

from pathlib import Path

import numpy as np

from fetfast import image
from fetfast.face import Landmarker
from fetfast.face.gaze import TO_LEFT, TO_RIGHT, conjugate
from fetfast.inputs import source_blendshapes, target_blendshapes
from fetfast.plan import Plan
from fetfast.spec import BLENDSHAPES
from fetfast.step import Step, Target, Wiring

SURPRISE = Path(__file__).parents[2] / "demo" / "surprise.png"


def turned(blendshapes: np.ndarray) -> np.ndarray:
    """[B, 2] how far each eye looks to the subject's left."""
    return blendshapes[:, TO_LEFT] - blendshapes[:, TO_RIGHT]


def test_eyes_turn_by_their_mean() -> None:
    read = np.random.default_rng(0).random((5, 52), np.float32)
    before, given = read.copy(), conjugate(read)
    np.testing.assert_array_equal(read, before)
    np.testing.assert_allclose(turned(given), turned(read).mean(1, keepdims=True).repeat(2, 1), atol=1e-6)
    assert given.dtype == np.float32 and given.min() >= 0 and given.max() <= 1
    others = [i for i in range(52) if i not in TO_LEFT + TO_RIGHT]
    np.testing.assert_array_equal(given[:, others], read[:, others])


def test_names_are_of_the_sides_they_say() -> None:
    aside = np.zeros((1, 52), np.float32)
    aside[0, [BLENDSHAPES.index("eyeLookOutLeft"), BLENDSHAPES.index("eyeLookInRight")]] = 0.4
    np.testing.assert_allclose(conjugate(aside), aside)


def test_a_wide_eyed_face_is_not_given_on_as_squinting() -> None:
    frame = image.load(SURPRISE)
    (face,) = Landmarker(threads=1).detect(frame)
    left, right = turned(face.blendshapes[None])[0]
    assert left < -0.2 and right > 0.2, "read as crossed"
    wiring = Wiring(Plan.open("flow_fp32").spec, "transfer")
    scene = Step(wiring, {}, face, frame, Target.prepare(frame, [face]))
    for shown in (source_blendshapes(scene), target_blendshapes(scene)):
        assert np.ptp(turned(shown)) < 1e-6
