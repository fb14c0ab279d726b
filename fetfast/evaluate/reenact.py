"""Self-reenactment: the first frame of a clip, driven by the others, should become them.

Result and driving frame are compared in their own crops at 128 x 128, within the face's box: a crop is upright and
scaled by the eyes, so that the head's motion, which no expression can follow, counts little. Three pictures are:

    copy        the first frame as it is: what doing nothing scores
    transfer    all of the engine: the driver's expression as blendshapes, put onto the target's landmarks
    landmarks   the picture network alone, given where the driving frame's own landmarks lie, as pairs are measured
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fetfast.engine import Engine
from fetfast.evaluate.similarity import face_box, psnr, ssim
from fetfast.face import Face, crop_matrix, to_crop
from fetfast.image import Frame
from fetfast.ops.crop import crop
from fetfast.step import Target

SIDE = 128


def reenact(engine: Engine, frames: Iterable[Frame]) -> dict[str, float] | None:
    """Mean PSNR (dB) and SSIM over the frames of a clip in which a face is seen, but the first of them; None where
    there is no second. Faces are followed from frame to frame, as a stream does it.
    Keys: copy_psnr, copy_ssim, psnr, ssim (of `transfer`), landmarks_psnr, landmarks_ssim."""
    scores: list[list[tuple[float, float]]] = []
    target, face = None, None
    for frame in frames:
        face = engine.follow(frame, face)
        if face is None:
            continue
        if target is None:
            first_face, first, target = face, frame, engine.prepare(frame, face)
            continue
        truth = _crop(frame, face)
        points = to_crop(face.landmarks[:, :2], crop_matrix(face.landmarks)).astype(np.float32)
        box = face_box(points, SIDE)
        results = first, engine.render(face, target, frame), follow(engine, target, face, frame, points)
        crops = [_crop(result, first_face) for result in results]
        scores.append([(psnr(picture, truth, box), ssim(picture, truth, box)) for picture in crops])
    names = ("copy_psnr", "copy_ssim", "psnr", "ssim", "landmarks_psnr", "landmarks_ssim")
    return dict(zip(names, np.mean(scores, axis=0).ravel().tolist(), strict=True)) if scores else None


def follow(engine: Engine, target: Target, face: Face, frame: Frame, points: NDArray[np.float32]) -> Frame:
    """The target, its landmarks moved to `points` f32 [478, 2], crop units, whatever its plan makes of the driver."""
    step = engine.step("transfer", face, target, frame)
    step.tensors |= engine.place.upload({"driven_points": points[None]})
    return engine.begin(step)()[0]


def describe(figures: dict[str, float]) -> str:
    shown = {"": "transfer", "landmarks_": "given the driver's landmarks", "copy_": "the first frame as it is"}
    return ", ".join(f"{name} {figures[k + 'psnr']:.2f} dB / {figures[k + 'ssim']:.3f}" for k, name in shown.items())


def _crop(frame: Frame, face: Face) -> NDArray[np.float32]:
    return crop(frame, crop_matrix(face.landmarks), SIDE)
