"""What training minimises, and what it measures as it goes.

Pictures are f32 [B, 3, S, S] in -1 ... 1, flows [B, 2, S, S] backward offsets in crop sides, points [B, 478, 2] in
crop units. No loss needs a downloaded network: structure is compared by SSIM and by gradients, texture by a critic
that is trained alongside.
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from fetfast.ops.topology import CHAINS, LIPS

PARTS = (
    (LIPS, 5.0),
    *((eye, 4.0) for eye in CHAINS["eyes"]),
)  # landmarks, and how much more than skin their pixels count
INSIDE = 20.0  # how much more a pixel between parted lips counts: few, often painted from nothing, and looked at first
TEETH = 1.0  # how much more it counts there to be too dark: what may be teeth or their shadow is shown as teeth
MOVED = 3.0  # how much more than others a pixel's motion counts at most
BACKGROUND = 0.3  # how much a pixel outside of the face counts
PATCH = 96  # side in pixels at which a mouth or an eye is looked at closely: what a crop at 256 has of a mouth


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """result(p) = image(p + flow(p)), bilinear, borders repeated, at the flow's resolution."""
    points = _centres(flow.shape[-1], flow) + flow.movedim(1, -1)
    return F.grid_sample(image, 2 * points - 1, padding_mode="border", align_corners=False)


def compose(picture: Tensor, out: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What `ops.paste` makes of the picture, which is as fine as the network's outputs or finer: warped and lit alone,
    and with the mask's colours; both as fine as the picture."""
    size = picture.shape[-2:]
    fine = {k: F.interpolate(v, size, mode="bilinear", align_corners=False) for k, v in out.items()}
    lit = warp(picture, fine["flow"])
    if "light" in fine:
        lit = (lit + 1) * (1 + fine["light"]) - 1
    return lit, lit + fine["mask"] * (fine["color"] - lit)


def coarse(picture: Tensor, size: int) -> Tensor:
    """Averaged down to `size`."""
    return F.avg_pool2d(picture, picture.shape[-1] // size)


def ellipse(points: Tensor, size: int) -> Tensor:
    """f32 [B, 1, size, size]: 1 within the ellipse round these landmarks, 0 well outside, softly between."""
    low, high = points.amin(1), points.amax(1)
    middle, radius = (low + high) / 2, 0.6 * (high - low) + 0.02
    away = ((_centres(size, points) - middle[:, None, None]) / radius[:, None, None]).norm(dim=-1)
    return torch.sigmoid(8 * (1 - away))[:, None]


def between_lips(points: Tensor, size: int) -> Tensor:
    """f32 [B, 1, size, size]: 1 within the polygon of the inner lips, 0 outside, softened by a pixel."""
    ring = points[:, list(CHAINS["lips"][1])]
    a, b = ring[:, :-1, None, None], ring[:, 1:, None, None]  # [B, edges, 1, 1, 2]
    x, y = _centres(size, points).unbind(-1)
    crosses = (a[..., 1] > y) != (b[..., 1] > y)
    at = a[..., 0] + (y - a[..., 1]) * (b[..., 0] - a[..., 0]) / (b[..., 1] - a[..., 1])
    inside = (crosses & (x < at)).sum(1, keepdim=True) % 2
    return F.avg_pool2d(inside.to(points.dtype), 3, 1, 1)


def parts(points: Tensor, inside: Tensor) -> Tensor:
    """f32 [B, 1, S, S]: how much more than skin a pixel counts: mouth and eyes. inside: what lies `between_lips`."""
    size, weight = inside.shape[-1], INSIDE * inside
    for part, amount in PARTS:
        weight = weight + (amount - 1) * ellipse(points[:, list(part)], size)
    return weight


def importance(points: Tensor, parts: Tensor) -> Tensor:
    """f32 [B, 1, S, S]: how much a pixel counts. Mouth and eyes, the `parts`, most, the background least."""
    return BACKGROUND + (1 - BACKGROUND) * ellipse(points, parts.shape[-1]) + parts


def l1(picture: Tensor, truth: Tensor, weight: Tensor, lean: Tensor | float = 0.0) -> Tensor:
    """Mean absolute difference, weighted [B, 1, S, S]. What is too dark counts 1 + `lean` times: where nothing tells
    dark from light, the median is grey, and this quantile light."""
    missing = truth - picture
    return ((missing.abs() + lean * missing.clamp(min=0)) * weight).mean() / weight.mean()


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
    return ((1 - ssim_map(picture, truth)) * weight).mean() / weight.mean()


def smoothness(flow: Tensor, first_flow: Tensor) -> Tensor:
    """Mean absolute slope of what is added to the first flow: where the picture says nothing, add nothing ragged."""
    offset = flow - first_flow
    return offset.diff(dim=-1).abs().mean() + offset.diff(dim=-2).abs().mean()


def motion(flow: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """[B] mean squared distance, in pixels of a crop at 128, of the flow to the true one [B, 2, S, S] where that is
    known (no NaN)."""
    known = truth.isfinite().all(1, keepdim=True)
    distance = (128 * (flow - truth.where(known, flow.detach()))).square().sum(1, keepdim=True)
    return (distance * weight * known).sum((1, 2, 3)) / (weight * known).sum((1, 2, 3)).clamp(min=1)


def relighting(light: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean squared distance, in tenths, of the light to the true one [B, 1, S, S] where that is known (no NaN)."""
    known = truth.isfinite()
    distance = (10 * (light - truth.where(known, light.detach()))).square()
    return (distance * weight * known).sum() / (weight * known).sum().clamp(min=1)


def patches(picture: Tensor, points: Tensor) -> Tensor:
    """[3 B, 3, 96, 96]: the mouth, the right and the left eye of each picture, squares about their landmarks."""
    grid = _centres(PATCH, points)
    out = []
    for part, _ in PARTS:
        rows = points[:, list(part)]
        low, high = rows.amin(1), rows.amax(1)
        middle = (low + high) / 2
        side = 1.5 * (high - low).amax(-1)
        where = middle[:, None, None] + (grid - 0.5) * side[:, None, None, None]
        out.append(F.grid_sample(picture, 2 * where - 1, padding_mode="border", align_corners=False))
    return torch.cat(out)


class Critic(nn.Sequential):
    """A patch critic [N, 3, 96, 96] -> [N, 1, 22, 22] (Isola et al. 2017): each output judges 22 x 22 pixels."""

    def __init__(self, width: int = 32) -> None:
        norm = nn.utils.parametrizations.spectral_norm
        super().__init__(
            norm(nn.Conv2d(3, width, 4, 2, 1)), nn.LeakyReLU(0.2),
            norm(nn.Conv2d(width, 2 * width, 4, 2, 1)), nn.LeakyReLU(0.2),
            norm(nn.Conv2d(2 * width, 2 * width, 3, 1, 0)), nn.LeakyReLU(0.2),
            norm(nn.Conv2d(2 * width, 1, 3, 1, 1)),
        )  # fmt: skip


def critic_loss(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the critic; `fake` is cut off from what made it."""
    return F.relu(1 - critic(real)).mean() + F.relu(1 + critic(fake.detach())).mean()


def psnr(picture: Tensor, truth: Tensor, points: Tensor) -> Tensor:
    """[B] dB within the box round these landmarks, values as u8 would hold them."""
    error, box = (picture - truth).clamp(-2, 2).square().mean(1), _box(points, truth.shape[-1])
    mean = (error * box).sum((1, 2)) / box.sum((1, 2))
    return -10 * torch.log10(mean / 4 + 1e-10)


def box_ssim(picture: Tensor, truth: Tensor, points: Tensor) -> Tensor:
    """[B] mean SSIM within the box round these landmarks."""
    similar, box = ssim_map(picture, truth).mean(1), _box(points, truth.shape[-1])
    return (similar * box).sum((1, 2)) / box.sum((1, 2))


def _box(points: Tensor, size: int) -> Tensor:
    """f32 [B, S, S]: 1 in the box round the landmarks, 0 outside."""
    grid = _centres(size, points)
    low, high = points.amin(1)[:, None, None], points.amax(1)[:, None, None]
    return ((grid >= low) & (grid <= high)).all(-1).float()


def _centres(size: int, like: Tensor) -> Tensor:
    """[size, size, 2] the pixels' centres, crop units."""
    x = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size
    return torch.stack(torch.meshgrid(x, x, indexing="xy"), -1)
