"""How alike two pictures are, within the face: scikit-image's PSNR and SSIM, of crops f32 [3, S, S] in -1 ... 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fetfast.errors import Unavailable

Array = NDArray[np.float32]
MOST = 100.0  # dB, of pictures that are equal


def psnr(a: Array, b: Array, box: NDArray[np.bool_]) -> float:
    """dB, at most MOST, of the pixels where `box` [S, S] holds. Raises Unavailable."""
    with np.errstate(divide="ignore"):
        return min(MOST, float(_metrics().peak_signal_noise_ratio(a[:, box], b[:, box], data_range=2)))


def ssim(a: Array, b: Array, box: NDArray[np.bool_]) -> float:
    """Mean over the pixels where `box` holds and over RGB, as of Wang et al. 2004: Gaussian window of 11 x 11, sigma
    1.5, population covariance. On levels 0 ... 1: its luminance term is a ratio of means, which says nothing on levels
    that may be negative. Raises Unavailable."""
    x, y = ((picture.astype(np.float64) + 1) / 2 for picture in (a, b))
    options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, alike = _metrics().structural_similarity(x, y, data_range=1, channel_axis=0, full=True, **options)
    return float(alike.mean(axis=0)[box].mean())


def _metrics() -> Any:
    try:
        from skimage import metrics
    except ImportError:
        raise Unavailable("PSNR and SSIM need scikit-image; pip install scikit-image") from None
    return metrics


def face_box(points: Array, size: int) -> NDArray[np.bool_]:
    """[size, size]: the pixels whose centres lie in the box of these landmarks [K, 2], crop units."""
    centre = (np.arange(size) + 0.5) / size
    low, high = points.min(axis=0), points.max(axis=0)
    inside = [(centre >= low[axis]) & (centre <= high[axis]) for axis in (0, 1)]
    return inside[1][:, None] & inside[0][None]
