"""Self-reenactment: the first frame of a clip, driven by the others, should become them.

Result and driving frame are compared in their own crops at 128 x 128, within the face's box: a crop is upright and
scaled by the eyes, so that the head's motion, which no expression can follow, counts little. `copy` is the first
frame left as it is: what doing nothing scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fetfast.engine import Engine
from fetfast.evaluate.similarity import face_box, psnr, ssim
from fetfast.face import Face, crop_matrix, to_crop
from fetfast.image import Frame
from fetfast.ops.crop import crop

SIDE = 128


def reenact(engine: Engine, faces: list[tuple[Face, Frame]]) -> dict[str, float]:
    """Mean PSNR and SSIM over the frames of a clip, but the first: two or more, each with its face."""
    (first_face, first), *driving = faces
    target = engine.prepare(first, first_face)
    scores = []
    for face, frame in driving:
        truth = _crop(frame, face)
        points = to_crop(face.landmarks[:, :2], crop_matrix(face.landmarks))
        box = face_box(points, SIDE)
        result = engine.render(face, target, frame)
        for picture in (_crop(result, first_face), _crop(first, first_face)):
            scores.append((psnr(picture, truth, box), ssim(picture, truth, box)))
    (net, net_ssim), (copy, copy_ssim) = np.array(scores).reshape(-1, 2, 2).mean(axis=0).tolist()
    return {"psnr": net, "ssim": net_ssim, "copy_psnr": copy, "copy_ssim": copy_ssim}


def describe(figures: dict[str, float]) -> str:
    return (
        f"{figures['psnr']:.2f} dB, SSIM {figures['ssim']:.3f}   (the first frame as it is: "
        f"{figures['copy_psnr']:.2f} dB, {figures['copy_ssim']:.3f})"
    )


def _crop(frame: Frame, face: Face) -> NDArray[np.float32]:
    return crop(frame, crop_matrix(face.landmarks), SIDE)
