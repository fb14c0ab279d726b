"""Pairs whose truth is known: pictures of persons that were held out from training, under expressions that the
morphable model gave them.

The landmarks wanted are given, so that this measures the picture alone and not the fusion. Compared in the crop at
128 x 128, within the face's box: the target left as it is, the landmarks' warp (family `flow`), and the plan's result.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fetfast.engine import Engine
from fetfast.errors import BadInput
from fetfast.evaluate.similarity import face_box, psnr, ssim
from fetfast.face import Face
from fetfast.ops.crop import crop
from fetfast.ops.paste import paste
from fetfast.ops.topology import LIPS
from fetfast.spec import BLENDSHAPES
from fetfast.step import Target

SIDE = 128
SHOWN = ("copy", "warp", "net")


def pairs(engine: Engine, folder: Path, count: int | None = None) -> dict[str, float]:
    """Mean PSNR and SSIM in the face's box and PSNR in the mouth's, over `count` held-out pairs of a folder made by
    `fetfast synth`, or all. Raises BadInput."""
    from fetfast.train.data import Pairs

    found = Pairs.open(folder)
    if not len(found.validation):
        raise BadInput(f"pairs(): {folder} holds out nobody; make pairs of more people: fetfast synth")
    rows = found.validation if count is None else found.validation[:: max(1, len(found.validation) // count)][:count]
    scores = []
    for row in tqdm(rows, "pairs", disable=None, leave=False):
        scores.append(_row(engine, {name: array[row] for name, array in found.arrays.items()}))
    means = np.mean(scores, axis=0)
    return {
        f"{shown}_{figure}": float(means[i, j])
        for i, shown in enumerate(SHOWN)
        for j, figure in enumerate(("psnr", "ssim", "mouth"))
    }


def _row(engine: Engine, pair: Mapping[str, NDArray]) -> NDArray[np.float64]:
    frame, truth = np.array(pair["target"]), np.array(pair["truth"])
    side = len(frame)
    M = np.array([[side, 0, 0], [0, side, 0]], np.float32)
    landmarks = np.pad(pair["target_points"] * side, ((0, 0), (0, 1))).astype(np.float32)
    face = Face(landmarks, np.zeros(len(BLENDSHAPES), np.float32), 1.0)
    spec = engine.plan.spec
    step = engine.step("transfer", face, Target(frame, [face], M[None]), frame)
    step.tensors["driven_points"] = np.array(pair["driven_points"])[None]
    result = engine.begin(step)()[0]
    wanted = crop(truth, M, SIDE)
    pictures = (frame, paste(frame, M, flow=step.need("first_flow", spec.resolution)[0]), result)
    points = pair["driven_points"]
    face_area, mouth = face_box(points, SIDE), face_box(points[list(LIPS)], SIDE)
    shown = [crop(picture, M, SIDE) for picture in pictures]
    return np.array([(psnr(p, wanted, face_area), ssim(p, wanted, face_area), psnr(p, wanted, mouth)) for p in shown])


def describe(figures: Mapping[str, float]) -> str:
    return "   ".join(
        f"{name} {figures[f'{name}_psnr']:.2f} dB / {figures[f'{name}_ssim']:.3f}, mouth {figures[f'{name}_mouth']:.1f}"
        for name in SHOWN
    )
