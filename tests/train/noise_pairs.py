"""A set of training pairs that needs no data: smooth noise, and the same noise moved by whole pixels."""

from pathlib import Path

import numpy as np

from fetfast.plan import Plan
from fetfast.train import data

R, N, SHIFT = 128, 12, 5  # pixels a side, pairs, pixels by which the truth lies to the right
LIGHT = -0.1  # of all pairs: how much brighter the truth is, less one


def face() -> np.ndarray:
    """f32 [478, 2]: the morphable model's own landmarks in the middle of a crop."""
    model = np.linalg.pinv(Plan.open("flow_fp32").weights["fuse.camera"])  # [478, 3] cm, about the middle
    return (0.5 + model[:, :2] * (0.03, -0.03)).astype(np.float32)


def make(folder: Path) -> Path:
    """Three persons in turn, the last for validation."""
    from scipy.ndimage import gaussian_filter

    arrays = data.create(folder, N, R, {"held_out": [2]}, ["flow", "light"])
    rng = np.random.default_rng(0)
    points = face()
    for i in range(N):
        photo = np.clip(128 + 500 * gaussian_filter(rng.normal(0, 1, (R, R, 3)), (4, 4, 0)), 0, 255).astype(np.uint8)
        arrays["target"][i] = photo
        arrays["truth"][i] = np.roll(photo, SHIFT, axis=1) * np.float32(1 + LIGHT)
        arrays["target_points"][i] = points
        arrays["driven_points"][i] = points + np.array([SHIFT / R, 0], np.float32)
        arrays["target_blendshapes"][i] = rng.random(52)
        arrays["source_blendshapes"][i] = arrays["target_blendshapes"][i]
        arrays["person"][i] = i % 3
    arrays["flow"][:] = (-SHIFT / R, 0)
    arrays["light"][:] = LIGHT
    read = np.stack([arrays["target_blendshapes"], arrays["source_blendshapes"]], 1)
    np.save(folder / "readings.npy", read)  # noise shows no face that could be read
    return folder
