"""The front teeth that a mouth shows, and a map of them: where they stand follows from the landmarks.

The upper teeth go with the head and the lower ones with the chin, so each of their points is nearly a weighted mean of
the landmarks, the same for all faces and poses (`synth/teeth.py` finds the weights; they miss the morphable model's
teeth by less than half of one, `tests/train/test_jaws.py`). The landmarks before the motion have weights as well: a
long chin and an open jaw look alike, until one sees what the chin was like before. What lips cover is folded onto
their edges: behind closed lips all points lie on one another, and as lips part teeth grow out of them.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

import numpy as np

from fetfast.errors import BadInput
from fetfast.ops import heatmap_gpu
from fetfast.ops.anchors import namespace
from fetfast.ops.face_mesh import CHAINS
from fetfast.ops.heatmap import HALF_WIDTH, contours, contours_reference
from fetfast.spec import LANDMARKS

UPPER, LOWER = 10, 8  # front teeth of each jaw
POINTS = 2 * (UPPER + 1) + 2 * (LOWER + 1)  # between teeth: along the biting edge, then along the gums
RING = CHAINS["lips"][1]
LOWER_LIP, UPPER_LIP = RING[:11], RING[:9:-1]  # both from the subject's right corner to the left
BEHIND = 0.5  # what a lower tooth is drawn as: told from the upper ones before it


def _rows() -> tuple[tuple[slice, slice], ...]:
    """The points along the biting edge and along the gums, of the upper jaw and of the lower."""
    at = np.cumsum([0, UPPER + 1, UPPER + 1, LOWER + 1, LOWER + 1])
    rows = [slice(int(a), int(b)) for a, b in pairwise(at)]
    return (rows[0], rows[1]), (rows[2], rows[3])


JAWS = _rows()


def _edges() -> np.ndarray:
    edges = []
    for jaw in JAWS:
        bite, gums = (range(row.start, row.stop) for row in jaw)
        edges += [*zip(bite, gums, strict=True), *pairwise(bite)]
    return np.array(edges, np.int32)


EDGES = _edges()


def teeth_map(target_points: Any, driven_points: Any, size: int, out: Any = None) -> Any:
    """The front teeth drawn, f32 [B, 1, S, S]: 1 on an upper tooth, `BEHIND` on a lower one, 0 between teeth, along
    their biting edges and everywhere else. `target_points`, `driven_points` [B, 478, 2]: crop units, as `teeth` has
    them.

        out(p) = (1 - line(p)) max(upper(p), BEHIND lower(p))

    line: `contours` of `teeth`. upper, lower: the most that one of that jaw's teeth takes of pixel p: up and down
    between its biting edge and its gums at the pixel's middle, and across between the ends of its biting edge.
    out: [B, 1, S, S] of any strides, or None for a new f32 one: f32 as an array; f32, f16 or bf16 as a CUDA tensor.
    Bytes that move: 4 B S^2 written. Raises BadInput.
    """
    if not isinstance(driven_points, np.ndarray):
        return _drawn_there(target_points, driven_points, size, out)
    points, edges = teeth(target_points, driven_points)
    out = contours(points, size, out, edges)
    mouths = points[np.isfinite(points).all((1, 2))]
    if not mouths.size:
        return out
    # Only what the mouths take: all else is 0 already.
    low, high = (f(mouths, (0, 1)) * size for f in (np.amin, np.amax))
    (left, top), (right, bottom) = (low - 2).clip(0, size).astype(int), (high + 3).clip(0, size).astype(int)
    rows, columns = slice(top, bottom), slice(left, right)
    out[:, 0, rows, columns] = filled(points, size, rows, columns) * (1 - out[:, 0, rows, columns])
    return out


def _drawn_there(target_points: Any, driven_points: Any, size: int, out: Any) -> Any:
    """`teeth_map` on a GPU."""
    _check(target_points, driven_points)
    B = heatmap_gpu.check_points("teeth_map", "driven_points", driven_points)[0]
    heatmap_gpu.check_points("teeth_map", "target_points", target_points)
    out = heatmap_gpu.output("teeth_map", out, (B, 1, size, size), driven_points)
    if out.numel():
        from fetfast.kernels import teeth as kernel

        weight, _, _, _, lips = _tensors(driven_points.dtype, driven_points.device)
        points = driven_points.new_empty(B, POINTS, 2)
        kernel.stand(target_points, driven_points, weight, lips, points)
        kernel.draw(points, UPPER, LOWER, BEHIND, HALF_WIDTH + 0.5, out)
    return out


def teeth_map_reference(target_points: Any, driven_points: Any, size: int) -> Any:
    """The specification of `teeth_map` in plain PyTorch. Computes in the dtype of the points."""
    import torch

    points, edges = teeth(torch.as_tensor(target_points), torch.as_tensor(driven_points))
    return filled(points, size)[:, None] * (1 - contours_reference(points, size, edges=edges))


def filled(points: Any, size: int, rows: slice = slice(None), columns: slice = slice(None)) -> Any:
    """[B, rows, columns] of points [B, 40, 2], an array or a tensor: teeth without the lines between them. Each by
    itself, for where a head is turned, a row of teeth turns back."""
    xp = namespace(points)
    centre = (np.arange(size, dtype=np.float32) + 0.5) / size
    if xp is not np:
        centre = xp.asarray(centre, dtype=points.dtype, device=points.device)
    half, x, y = 0.5 / size, centre[columns], centre[rows][:, None]
    shares = []
    for bite, gums in JAWS:
        a, b = (_between(points[:, row], x)[:, :, None] for row in (bite, gums))  # [B, teeth, 1, columns]
        first, last = points[:, bite, None, :1][:, :-1], points[:, bite, None, :1][:, 1:]  # [B, teeth, 1, 1]
        down = (xp.minimum(xp.maximum(a, b), y + half) - xp.maximum(xp.minimum(a, b), y - half)).clip(0)
        right, left = xp.maximum(first, last), xp.minimum(first, last)
        across = (xp.minimum(right, x + half) - xp.maximum(left, x - half)).clip(0)
        shares.append(xp.amax(size * size * down * across, 1))
    return xp.nan_to_num(xp.maximum(shares[0], BEHIND * shares[1]))


def _between(nodes: Any, x: Any) -> Any:
    """The height at `x` [K] of the line from each of `nodes` [B, N, 2] to the next, [B, N - 1, K]; level beyond it."""
    start, step = nodes[:, :-1, None], (nodes[:, 1:] - nodes[:, :-1])[:, :, None]
    return start[..., 1] + ((x - start[..., 0]) / (step[..., 0] + 1e-9)).clip(0, 1) * step[..., 1]


def teeth(target_points: Any, driven_points: Any) -> tuple[Any, Any]:
    """The front teeth's points [B, 40, 2] of somebody who moves from `target_points` to `driven_points` [B, 478, 2],
    arrays or tensors, crop units as all of these, and the lines between them i32 [E, 2], the gaps between teeth and
    the biting edges: what `contours` draws.

        t = W driven + V target
        x' = clamp(x, corners of the mouth)     y' = clamp(y, upper lip(x'), lower lip(x'))

    the lips' inner edges taken as lines from landmark to landmark. Rows of W sum to 1 and rows of V to 0: where the
    target lies does not matter, only how it is shaped. A landmark that is NaN leaves no tooth.
    Raises BadInput.
    """
    _check(target_points, driven_points)
    xp = namespace(driven_points)
    weight, lower, upper, edges = _constants(driven_points)
    both = xp.concatenate((driven_points, target_points), 1)
    # Tensors by no product of matrices: a CUDA graph would hold on to a workspace of cuBLAS that is not its own.
    at = weight @ both if xp is np else (weight[..., None] * both[:, None]).sum(2)
    low, high = driven_points[:, lower], driven_points[:, upper]
    a, b = low[:, :1, 0], low[:, -1:, 0]
    x = xp.minimum(xp.maximum(at[..., 0], xp.minimum(a, b)), xp.maximum(a, b))
    y = xp.minimum(xp.maximum(at[..., 1], _line(high, x)), _line(low, x))
    return xp.stack((x, y), -1), edges


def _check(target_points: Any, driven_points: Any) -> None:
    for name, points in (("target_points", target_points), ("driven_points", driven_points)):
        if points.ndim != 3 or tuple(points.shape[1:]) != (LANDMARKS, 2):
            raise BadInput(f"teeth(): {name} is {list(points.shape)}, expected [B, {LANDMARKS}, 2]")


def _line(nodes: Any, x: Any) -> Any:
    """The height at `x` [B, K] of the line through `nodes` [B, N, 2], which run to the right or, mirrored, to the left;
    level beyond both ends."""
    step = nodes[:, 1:] - nodes[:, :-1]
    run = step[..., 0] + 1e-9  # none is that, and 0 would not do
    share = ((x[:, :, None] - nodes[:, None, :-1, 0]) / run[:, None]).clip(0, 1)
    return nodes[:, :1, 1] + (share * step[:, None, :, 1]).sum(2)


@cache
def weights() -> np.ndarray:
    """f32 [40, 2 * 478]: W, V. Halves sum to 1 and 0 only nearly, which is mended."""
    with (files("fetfast.ops") / "teeth.npy").open("rb") as file:
        parts = np.split(np.load(file, allow_pickle=False).astype(np.float32), 2, axis=1)
    return np.hstack(
        [part + (wanted - part.sum(1, keepdims=True)) / LANDMARKS for part, wanted in zip(parts, (1, 0), strict=True)]
    )


def _constants(array: Any) -> tuple[Any, ...]:
    """The weights, the lower and the upper lip's landmarks, `EDGES`: for an array or a tensor such as this."""
    if isinstance(array, np.ndarray):
        return weights().astype(array.dtype), list(LOWER_LIP), list(UPPER_LIP), EDGES
    return _tensors(array.dtype, array.device)[:4]


@cache
def _tensors(dtype: Any, device: Any) -> tuple[Any, ...]:
    """On a GPU copied there once; and both lips' landmarks together, as the kernel has them."""
    import torch

    weight = torch.tensor(weights(), dtype=dtype, device=device)
    lower, upper, edges = (torch.tensor(rows, device=device) for rows in (LOWER_LIP, UPPER_LIP, EDGES))
    return weight, lower, upper, edges, torch.stack((lower, upper)).int().contiguous()
