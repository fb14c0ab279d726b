"""The points between which a face's first flow is spread: its landmarks, and what they leave open.

A flow that only interpolates landmarks turns over in a mouth that opens wide, for nothing stands between the lips: it
would show each lip twice. So points are put there, which go with the nearer lip while the mouth is nearly shut and are
stretched between both where it is open. And an iris behind a closing lid would hold the lid's skin where the eye was:
what the lid covers goes with the lid.

A sum of Gaussians smooths: what it shows at a landmark is an average of its neighbours' displacements, so that thin
parts (lids, brows, lips) move too little. `corrected` adds what is missing once more.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fetfast.ops.face_mesh import LIP_PAIRS, OVAL, SPACING
from fetfast.ops.norm_act import on_gpu

BETWEEN = (0.125, 0.375, 0.625, 0.875)  # the way from the upper lip to the lower one
UPPER, LOWER = map(list, zip(*LIP_PAIRS, strict=True))
SHUT, OPEN = 0.02, 0.06  # gaps between the lips, crop sides
LIDS_AND_IRISES = ((slice(158, 161), slice(468, 473)), (slice(385, 388), slice(473, 478)))
FAR = 8.0  # crop sides from the middle: nothing of a point there is seen
COVER = 0.012  # crop sides over which a lid's edge covers

EPSILON = 100.0  # of first_flow's denominator, 1 / square crop sides

# Of the Gaussians of `first_flow`, crop sides. Each landmark's distance to its neighbours, but no less than a pixel of
# a crop at 128, and as much between the lips; of that .65 within the face's oval, where neighbours move apart: on the
# oval the flow shall fade, and between the lips stretch evenly.
NEAREST = np.array([max(n, 8) for n in SPACING] + [8] * (len(BETWEEN) * len(LIP_PAIRS)), np.float32) / np.float32(1000)
WITHIN = np.isin(np.arange(len(NEAREST)), OVAL, invert=True)
WIDTHS = np.where(WITHIN & (np.arange(len(NEAREST)) < len(SPACING)), np.float32(0.65), np.float32(1)) * NEAREST
MASS = (1 / WIDTHS**2)[:, None]


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
    above, below, _, _ = _constants(driven_points)
    upper, lower = driven_points[:, above], driven_points[:, below]
    upper_shift, lower_shift = source_points[:, above] - upper, source_points[:, below] - lower
    gap = ((lower - upper) ** 2).sum(-1)[..., None] ** 0.5
    is_open = ((gap - SHUT) / (OPEN - SHUT)).clip(0, 1)
    for t in BETWEEN:
        here = (1 - t) * upper + t * lower
        s = round(t) + is_open * (t - round(t))
        driven.append(here)
        source.append(here + (1 - s) * upper_shift + s * lower_shift)
    return _concatenate(source, 1), _concatenate(driven, 1)


def corrected(
    source_points: Any,  # f32 [B, A, 2], as `anchors` gives them
    driven_points: Any,  # f32 [B, A, 2]
) -> tuple[Any, Any]:
    """Source and driven points again, the displacements d = source - driven of all within the face's oval changed to

        d + (d - F d)      (F d)_j = sum_k w_k(driven_j) d_k / (sum_k w_k(driven_j) + EPSILON)

    with `first_flow`'s w: what its smoothing takes from d is given beforehand (Tukey's twicing). The oval's stay, so
    that the flow does not swing over outside of it. A point that is NaN or far away stays, and changes no other.
    On 64 pairs of persons held out the warp gains 1.2 dB by this and by the narrower WIDTHS.
    """
    xp = namespace(driven_points)
    d, at = source_points - driven_points, driven_points - 0.5
    known = ((abs(d) < FAR) & (abs(at) < FAR)).all(-1)[..., None]
    zero = xp.zeros_like(d)
    d, at = xp.where(known, d, zero), xp.where(known, at, zero)
    _, _, mass, within = _constants(driven_points)
    sums = _spread(at, mass, mass * known * _concatenate([d, xp.ones_like(d[..., :1])], -1))
    shown = sums[..., :2] / (sums[..., 2:] + EPSILON)
    return source_points + within * known * (d - shown), driven_points


def moved(target_points: Any, fused_points: Any, amount: Any) -> Any:
    """target + amount (fused - target): how far each of the points [B, K, 2] goes, by amount [B, K, 1]."""
    if not isinstance(target_points, np.ndarray) and on_gpu(target_points):
        from fetfast.kernels import points as kernel

        out = target_points.new_empty(target_points.shape)
        if out.numel():
            kernel.moved(target_points.contiguous(), fused_points.contiguous(), amount.contiguous(), out)
        return out
    return target_points + amount * (fused_points - target_points)


def anchored(source_points: Any, driven_points: Any) -> Any:
    """f32 [2, B, A, 2] on a GPU: source and driven points as `anchors` completes and `corrected` changes them."""
    from fetfast.kernels import points as kernel

    out = source_points.new_empty(2, len(source_points), len(WIDTHS), 2)
    if out.numel():
        numbers, landmarks = _table(source_points.device)
        kernel.anchors(source_points, driven_points, numbers, landmarks, SHUT, OPEN, COVER, FAR, EPSILON, out)
    return out


@cache
def _table(device: Any) -> tuple[Any, Any]:
    """What `kernels.points` must know of each anchor: f32 [A, 4] and i32 [A, 4]."""
    import torch

    A, K = len(WIDTHS), len(SPACING)
    numbers, landmarks = np.zeros((A, 4), np.float32), np.zeros((A, 4), np.int32)
    numbers[K:, 0] = np.repeat(BETWEEN, len(UPPER))
    numbers[:, 1], numbers[:, 2] = MASS[:, 0], WITHIN
    landmarks[:K, :2] = np.arange(K)[:, None]
    landmarks[K:, 0], landmarks[K:, 1] = np.tile(UPPER, len(BETWEEN)), np.tile(LOWER, len(BETWEEN))
    landmarks[:, 2] = -1
    for lid, iris in LIDS_AND_IRISES:
        landmarks[iris, 2] = lid.start
    return torch.from_numpy(numbers).to(device), torch.from_numpy(landmarks).to(device)


def _spread(at: Any, mass: Any, values: Any) -> Any:
    """sum_k exp(-mass_k |at_j - at_k|^2 / 2) values_k, for `at` [B, A, 2], `mass` [A, 1] and `values` [B, A, 3]."""
    if isinstance(at, np.ndarray):  # the exponents by a product of matrices: faster than the differences of all to all
        p = at.astype(np.float64)  # its terms cancel: in f32 they would leave three digits of an exponent
        square, one = (p**2).sum(-1)[..., None], np.ones_like(p[..., :1])
        rows = np.concatenate([p, square, one], -1)
        columns = np.concatenate([mass * p, -mass / 2 * one, -mass / 2 * square], -1)
        weight = (rows @ columns.swapaxes(1, 2)).astype(at.dtype)
        return np.exp(weight, out=weight) @ values
    # Tensors by no such product: with TF32, which a user or NVIDIA's containers may have switched on, exponents do not
    # cancel; and a CUDA graph would hold on to a workspace of cuBLAS that is not its own (pytorch/pytorch#193402).
    square = (at[:, :, None] - at[:, None]).square().sum(-1)
    weight = (square * (-mass[:, 0] / 2)).exp()
    return namespace(at).stack([(weight * value[:, None]).sum(-1) for value in values.unbind(-1)], -1)


def namespace(array: Any) -> Any:
    """NumPy for an array, PyTorch for a tensor."""
    if isinstance(array, np.ndarray):
        return np
    import torch

    return torch


def _constants(array: Any) -> tuple[Any, Any, Any, Any]:
    """`UPPER` and `LOWER`, the Gaussians' masses 1 / s^2 and `WITHIN` [A, 1], for an array or a tensor such as this."""
    if isinstance(array, np.ndarray):
        return UPPER, LOWER, MASS.astype(array.dtype), WITHIN[:, None].astype(array.dtype)
    return _tensors(array.dtype, array.device)


@cache
def _tensors(dtype: Any, device: Any) -> tuple[Any, Any, Any, Any]:
    """On a GPU copied there once: a list as an index would be copied up, and waited for, in each step."""
    import torch

    above, below = (torch.tensor(rows, device=device) for rows in (UPPER, LOWER))
    mass, within = (torch.tensor(value, dtype=dtype, device=device) for value in (MASS, WITHIN[:, None]))
    return above, below, mass, within


def _concatenate(parts: list[Any], axis: int) -> Any:
    return np.concatenate(parts, axis) if isinstance(parts[0], np.ndarray) else namespace(parts[0]).cat(parts, axis)
