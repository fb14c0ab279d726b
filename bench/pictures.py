"""What the suites feed to ops and engines: pictures, fields, matrices and a face's points, the same in every run.

The face is scikit-image's astronaut; `fetfast.bench` has the stream's frames of her.
"""

from __future__ import annotations

from math import ceil
from pathlib import Path

import numpy as np
from PIL import Image

from fetfast import assets, image
from fetfast.plan import Plan

SOURCE = Path(__file__).parents[1] / "demo" / "surprise.png"  # a render: an expression far from the target's own
CLOSE_UP = np.s_[:256, 100:356]  # of the astronaut: her face is a third of its width


def tiled(side: int, rows: int = 1, columns: int = 1) -> np.ndarray:
    """u8: the close-up, scaled to `side`, rows x columns times."""
    close_up = image.load(assets.path("astronaut.png"))[CLOSE_UP]
    return np.tile(np.asarray(Image.fromarray(close_up).resize((side, side))), (rows, columns, 1))


def picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """u8 [height, width, 3]: noise as smooth as a photo."""
    return (128 + 50 * np.stack([noise(rng, height, width, 4) for _ in range(3)], -1)).clip(0, 255).astype(np.uint8)


def smooth(rng: np.random.Generator, S: int, size: float) -> np.ndarray:
    """f32 [S, S], at most `size`, over distances of an eighth of S."""
    field = noise(rng, S, S, S / 8)
    return (size * (field / np.abs(field).max())).astype(np.float32)


def noise(rng: np.random.Generator, height: int, width: int, pixels: float) -> np.ndarray:
    """f32 [height, width] of deviation 1 that changes over so many pixels."""
    coarse = rng.standard_normal((ceil(height / pixels) + 1, ceil(width / pixels) + 1), np.float32)
    fine = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return fine / fine.std()


def matrix(side: float, x: float, y: float, turn: float = 0.1) -> np.ndarray:
    """M of a crop with that many pixels a side, its corner at (x, y)."""
    c, s = side * np.cos(turn), side * np.sin(turn)
    return np.array([[c, -s, x], [s, c, y]], np.float32)


def face_points() -> np.ndarray:
    """f32 [1, 478, 2]: the morphable model's face, which the shipped plan's camera is fitted to, as a crop shows it."""
    model = np.linalg.pinv(np.asarray(Plan.open("flow_fp32").weights["fuse.camera"], np.float64))[:, :2]
    model = model * (1, -1)  # y of the model is up
    low, high = model.min(0), model.max(0)
    points = 0.5 + 0.6 * (model - (low + high) / 2) / (high - low).max()
    ring = 0.02 * np.array([(0, 0), (1, 0), (0, -1), (-1, 0), (0, 1)])
    for iris, corners in ((slice(468, 473), [33, 133]), (slice(473, 478), [362, 263])):  # the model has none
        points[iris] = points[corners].mean(0) + ring
    return points.astype(np.float32)[None]
