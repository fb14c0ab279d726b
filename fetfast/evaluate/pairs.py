"""Pairs whose truth is known: photographs of people held out from training, under expressions that the morphable model
gave them, as `fetfast synth` makes them.

The landmarks wanted are given, so that this measures the picture alone and not the fusion. Compared in the crop at 128
x 128, within the face's box and the mouth's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fetfast import image
from fetfast.engine import Engine
from fetfast.evaluate.figures import Record
from fetfast.evaluate.setup import PLAN, Setup
from fetfast.evaluate.similarity import face_box, psnr, ssim
from fetfast.face import Face
from fetfast.image import Frame
from fetfast.ops.crop import crop
from fetfast.ops.face_mesh import LIPS
from fetfast.spec import BLENDSHAPES
from fetfast.step import Target

SIDE, MADE = 128, 256  # pixels compared, and of the pairs
SEED = 20


def made(setup: Setup, files: list[Path], each: int) -> Iterator[tuple[str, Mapping[str, NDArray]]]:
    """`each` pairs of everybody in these photographs, by name; the same ones for the same model. Those without a face
    are left out."""
    from fetfast.synth.expression import random_expression
    from fetfast.synth.portrait import prepare
    from fetfast.synth.portrait_dataset import open_model, pair, try_fit

    facekit = setup.data / "ict_facekit_f16.npz"
    model = open_model(facekit)
    fits = {file: fit for file in files if (fit := try_fit(facekit, file)) is not None}
    donors = np.stack([fit.expression for fit in fits.values()])
    for n, (file, fit) in enumerate(fits.items()):
        portrait = prepare(model.kit, model.submesh, image.load(file), fit, MADE)
        for k in range(each):
            rng = np.random.default_rng([SEED, n, k])
            yield file.stem, pair(model, portrait, donors, random_expression(model.kit, donors, rng), rng)


def run(setup: Setup, files: list[Path], each: int) -> Iterator[Record]:
    for person, pair in setup.bar(made(setup, files, each), "pairs"):
        yield from compared(setup, person, pair)


def compared(setup: Setup, person: str, pair: Mapping[str, NDArray]) -> Iterator[Record]:
    target, truth = np.array(pair["target"]), np.array(pair["truth"])
    M = np.array([[len(target), 0, 0], [0, len(target), 0]], np.float32)
    points = np.array(pair["driven_points"])
    face, mouth = face_box(points, SIDE), face_box(points[list(LIPS)], SIDE)
    wanted = crop(truth, M, SIDE)
    results = {name: given_landmarks(engine, pair, M) for name, engine in setup.engines.items()} | {"copy": target}
    for method, result in results.items():
        got = crop(result, M, SIDE)
        scores = psnr(got, wanted, face), ssim(got, wanted, face), psnr(got, wanted, mouth)
        for name, value in zip(("face, dB", "face, SSIM", "mouth, dB"), scores, strict=True):
            yield Record(name, method, person, value)
        if method == PLAN:
            shown = {"target": (target, M), "truth": (truth, M), "result": (result, M)}
            setup.album.add("pairs", scores[2], person, f"mouth {scores[2]:.1f} dB", shown)


def given_landmarks(engine: Engine, pair: Mapping[str, NDArray], M: NDArray[np.float32]) -> Frame:
    """The pair's target, its landmarks moved to where the truth has them, whatever the plan makes of a driver."""
    frame = np.array(pair["target"])
    landmarks = np.pad(pair["target_points"] * len(frame), ((0, 0), (0, 1))).astype(np.float32)
    face = Face(landmarks, np.zeros(len(BLENDSHAPES), np.float32), 1.0)
    step = engine.step("transfer", face, Target(frame, [face], M[None]), frame)
    step.tensors["driven_points"] = np.array(pair["driven_points"])[None]
    result: Frame = engine.begin(step)()[0]
    return result
