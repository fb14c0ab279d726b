"""Where in a crop the face and its parts lie, and how much a pixel there counts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fetfast.ops.face_mesh import CHAINS, LIPS
from fetfast.train.losses.flows import centres

PARTS = (
    (LIPS, 5.0),
    *((eye, 4.0) for eye in CHAINS["eyes"]),
)  # landmarks, and how much more than skin their pixels count
INSIDE = 20.0  # how much more a pixel between parted lips counts: few, often painted from nothing, and looked at first
TEETH = 1.0  # how much more it counts there to be too dark: what may be teeth or their shadow is shown as teeth
MOVED = 3.0  # how much more than others a pixel's motion counts at most
BACKGROUND = 0.3  # how much a pixel outside of the face counts
PATCH = 96  # side in pixels at which a mouth or an eye is looked at closely: what a crop at 256 has of a mouth


def ellipse(points: Tensor, size: int) -> Tensor:
    """f32 [B, 1, size, size]: 1 within the ellipse round these landmarks, 0 well outside, softly between."""
    low, high = points.amin(1), points.amax(1)
    middle, radius = (low + high) / 2, 0.6 * (high - low) + 0.02
    away = ((centres(size, points) - middle[:, None, None]) / radius[:, None, None]).norm(dim=-1)
    return torch.sigmoid(8 * (1 - away))[:, None]


def between_lips(points: Tensor, size: int) -> Tensor:
    """f32 [B, 1, size, size]: 1 within the polygon of the inner lips, 0 outside, softened by a pixel."""
    ring = points[:, list(CHAINS["lips"][1])]
    a, b = ring[:, :-1, None, None], ring[:, 1:, None, None]  # [B, edges, 1, 1, 2]
    x, y = centres(size, points).unbind(-1)
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


def patches(picture: Tensor, points: Tensor) -> Tensor:
    """[3 B, 3, 96, 96]: the mouth, the right and the left eye of each picture, squares about their landmarks."""
    grid = centres(PATCH, points)
    out = []
    for part, _ in PARTS:
        rows = points[:, list(part)]
        low, high = rows.amin(1), rows.amax(1)
        middle = (low + high) / 2
        side = 1.5 * (high - low).amax(-1)
        where = middle[:, None, None] + (grid - 0.5) * side[:, None, None, None]
        out.append(F.grid_sample(picture, 2 * where - 1, padding_mode="border", align_corners=False))
    return torch.cat(out)


def box(points: Tensor, size: int) -> Tensor:
    """f32 [B, S, S]: 1 in the box round the landmarks, 0 outside."""
    grid = centres(size, points)
    low, high = points.amin(1)[:, None, None], points.amax(1)[:, None, None]
    return ((grid >= low) & (grid <= high)).all(-1).float()
