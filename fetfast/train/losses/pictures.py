"""How far a picture is from the true one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fetfast.train.losses.faces import box


def l1(picture: Tensor, truth: Tensor, weight: Tensor, lean: Tensor | float = 0.0) -> Tensor:
    """Mean absolute difference, weighted [B, 1, S, S]. What is too dark counts 1 + `lean` times: where nothing tells
    dark from light, the median is grey, and this quantile light."""
    missing = truth - picture
    return _mean(missing.abs() + lean * missing.clamp(min=0), weight)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean; 0 where nothing has any weight, as of a face that lies outside of the crop."""
    return (values * weight).mean() / weight.mean().clamp(min=1e-8)


def gradients(picture: Tensor, truth: Tensor, weight: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute difference of the horizontal and vertical differences, over an image pyramid: edges in place."""
    total = picture.new_zeros(())
    for _ in range(scales):
        for axis in (-1, -2):
            total = total + l1(
                picture.diff(dim=axis), truth.diff(dim=axis), weight.narrow(axis, 0, weight.shape[axis] - 1)
            )
        picture, truth, weight = (F.avg_pool2d(image, 2) for image in (picture, truth, weight))
    return total / scales


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """SSIM [B, 3, S, S] of each pixel (Wang et al. 2004): Gaussian window, sigma 1.5, 11 x 11; levels from black."""
    window = _window(a.shape[-1], a)
    a, b = (a + 1) / 2, (b + 1) / 2

    def blur(image: Tensor) -> Tensor:
        return window @ image @ window.mT

    with torch.autocast(a.device.type, enabled=False):  # in bf16 nothing would be left of a variance
        mean_a, mean_b = blur(a), blur(b)
        var_a, var_b, cov = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


def _window(size: int, like: Tensor) -> Tensor:
    """[size, size]: the Gaussian window as a matrix product, borders repeated. At a crop's size two such products
    take a CPU a tenth of the time of a convolution."""
    x = torch.arange(size, device=like.device)
    taps = torch.arange(-5, 6, device=like.device)
    kernel = torch.exp(-(taps**2) / (2 * 1.5**2)).to(like.dtype)
    at = (x[:, None] + taps).clamp(0, size - 1)
    return torch.zeros(size, size, device=like.device, dtype=like.dtype).scatter_add_(
        1, at, (kernel / kernel.sum()).expand(size, 11)
    )


def ssim(picture: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """1 - SSIM, weighted."""
    return _mean(1 - ssim_map(picture, truth), weight)


def psnr(picture: Tensor, truth: Tensor, points: Tensor) -> Tensor:
    """[B] dB within the box round these landmarks, values as u8 would hold them."""
    error, inside = (picture - truth).clamp(-2, 2).square().mean(1), box(points, truth.shape[-1])
    mean = (error * inside).sum((1, 2)) / inside.sum((1, 2))
    return -10 * torch.log10(mean / 4 + 1e-10)


def box_ssim(picture: Tensor, truth: Tensor, points: Tensor) -> Tensor:
    """[B] mean SSIM within the box round these landmarks."""
    similar, inside = ssim_map(picture, truth).mean(1), box(points, truth.shape[-1])
    return (similar * inside).sum((1, 2)) / inside.sum((1, 2))
