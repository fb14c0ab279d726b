"""How alike two pictures are, within the face: PSNR and SSIM of crops f32 [3, S, S] in -1 ... 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def psnr(a: Array, b: Array, box: NDArray[np.bool_]) -> float:
    """dB, of the pixels where `box` [S, S] holds."""
    error = np.square(a - b).mean(axis=0)[box].mean()
    return float(-10 * np.log10(error / 4 + 1e-10))


def ssim(a: Array, b: Array, box: NDArray[np.bool_]) -> float:
    """Mean over the pixels where `box` holds and over RGB (Wang et al. 2004): Gaussian window of 11 x 11, sigma 1.5,
    K1 0.01, K2 0.03, population covariance, borders repeated. On levels 0 ... 1: its luminance term is a ratio of
    means, which says nothing on levels that may be negative."""
    S = a.shape[-1]
    taps = np.arange(-5, 6)
    kernel = np.exp(-(taps**2) / (2 * 1.5**2))
    window = np.zeros((S, S))
    for tap, weight in zip(taps, kernel / kernel.sum(), strict=True):
        np.add.at(window, (np.arange(S), np.clip(np.arange(S) + tap, 0, S - 1)), weight)

    def blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return window @ image @ window.T

    x, y = (a.astype(np.float64) + 1) / 2, (b.astype(np.float64) + 1) / 2
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, cov = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return float(alike.mean(axis=0)[box].mean())


def face_box(points: Array, size: int) -> NDArray[np.bool_]:
    """[size, size]: the pixels whose centres lie in the box of these landmarks [K, 2], crop units."""
    centre = (np.arange(size) + 0.5) / size
    low, high = points.min(axis=0), points.max(axis=0)
    inside = [(centre >= low[axis]) & (centre <= high[axis]) for axis in (0, 1)]
    return inside[1][:, None] & inside[0][None]
