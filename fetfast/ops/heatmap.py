"""Landmarks drawn as images: the dense first flow, the face's contours, Gaussian maps.

Points are in crop sides; a map's pixel (r, c) stands for the point ((c + 0.5) / S, (r + 0.5) / S). A point that is NaN
is drawn as nothing. B = 0 gives an empty map. Gaussians are separable: exp(-d^2) = exp(-dx^2) exp(-dy^2), so that
S^2 K exponentials are 2 S K, and a sum over points is a matrix product.
Each op also takes CUDA tensors, gives such, and then writes any float type: `heatmap_gpu`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fetfast import _native
from fetfast.errors import BadInput
from fetfast.ops import heatmap_gpu
from fetfast.ops.anchors import EPSILON, WIDTHS, anchors, corrected
from fetfast.ops.crop import check_out, describe
from fetfast.ops.face_mesh import EDGES
from fetfast.spec import LANDMARKS, MAX_SIDE

if TYPE_CHECKING:
    import torch
    from threadpoolctl import ThreadpoolController

Array = NDArray[np.float32]

HALF_WIDTH = 0.5  # of a contour, pixels
_EDGES = np.array(EDGES, np.int32)


def first_flow(
    source_points: Array,  # [B, K, 2]
    driven_points: Array,  # [B, K, 2]
    size: int,
    out: Array | None = None,  # [B, 2, size, size]
    widths: Array | None = None,  # [K]
) -> Array:
    """The landmarks' displacement, spread densely: a backward flow f32 [B, 2, S, S] in crop sides.

        flow(p) = sum_k w_k(p) (source_k - driven_k) / (sum_k w_k(p) + EPSILON)
        w_k(p) = exp(-|p - driven_k|^2 / (2 s_k^2)) / s_k^2

    source_points: where the landmarks are in the picture to be warped; driven_points: where they shall be.
    widths: s f32 [K], crop sides. All Gaussians hold the same mass, so that narrow ones (lips, lids) win where they
        stand, and far from all the flow fades to zero. None: the points are a face's 478 landmarks, spread as
        `anchors` completes and `corrected` changes them, with their `WIDTHS`.
    out: f32 [B, 2, S, S] of any strides, or None for a new array.

    Bytes that move: 16 B K read, 8 B S^2 written; 6 B K S^2 floating-point operations as a matrix product.
    Raises BadInput.
    """
    if _is_tensor(source_points):
        return heatmap_gpu.first_flow(source_points, driven_points, size, out, widths, EPSILON)
    shape = _check_points("first_flow", "source_points", source_points)
    if _check_points("first_flow", "driven_points", driven_points) != shape:
        wanted = describe(source_points)
        raise BadInput(f"first_flow(): driven_points is {describe(driven_points)}, expected {wanted} as source_points")
    if widths is None and shape[1] == LANDMARKS:
        with _one_thread():
            source_points, driven_points = corrected(*anchors(source_points, driven_points))
        widths = WIDTHS
    B, K, _ = driven_points.shape
    if not (
        isinstance(widths, np.ndarray) and widths.dtype == np.float32 and widths.shape == (K,) and (widths > 0).all()
    ):
        raise BadInput(f"first_flow(): widths is {describe(widths)}, expected float32 [{K}], above 0")
    out = _output("first_flow", out, (B, 2, size, size))
    displacement = source_points - driven_points
    with _one_thread():
        for points, values, flow in zip(driven_points, displacement, out, strict=True):
            known = np.isfinite(values).all(1)
            points, values, s = points[known], values[known], widths[known]
            ex, ey = _profiles(points, s, size)
            ey /= (s * s)[:, None]
            total = ey.T @ ex
            total += EPSILON
            for value, to in zip(values.T, flow, strict=True):
                np.divide((ey * value[:, None]).T @ ex, total, out=to)
    return out


_TURN = Lock()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Products this small want one thread: the others' waiting for more work would slow all else on the machine. The
    limit is the whole process's: of two callers the second would take the first one's for what it has to restore."""
    with _TURN, _blas().limit(limits=1, user_api="blas"):
        yield


@cache
def _blas() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def contours(
    points: Array,  # [B, K, 2]
    size: int,
    out: Array | None = None,  # [B, 1, size, size]
    edges: NDArray[np.int32] | None = None,  # [E, 2]
) -> Array:
    """Anti-aliased lines f32 [B, 1, S, S], 0 ... 1: eyes, brows, lips, irises, nose and the face's oval.

        out(p) = max over edges of clamp(HALF_WIDTH + 0.5 - |p - edge|, 0, 1), distances in pixels

    edges: i32 [E, 2], pairs of points; None takes those of `face_mesh.EDGES`. One with a NaN end is not drawn.
    out: f32 [B, 1, S, S] of any strides, or None for a new array.

    Bytes that move: 8 B K read, 4 B S^2 written. Raises BadInput.
    """
    if _is_tensor(points):
        return heatmap_gpu.contours(points, size, out, edges, HALF_WIDTH + 0.5)
    B, K, _ = _check_points("contours", "points", points)
    if edges is None:
        edges = _EDGES
    if not (isinstance(edges, np.ndarray) and edges.dtype == np.int32 and edges.ndim == 2 and edges.shape[1] == 2):
        raise BadInput(f"contours(): edges is {describe(edges)}, expected int32 [E, 2]")
    if edges.size and not (edges.min() >= 0 and edges.max() < K):
        raise BadInput(f"contours(): edges name points {edges.min()} ... {edges.max()}, expected 0 ... {K - 1}")
    out = _output("contours", out, (B, 1, size, size))
    _native.contours(points, edges, HALF_WIDTH, out)
    return out


def gaussians(
    points: Array,  # [B, K, 2]
    size: int,
    sigma: float,
    groups: Sequence[Sequence[int]] | None = None,  # G groups of points
    out: Array | None = None,  # [B, K or G, size, size]
) -> Array:
    """One Gaussian of width `sigma` (crop sides) and height 1 per point, or per group their maximum.

        out[k](p) = exp(-|p - point_k|^2 / (2 sigma^2))       out[g](p) = max over k in group g

    Returns f32 [B, K, S, S], or [B, G, S, S]; `out` of that shape and any strides, or None for a new array.
    Bytes that move: 8 B K read, 4 B K S^2 (or 4 B G S^2) written. Raises BadInput.
    """
    if not 0 < sigma < np.inf:
        raise BadInput(f"gaussians(): sigma is {sigma!r}, expected a number above 0, in crop sides")
    if _is_tensor(points):
        return heatmap_gpu.gaussians(points, size, sigma, groups, out)
    B, K, _ = _check_points("gaussians", "points", points)
    if groups is not None and any(not 0 <= k < K for group in groups for k in group):
        raise BadInput(f"gaussians(): groups name points outside of 0 ... {K - 1}")
    out = _output("gaussians", out, (B, K if groups is None else len(groups), size, size))
    for one, maps in zip(points, out, strict=True):
        ex, ey = _profiles(one, np.full(K, sigma, np.float32), size)
        if groups is None:
            np.multiply(ey[:, :, None], ex[:, None, :], out=maps)
            continue
        maps[:] = 0
        for group, to in zip(groups, maps, strict=True):
            for k in group:
                np.maximum(to, ey[k, :, None] * ex[k], out=to)
    return out


def first_flow_reference(
    source_points: Any, driven_points: Any, size: int, out: Any = None, widths: Any = None
) -> torch.Tensor:
    """The specification of `first_flow` in plain PyTorch. Computes in the dtype of the points."""
    import torch

    source, driven = torch.as_tensor(source_points), torch.as_tensor(driven_points)
    if widths is None:
        source, driven = corrected(*anchors(source, driven))
        widths = WIDTHS
    s = torch.as_tensor(widths).to(driven)[:, None, None]
    value = source - driven  # [B, K, 2]
    known = value.isfinite().all(-1)
    value = value.where(known[..., None], 0)
    w = torch.exp(_squared_distance(driven.where(known[..., None], 0), size) / (-2 * s * s)) / (s * s)
    w = w * known[..., None, None]  # [B, K, S, S]
    flow = torch.einsum("bkyx,bkc->bcyx", w, value) / (w.sum(1, keepdim=True) + EPSILON)
    return flow if out is None else out.copy_(flow)


def contours_reference(points: Any, size: int, out: Any = None, edges: Any = None) -> torch.Tensor:
    """The specification of `contours` in plain PyTorch. Computes in the dtype of the points."""
    import torch

    points = torch.as_tensor(points)
    index = torch.as_tensor(_EDGES if edges is None else edges).long()
    a, b = (points[:, index[:, i], None, None, :] * size for i in (0, 1))  # [B, E, 1, 1, 2] pixels
    p = _pixels(size, points.dtype) * size - a  # [B, E, S, S, 2]
    along = b - a
    t = (p * along).sum(-1, keepdim=True) / (along * along).sum(-1, keepdim=True)
    distance = (p - t.nan_to_num(0).clamp(0, 1) * along).norm(dim=-1)
    lines = (HALF_WIDTH + 0.5 - distance).clamp(0, 1).nan_to_num(0)  # a NaN end: no line
    drawn = torch.cat((lines, torch.zeros_like(lines[:, :1])), 1).amax(1, keepdim=True)
    return drawn if out is None else out.copy_(drawn)


def gaussians_reference(
    points: Any, size: int, sigma: float, groups: Sequence[Sequence[int]] | None = None, out: Any = None
) -> torch.Tensor:
    """The specification of `gaussians` in plain PyTorch. Computes in the dtype of the points."""
    import torch

    maps = torch.exp(_squared_distance(torch.as_tensor(points), size) / (-2 * sigma * sigma)).nan_to_num(0)
    if groups is not None:
        none = torch.zeros_like(maps[:, :1])
        maps = torch.cat([torch.cat((none, maps[:, list(group)]), 1).amax(1, keepdim=True) for group in groups], 1)
    return maps if out is None else out.copy_(maps)


def _profiles(points: Array, widths: Array, size: int) -> tuple[Array, Array]:
    """exp(-dx^2 / 2 s^2) and exp(-dy^2 / 2 s^2), each f32 [K, size]; zero for a NaN point."""
    axis = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    d = axis - points.T[:, :, None]  # [2, K, size]
    d *= (np.float32(np.sqrt(0.5)) / widths)[:, None]
    with np.errstate(over="ignore"):  # infinitely far: exp gives 0
        d *= d
    np.negative(d, out=d)
    np.exp(d, out=d)
    d[:, ~np.isfinite(points).all(1)] = 0
    return d[0], d[1]


def _pixels(size: int, dtype: Any) -> torch.Tensor:
    """[S, S, 2] the points (x, y) that the pixels stand for."""
    import torch

    axis = (torch.arange(size, dtype=dtype) + 0.5) / size
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)


def _squared_distance(points: torch.Tensor, size: int) -> torch.Tensor:
    """[B, K, S, S] of each pixel from each point."""
    return (_pixels(size, points.dtype) - points[:, :, None, None]).square().sum(-1)


def _is_tensor(points: Any) -> bool:
    return type(points).__module__.startswith("torch")


def _check_points(op: str, name: str, points: Any) -> tuple[int, ...]:
    fits = isinstance(points, np.ndarray) and points.dtype == np.float32 and points.ndim == 3
    if not (fits and points.shape[2] == 2):
        raise BadInput(f"{op}(): {name} is {describe(points)}, expected float32 [B, K, 2]")
    return points.shape


def _output(op: str, out: Any, shape: tuple[int, ...]) -> Array:
    size = shape[-1]
    if not isinstance(size, int | np.integer) or not 1 <= size <= MAX_SIDE:
        raise BadInput(f"{op}(): size is {size!r}, expected a whole number in 1 ... {MAX_SIDE}")
    if out is None:
        return np.empty(shape, np.float32)
    check_out(op, out, shape, np.float32)
    return out
