"""Rendered and photographed people who do one action at a time: what the retarget stage is calibrated on.

    for reading, coefficients in acted(kit, submesh, portraits): ...

Rendered people are nobody, their rest is 0; photographed ones are re-posed by the fitted model, their rest is their
fit. None of them is held out. Faces are followed from rest, as in a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from fetfast import image
from fetfast.face import Face, Landmarker
from fetfast.image import Frame
from fetfast.synth.camera import Pose
from fetfast.synth.expression import STRENGTH
from fetfast.synth.face_submesh import FaceSubmesh
from fetfast.synth.facekit import Facekit
from fetfast.synth.materials import Charts
from fetfast.synth.portrait import gaze_of, prepare
from fetfast.synth.portrait_dataset import PICTURES, held_out, try_fit
from fetfast.synth.reexpress import reexpress
from fetfast.synth.render import render
from fetfast.synth.rendered_dataset import person

RENDERED, PHOTOGRAPHED = 5, 16  # people
SEED = 77  # of the rendered people: `fetfast evaluate` has others
SIZE, DISTANCE, WIDE = 300, 100.0, 27.0  # pixels; cm from the camera; cm that a picture shows
FRONTAL = 0.35  # radians: photographed heads that are turned more are left out

# An action and the modes that it sets; a stem stands for both sides.
GAZES = {
    "gaze right": {"eyeLookOut_R": 0.8, "eyeLookIn_L": 0.8},
    "gaze left": {"eyeLookIn_R": 0.8, "eyeLookOut_L": 0.8},
    "gaze up": {"eyeLookUp": 0.7},
    "gaze down": {"eyeLookDown": 0.7},
}
BLINKS = {"blink": {"eyeBlink": 1.0}, "wink": {"eyeBlink_L": 1.0}}  # which shall move nothing else
ACTIONS: dict[str, dict[str, float]] = {stem: {stem: amount} for stem, amount in STRENGTH.items()} | GAZES | BLINKS
Show = Callable[[np.ndarray], Frame]


def people(facekit: Path, kit: Facekit, submesh: FaceSubmesh, portraits: Path) -> Iterator[tuple[np.ndarray, Show]]:
    """Their rest f32 [53], and a picture of them under an expression f32 [53]."""
    charts = Charts.of(kit)
    pose = Pose(np.zeros(3), np.array([0, -1.0, -DISTANCE]), SIZE / WIDE * DISTANCE, (SIZE / 2, SIZE / 2))
    for number in range(RENDERED):
        who = person(kit, SEED, number)
        appearance = replace(who.appearance, glasses=0.0, stubble=0.0, style="short")

        def rendered(e: np.ndarray, who=who, appearance=appearance) -> Frame:
            return render(kit, charts, kit.express(who.shape, e), gaze_of(kit, e), pose, appearance, SIZE)[0]

        yield np.zeros(len(kit.expression_names)), rendered

    files = [f for f in sorted(portraits.glob("*")) if f.suffix.lower() in PICTURES and not held_out(f)]
    left = PHOTOGRAPHED
    for n in np.random.default_rng(SEED).permutation(len(files)):
        if not left:
            break
        fit = try_fit(facekit, files[n])
        if fit is None or np.abs(fit.rotation).max() > FRONTAL:
            continue
        portrait = prepare(kit, submesh, image.load(files[n]), fit, SIZE)
        if portrait.glasses:
            continue
        left -= 1

        def photographed(e: np.ndarray, portrait=portrait) -> Frame:
            return reexpress(kit, submesh, portrait, e.astype(np.float32)).image

        yield fit.expression.astype(np.float64), photographed


def acted(
    facekit: Path, kit: Facekit, submesh: FaceSubmesh, portraits: Path
) -> Iterator[tuple[str, tuple[Face, np.ndarray], tuple[Face, np.ndarray]]]:
    """The action, and face and exact coefficients [52] at rest and under it. Those not found are left out."""
    landmarker = Landmarker(threads=1)
    for rest, show in people(facekit, kit, submesh, portraits):
        found = landmarker.detect(show(rest))
        if not found:
            continue
        still = found[0], rest @ kit.to_blendshapes
        for action, modes in ACTIONS.items():
            expression = rest.copy()
            for mode, amount in modes.items():
                expression[kit.index(mode)] = amount
            face = landmarker.track(show(expression), found[0])
            if face is not None:
                yield action, still, (face, expression @ kit.to_blendshapes)
