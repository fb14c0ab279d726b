"""Where faces lie in a frame, as rows of numbers: what `crop` and `paste` read on a GPU, where a CUDA graph keeps none.

M           f32 [2, 3], maps crop points (0 ... 1) to frame points (pixels)
placement   f32 [16]: M and its inverse, row by row, and M's scale, pixels along the crop's longer side; 3 unused
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fetfast.errors import BadInput

Array = NDArray[np.float32]
SIZE = 16


def placements(matrices: Any) -> Array:
    """f32 [B, 16] of matrices [B, 2, 3]. Raises BadInput where one is not invertible."""
    matrices = np.asarray(matrices, np.float32)
    rows = np.zeros((len(matrices), SIZE), np.float32)
    for row, M in zip(rows, matrices, strict=True):
        row[:6], row[6:12], row[12] = M.ravel(), inverse("placements", M).ravel(), scale(M)
    return rows


def matrix(placement: Array) -> Array:
    """M f32 [2, 3] of a placement [16]."""
    return placement[:6].reshape(2, 3)


def inverse(op: str, M: Array) -> Array:
    """M^-1 as f32 [2, 3]."""
    (a, b, x), (c, d, y) = M.astype(np.float64)
    det = a * d - b * c
    if not abs(det) > 1e-12 * max(a * a + c * c, b * b + d * d, 1e-12):
        raise BadInput(f"{op}(): M is {M.tolist()}, expected an invertible matrix")
    return (np.array([[d, -b, b * y - d * x], [-c, a, c * x - a * y]]) / det).astype(np.float32)


def scale(M: Any) -> float:
    """Frame pixels along the crop's side where it is longest."""
    return float(np.hypot(*np.asarray(M, np.float64)[:, :2]).max())
