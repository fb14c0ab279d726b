"""Pictures warped, lit and composited as `ops.paste` does, and how far flow and light are from the true ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """result(p) = image(p + flow(p)), bilinear, borders repeated, at the flow's resolution."""
    points = centres(flow.shape[-1], flow) + flow.movedim(1, -1)
    return F.grid_sample(image, 2 * points - 1, padding_mode="border", align_corners=False)


def composite(picture: Tensor, out: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
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


def smoothness(flow: Tensor, first_flow: Tensor) -> Tensor:
    """Mean absolute slope of what is added to the first flow: where the picture says nothing, add nothing ragged."""
    offset = flow - first_flow
    return offset.diff(dim=-1).abs().mean() + offset.diff(dim=-2).abs().mean()


def motion(flow: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """[B] mean squared distance, in pixels of a crop at 128, of the flow to the true one [B, 2, S, S] where that is
    known (no NaN)."""
    known = truth.isfinite().all(1, keepdim=True)  # elsewhere the distance is 0
    distance = (128 * (flow - truth.where(known, flow.detach()))).square().sum(1, keepdim=True)
    return (distance * weight).sum((1, 2, 3)) / (weight * known).sum((1, 2, 3)).clamp(min=1)


def relighting(light: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean squared distance, in tenths, of the light to the true one [B, 1, S, S] where that is known (no NaN)."""
    known = truth.isfinite()
    distance = (10 * (light - truth.where(known, light.detach()))).square()
    return (distance * weight).sum() / (weight * known).sum().clamp(min=1)


def centres(size: int, like: Tensor) -> Tensor:
    """[size, size, 2] the pixels' centres, crop units."""
    x = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size
    return torch.stack(torch.meshgrid(x, x, indexing="xy"), -1)
