"""How much of the driver's expression arrives, by Face Landmarker's blendshapes.

It counts the blendshapes that vary in the driver: those whose standard deviation over the driving frames (of one
target, on average, where each has its own) is above 0.03.

    gap closed  = 1 - sum |output - driver| / sum |target - driver|     over targets, frames and these blendshapes
    corr within = correlation of output and driver over the driving frames of one target, averaged over
                  targets and these blendshapes; 0 where the output does not vary

A result without a face closes nothing: it counts as the target unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fetfast.evaluate.data import Frame
from fetfast.face import Face
from fetfast.spec import BLENDSHAPES

VARIES = 0.03


def why_not() -> str | None:
    return None


def reader() -> Callable[[Frame, Face], np.ndarray]:
    return lambda frame, face: face.blendshapes


def score(targets: np.ndarray, drivers: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
    """From blendshapes f32 [T, 52], [D, 52] or [T, D, 52], and [T, D, 52]. A driver that does not vary (one picture)
    has no figure for the correlation, and all blendshapes count in the gap."""
    outputs = np.where(np.isnan(outputs), targets[:, None], outputs)
    drivers = np.broadcast_to(drivers, outputs.shape)
    varies = drivers.std(axis=1).mean(axis=0) > VARIES
    counted = varies if varies.any() else np.ones_like(varies)
    left = np.abs(outputs - drivers).sum(axis=(0, 1))
    gap = np.abs(targets[:, None] - drivers).sum(axis=(0, 1))
    return {
        "gap_closed": float(1 - left[counted].sum() / gap[counted].sum()),
        "corr_within": float(correlation(outputs, drivers)[:, varies].mean()) if varies.any() else None,
        "blendshapes": {
            name: float(1 - left[i] / gap[i]) for i, name in enumerate(BLENDSHAPES) if counted[i] and gap[i] > 0
        },
    }


def correlation(outputs: np.ndarray, drivers: np.ndarray) -> np.ndarray:
    """[T, 52]: of outputs and drivers [T, D, 52], over D; 0 where either is constant."""
    x = outputs - outputs.mean(axis=1, keepdims=True)
    y = drivers - drivers.mean(axis=1, keepdims=True)
    size = np.sqrt(np.square(x).sum(axis=1) * np.square(y).sum(axis=1))
    return (x * y).sum(axis=1) / np.maximum(size, 1e-9)


def describe(figures: dict[str, Any]) -> str:
    corr = "none: the driver does not vary" if figures["corr_within"] is None else f"{figures['corr_within']:.3f}"
    return (
        f"gap closed {figures['gap_closed']:.3f}   corr within {corr}   over {len(figures['blendshapes'])} blendshapes"
    )
