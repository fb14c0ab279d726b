"""The points between which a face's first flow is spread: its landmarks, and what they leave open.

A flow that only interpolates landmarks turns over in a mouth that opens wide, for nothing stands between the lips: it
would show each lip twice. So points are put there, which go with the nearer lip while the mouth is nearly shut and are
stretched between both where it is open. And an iris behind a closing lid would hold the lid's skin where the eye was:
what the lid covers goes with the lid.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fetfast.ops.topology import LIP_PAIRS, SPACING

BETWEEN = (0.125, 0.375, 0.625, 0.875)  # the way from the upper lip to the lower one
UPPER, LOWER = map(list, zip(*LIP_PAIRS, strict=True))
SHUT, OPEN = 0.02, 0.06  # gaps between the lips, crop sides
LIDS_AND_IRISES = ((slice(158, 161), slice(468, 473)), (slice(385, 388), slice(473, 478)))
COVER = 0.012  # crop sides over which a lid's edge covers

# Of the Gaussians of `first_flow`, crop sides: each landmark's distance to its neighbours, but no less than a pixel of
# a crop at 128; and that much between the lips.
WIDTHS = np.array([max(n, 8) for n in SPACING] + [8] * (len(BETWEEN) * len(LIP_PAIRS)), np.float32) / np.float32(1000)


def anchors(
    source_points: Any,  # f32 [B, 478, 2], an array or a tensor
    driven_points: Any,  # f32 [B, 478, 2]
) -> tuple[Any, Any]:
    """Source and driven points f32 [B, A, 2], A = 514 = len(WIDTHS), of the same kind as the arguments.

    The first 478 are the landmarks, where the source of an iris is
        (1 - cover) own + cover (driven + the upper lid's displacement)
        cover = clamp((y of the driven upper lid - y) / COVER + 1/2, 0, 1)
    The others stand between each pair of `LIP_PAIRS`, driven: (1 - t) upper + t lower for t in `BETWEEN`;
    displaced by (1 - s) upper's + s lower's, where s goes from round(t) to t as the driven gap goes from SHUT to OPEN.
    """
    source = [source_points[:, : LIDS_AND_IRISES[0][1].start]]
    for lid, iris in LIDS_AND_IRISES:
        here = driven_points[:, iris]
        cover = ((driven_points[:, lid, 1].mean(1)[:, None] - here[..., 1]) / COVER + 0.5).clip(0, 1)[..., None]
        with_lid = here + (source_points[:, lid] - driven_points[:, lid]).mean(1)[:, None]
        source.append((1 - cover) * source_points[:, iris] + cover * with_lid)

    driven = [driven_points]
    upper, lower = driven_points[:, UPPER], driven_points[:, LOWER]
    upper_shift, lower_shift = source_points[:, UPPER] - upper, source_points[:, LOWER] - lower
    gap = ((lower - upper) ** 2).sum(-1)[..., None] ** 0.5
    is_open = ((gap - SHUT) / (OPEN - SHUT)).clip(0, 1)
    for t in BETWEEN:
        here = (1 - t) * upper + t * lower
        s = round(t) + is_open * (t - round(t))
        driven.append(here)
        source.append(here + (1 - s) * upper_shift + s * lower_shift)
    return _concatenate(source), _concatenate(driven)


def _concatenate(parts: list[Any]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, 1)
    import torch

    return torch.cat(parts, 1)
