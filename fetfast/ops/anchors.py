"""The points between which a face's first flow is spread: its landmarks, and what they leave open.

A flow that only interpolates landmarks turns over in a mouth that opens, for nothing stands between the lips: it would
show each lip twice. So points are put there that lie between the lips before and after. And an iris behind a closing
lid would hold the lid's skin where the eye was: what the lid covers goes with the lid.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fetfast.ops.topology import LIP_PAIRS, SPACING

BETWEEN = (0.25, 0.5, 0.75)  # the way from the upper lip to the lower one
UPPER, LOWER = map(list, zip(*LIP_PAIRS, strict=True))
LIDS_AND_IRISES = ((slice(158, 161), slice(468, 473)), (slice(385, 388), slice(473, 478)))
COVER = 0.012  # crop sides over which a lid's edge covers

# Of the Gaussians of `first_flow`, crop sides: for each landmark the distance to its neighbours, but no less than a
# pixel of a crop at 128; wide enough between the lips that a wide-open mouth has no rows in it.
WIDTHS = np.array([max(n, 8) for n in SPACING] + [12] * (len(BETWEEN) * len(LIP_PAIRS)), np.float32) / np.float32(1000)


def anchors(
    source_points: Any,  # f32 [B, 478, 2], an array or a tensor
    driven_points: Any,  # f32 [B, 478, 2]
) -> tuple[Any, Any]:
    """Source and driven points f32 [B, A, 2], A = 505 = len(WIDTHS), of the same kind; a few microseconds.

    The first 478 are the landmarks, those of the irises by the rule above:
        cover = clamp((y of the driven upper lid - y) / COVER + 1/2, 0, 1)
        displacement = (1 - cover) own + cover the lid's
    """
    source = [source_points[:, : LIDS_AND_IRISES[0][1].start]]
    for lid, iris in LIDS_AND_IRISES:
        here = driven_points[:, iris]
        cover = ((driven_points[:, lid, 1].mean(1)[:, None] - here[..., 1]) / COVER + 0.5).clip(0, 1)[..., None]
        with_lid = here + (source_points[:, lid] - driven_points[:, lid]).mean(1)[:, None]
        source.append((1 - cover) * source_points[:, iris] + cover * with_lid)
    return _concatenate([*source, *_gap(source_points)]), _concatenate([driven_points, *_gap(driven_points)])


def _gap(points: Any) -> list[Any]:
    """[B, 9, 2] points between the lips, for each of `BETWEEN`."""
    upper, lower = points[:, UPPER], points[:, LOWER]
    return [(1 - t) * upper + t * lower for t in BETWEEN]


def _concatenate(parts: list[Any]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, 1)
    import torch

    return torch.cat(parts, 1)
