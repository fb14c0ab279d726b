"""The head's rotation, from landmarks that expressions hardly move."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Landmark, its place x y z (cm; x right, y down, z away) on an upright head that faces the viewer, weight: the points
# and the canonical face of MediaPipe's face geometry pipeline, whose y and z point the other way.
RIGID = np.array(
    """
      4  0.0000  0.4632 -7.5866 0.0709
      6  0.0000 -2.4733 -5.7886 0.0321
     10  0.0000 -8.2618 -4.4815 0.0084
     33 -4.4459 -2.6640 -3.1734 0.0587
     54 -6.2793 -6.6154 -1.4259 0.0077
     67 -3.5240 -8.0060 -3.7292 0.0091
    117 -5.2587 -0.9458 -2.9743 0.0098
    119 -3.3007 -0.8616 -3.8728 0.0146
    121 -1.8207 -1.4680 -4.2241 0.0186
    127 -7.7431 -2.3650  2.0052 0.0052
    129 -1.7858  0.9783 -4.8505 0.1206
    132 -7.2709  2.8909  2.2525 0.0056
    133 -1.8564 -2.5852 -3.7579 0.0533
    136 -5.0853  7.1786 -0.7147 0.0669
    143 -6.4076 -2.2360 -1.5608 0.0148
    147 -6.2349  1.9444 -1.6635 0.0143
    198 -1.2468 -0.2303 -5.6810 0.0255
    205 -3.8329  1.5373 -4.1377 0.0473
    263  4.4459 -2.6640 -3.1734 0.0587
    284  6.2793 -6.6154 -1.4259 0.0077
    297  3.5240 -8.0060 -3.7292 0.0091
    346  5.2587 -0.9458 -2.9743 0.0098
    348  3.3007 -0.8616 -3.8728 0.0146
    350  1.8207 -1.4680 -4.2241 0.0186
    356  7.7431 -2.3650  2.0052 0.0052
    358  1.7858  0.9783 -4.8505 0.1206
    361  7.2709  2.8909  2.2525 0.0056
    362  1.8564 -2.5852 -3.7579 0.0533
    365  5.0853  7.1786 -0.7147 0.0669
    372  6.4076 -2.2360 -1.5608 0.0148
    376  6.2349  1.9444 -1.6635 0.0143
    420  1.2468 -0.2303 -5.6810 0.0255
    425  3.8329  1.5373 -4.1377 0.0473
    """.split(),
    dtype=np.float64,
).reshape(-1, 5)


def head_rotation(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rotation f32 [3, 3] that takes an upright head facing the viewer to the one with landmarks f32 [478, 3], best in
    the weighted least-squares sense (Procrustes; Kabsch 1976). Its columns are the head's own axes (to the subject's
    left, to the chin, to the back of the head) in the frame's (x right, y down, z away)."""
    weights = RIGID[:, 4:] / RIGID[:, 4].sum()
    model, points = RIGID[:, 1:4], landmarks[RIGID[:, 0].astype(np.intp)].astype(np.float64)
    model, points = model - (weights * model).sum(0), points - (weights * points).sum(0)
    U, _, V = np.linalg.svd((weights * points).T @ model)
    U[:, 2] *= np.sign(np.linalg.det(U @ V))  # a rotation, never a mirror image
    return (U @ V).astype(np.float32)
