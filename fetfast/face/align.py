"""Between the frame and the crop: the square, upright part of the frame that holds one face; and which face it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fetfast.errors import BadInput, NoFace

if TYPE_CHECKING:
    from fetfast.face.landmarks import Face

Array = NDArray[np.float32]

EYE_CORNERS = (33, 263)  # outer corners; the subject's right eye first
EARS = (234, 454)  # where the face's outline meets them
NOSE_BASE = 2
SIDE = 2.8  # crop sides in eye distances: 1.5 times what the landmarks take
BELOW_EYES = 0.4  # the crop's centre, in eye distances: room for a jaw that drops


def crop_matrix(landmarks: Array) -> Array:
    """M f32 [2, 3], from crop points to frame points, of the crop round a face.

    landmarks: f32 [478, 2 or 3] in frame pixels. The crop is level with the eyes and centred between the ears; its size
    comes from the eye distance or, where the head is turned, from the nose. None of these moves with the mouth.
    """
    right, left = landmarks[list(EYE_CORNERS), :2].astype(np.float64)
    between = (right + left) / 2
    distance = np.hypot(*(left - right))
    x_axis = (left - right) / max(distance, 1e-6)
    y_axis = np.array([-x_axis[1], x_axis[0]])
    unit = max(distance, 1.6 * abs((landmarks[NOSE_BASE, :2] - between) @ y_axis), 1.0)
    sideways = (landmarks[list(EARS), :2].mean(0) - between) @ x_axis
    center = between + sideways * x_axis + BELOW_EYES * unit * y_axis
    axes = SIDE * unit * np.stack([x_axis, y_axis], axis=1)
    return np.concatenate([axes, (center - axes.sum(1) / 2)[:, None]], axis=1).astype(np.float32)


def to_frame(points: Array, M: Array) -> Array:
    """Crop points [..., 2] as frame points [..., 2], in pixels."""
    return points @ M[:, :2].T + M[:, 2]


def to_crop(points: Array, M: Array) -> Array:
    """Frame points [..., 2] in pixels as crop points [..., 2], in crop sides."""
    return (points - M[:, 2]) @ np.linalg.inv(M[:, :2]).T


def select(faces: Sequence[Face], which: str | int = "largest", name: str = "the picture") -> list[Face]:
    """The faces asked for: "largest", "all" (from left to right), or one by its index from left to right.

    Raises NoFace where there is none, and BadInput for an index that is not there or any other word.
    """
    if not faces:
        raise NoFace(f"no face found in {name}; give a picture in which a face is seen well")
    ordered = sorted(faces, key=lambda face: face.box[0])
    if which == "all":
        return ordered
    if which == "largest":
        return [max(faces, key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))]
    if isinstance(which, bool) or not isinstance(which, int):
        raise BadInput(f"face is {which!r}, expected largest, all or an index from left to right, from 0 on")
    if not 0 <= which < len(faces):
        raise BadInput(f"face is {which}, but {name} shows {len(faces)}: expected an index from 0 to {len(faces) - 1}")
    return [ordered[which]]
