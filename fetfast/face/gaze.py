"""Where eyes look, as blendshapes tell it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fetfast.spec import BLENDSHAPES

Array = NDArray[np.float32]

# Of each eye: to the subject's left, and to the right.
TO_LEFT = [BLENDSHAPES.index(name) for name in ("eyeLookOutLeft", "eyeLookInRight")]
TO_RIGHT = [BLENDSHAPES.index(name) for name in ("eyeLookInLeft", "eyeLookOutRight")]


def conjugate(blendshapes: Array) -> Array:  # f32 [B, 52], 0 ... 1
    """The same, both eyes turned sideways by their mean. Eyes do that together; the landmarker reads those of a
    wide-eyed or a turned face as crossed, and a target that is given that squints."""
    out = blendshapes.copy()
    mean = (blendshapes[:, TO_LEFT] - blendshapes[:, TO_RIGHT]).mean(1, keepdims=True)
    out[:, TO_LEFT], out[:, TO_RIGHT] = np.maximum(mean, 0), np.maximum(-mean, 0)
    return out
