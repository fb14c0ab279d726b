"""The head's rotation, from landmarks that expressions hardly move."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EARS = (234, 454)  # the subject's right one first
MIDLINE = (10, 152)  # top of the forehead, chin


def head_rotation(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rotation f32 [3, 3] of a head with landmarks f32 [478, 3]: its columns are the head's own axes (to the
    subject's left ear, to the chin, to the back of the head) in the frame's (x right, y down, z away)."""
    points = landmarks.astype(np.float64)
    x = points[EARS[1]] - points[EARS[0]]
    x /= max(float(np.linalg.norm(x)), 1e-9)
    y = points[MIDLINE[1]] - points[MIDLINE[0]]
    y -= (y @ x) * x
    y /= max(float(np.linalg.norm(y)), 1e-9)
    return np.stack([x, y, np.cross(x, y)], axis=1).astype(np.float32)
