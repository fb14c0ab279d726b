"""The ops in PyTorch, as one would write them who wants them fast and has no kernels: on any device, any float type.

They are what ours are compared with, not what ours are specified by (those are the references beside the ops). What
does not change from frame to frame, pixel grids and the feather, is made before and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fetfast.ops.crop import taps
from fetfast.ops.heatmap import EPSILON, HALF_WIDTH
from fetfast.ops.paste import FEATHER


def crop(M: np.ndarray, S: int, shape: tuple[int, ...], place: torch.device) -> Callable[..., Tensor]:
    """(frame u8 [H, W, 3], flow [2, S, S] or None) -> f32 [3, S, S]."""
    H, W, _ = shape
    n = taps(M, S)
    size = torch.tensor([W, H], device=place)
    matrix = torch.from_numpy(M).to(place)
    at = torch.stack(torch.meshgrid(*[(torch.arange(n * S, device=place) + 0.5) / (n * S)] * 2, indexing="xy"), -1)

    def run(frame: Tensor, flow: Tensor | None = None) -> Tensor:
        points = at
        if flow is not None:
            points = points + F.interpolate(flow[None], scale_factor=n, mode="nearest")[0].permute(1, 2, 0)
        grid = 2 * (points @ matrix[:, :2].T + matrix[:, 2]) / size - 1
        image = frame.permute(2, 0, 1)[None].float()
        fine = F.grid_sample(image, grid[None], "bilinear", "border", align_corners=False)
        return F.avg_pool2d(fine, n)[0] / 127.5 - 1

    return run


def paste(M: np.ndarray, shape: tuple[int, ...], place: torch.device) -> Callable[..., Tensor]:
    """(frame u8 [H, W, 3], flow [2, S, S], mask [1, S, S], color [3, S, S]) -> u8 [H, W, 3]. PyTorch's cubic is not
    Catmull-Rom but a sharper one: the result is off by a level or so."""
    H, W, _ = shape
    inverse = np.linalg.inv(np.vstack([M, [0, 0, 1]]))[:2]
    corners = M @ np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    x0, y0 = np.floor(corners.min(1)).clip(0).astype(int).tolist()
    x1, y1 = np.ceil(corners.max(1)).clip(0, [W, H]).astype(int).tolist()
    p = np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), -1) + 0.5
    c = p @ inverse[:, :2].T + inverse[:, 2]
    t = (np.minimum(c, 1 - c) / FEATHER).clip(0, 1)
    pixels, within, w, turn = (
        torch.from_numpy(x.astype(np.float32)).to(place)
        for x in (p, 2 * c - 1, (t * t * (3 - 2 * t)).prod(-1), M[:, :2].T)
    )
    size = torch.tensor([W, H], device=place)

    def run(frame: Tensor, flow: Tensor, mask: Tensor, color: Tensor) -> Tensor:
        tensors = torch.cat((flow, mask, color))[None]
        offset, m, paint = F.grid_sample(tensors, within[None], "bilinear", "border", align_corners=False)[0].split(
            (2, 1, 3)
        )
        at = pixels + (w * offset).permute(1, 2, 0) @ turn
        image = frame.permute(2, 0, 1)[None].float()
        warped = F.grid_sample(image, (2 * at / size - 1)[None], "bicubic", "border", align_corners=False)[0]
        changed = torch.lerp(warped, 127.5 * paint + 127.5, w * m).round().clamp(0, 255).byte().permute(1, 2, 0)
        out = frame.clone()
        box = out[y0:y1, x0:x1]
        box.copy_(torch.where(w[..., None] > 0, changed, box))
        return out

    return run


def first_flow(
    source: Tensor,  # [B, K, 2]
    driven: Tensor,  # [B, K, 2]
    widths: Tensor,  # [K]
    S: int,
) -> Tensor:
    s = widths.to(source.dtype)[:, None]
    ex, ey = (torch.exp(-0.5 * ((_axis(source, S) - driven[:, :, i, None]) / s) ** 2) for i in (0, 1))
    ey = ey / (s * s)
    v = source - driven
    total, x, y = (ey.mT @ ex, *((ey * v[:, :, i, None]).mT @ ex for i in (0, 1)))
    return torch.stack((x, y), 1) / (total + EPSILON)[:, None]


def gaussians(points: Tensor, S: int, sigma: float) -> Tensor:
    ex, ey = (torch.exp(-0.5 * ((_axis(points, S) - points[:, :, i, None]) / sigma) ** 2) for i in (0, 1))
    return ey[..., None] * ex[:, :, None]


def contours(points: Tensor, S: int, edges: Tensor) -> Tensor:
    p = torch.stack(torch.meshgrid(*[S * _axis(points, S)] * 2, indexing="xy"), -1)
    a, b = (points[:, edges[:, i].long(), None, None] * S for i in (0, 1))
    t = ((p - a) * (b - a)).sum(-1, keepdim=True) / (b - a).square().sum(-1, keepdim=True)
    distance = (p - a - t.clamp(0, 1) * (b - a)).norm(dim=-1).amin(1, keepdim=True)
    return (HALF_WIDTH + 0.5 - distance).clamp(0, 1)


def _axis(like: Tensor, S: int) -> Tensor:
    return (torch.arange(S, device=like.device, dtype=like.dtype) + 0.5) / S
