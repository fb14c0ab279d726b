"""The GPU form of `heatmap`'s ops: the same arguments as tensors, drawn into any channels of a network's input.

`fetfast.ops.heatmap` comes here when it is given tensors. Points are f32 and contiguous; `out` is f32, f16 or bf16 of
any strides on the points' device.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from fetfast.errors import BadInput
from fetfast.ops.anchors import WIDTHS, anchored
from fetfast.ops.norm_act import check_span, describe, on_gpu
from fetfast.spec import LANDMARKS, MAX_SIDE

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def first_flow(
    source_points: Any,  # [B, K, 2]
    driven_points: Any,  # [B, K, 2]
    size: int,
    out: Any,
    widths: Any,  # [K]
    epsilon: float,
) -> Any:
    B, K = check_points("first_flow", "source_points", source_points)
    if check_points("first_flow", "driven_points", driven_points) != (B, K) or (
        driven_points.device != source_points.device
    ):
        wanted = describe(source_points)
        raise BadInput(f"first_flow(): driven_points is {describe(driven_points)}, expected {wanted} as source_points")
    if widths is None and K == LANDMARKS:
        source_points, driven_points = anchored(source_points, driven_points)
        widths, K = _anchor_widths(source_points.device), source_points.shape[1]
    if (
        widths is None
        or tuple(widths.shape) != (K,)
        or widths.device != source_points.device
        or not widths.is_contiguous()
    ):
        raise BadInput(f"first_flow(): widths is {describe(widths)}, expected [{K}] on {source_points.device}")
    out = output("first_flow", out, (B, 2, size, size), source_points)
    if out.numel():
        from fetfast.kernels import heatmap as kernel

        kernel.first_flow(source_points, driven_points, widths.float(), epsilon, out)
    return out


def contours(
    points: Any,  # [B, K, 2]
    size: int,
    out: Any,
    edges: Any,  # i32 [E, 2], of 0 ... K - 1: what they name is not looked at, for that would wait for the GPU
    reach: float,
) -> Any:
    import torch

    B, _ = check_points("contours", "points", points)
    if edges is None:
        edges = _face_edges(points.device)
    if edges.dtype != torch.int32 or edges.ndim != 2 or edges.shape[1] != 2 or not edges.is_contiguous():
        raise BadInput(f"contours(): edges is {describe(edges)}, expected contiguous int32 [E, 2]")
    out = output("contours", out, (B, 1, size, size), points)
    if not edges.numel():
        return out.zero_()
    if out.numel():
        from fetfast.kernels import heatmap as kernel

        kernel.contours(points, edges, reach, out)
    return out


def gaussians(
    points: Any,  # [B, K, 2]
    size: int,
    sigma: float,
    groups: Sequence[Sequence[int]] | None,
    out: Any,
) -> Any:
    B, K = check_points("gaussians", "points", points)
    if groups is not None and any(not 0 <= k < K for group in groups for k in group):
        raise BadInput(f"gaussians(): groups name points outside of 0 ... {K - 1}")
    out = output("gaussians", out, (B, K if groups is None else len(groups), size, size), points)
    members = None if groups is None else _members(tuple(map(tuple, groups)), points.device)
    if out.numel():
        from fetfast.kernels import heatmap as kernel

        kernel.gaussians(points, sigma, members, out)
    return out


@cache
def _anchor_widths(device: torch.device) -> Tensor:
    import torch

    return torch.from_numpy(WIDTHS).to(device)


@cache
def _face_edges(device: torch.device) -> Tensor:
    import torch

    from fetfast.ops.face_mesh import EDGES

    return torch.tensor(EDGES, dtype=torch.int32, device=device)


@cache
def _members(groups: tuple[tuple[int, ...], ...], device: torch.device) -> Tensor:
    """i32 [G, most], filled up with -1."""
    import torch

    most = max((len(group) for group in groups), default=0)
    rows = [[*group, *[-1] * (most - len(group))] for group in groups]
    return torch.tensor(rows, dtype=torch.int32, device=device).reshape(len(groups), most)


def check_points(op: str, name: str, points: Tensor) -> tuple[int, int]:
    import torch

    fits = isinstance(points, torch.Tensor) and points.dtype == torch.float32 and points.ndim == 3
    if not (fits and points.shape[2] == 2 and points.is_contiguous()):
        raise BadInput(f"{op}(): {name} is {describe(points)}, expected contiguous float32 [B, K, 2]")
    if not on_gpu(points):
        raise BadInput(f"{op}(): {name} is a tensor on {points.device}, expected one on cuda, or a NumPy array")
    return points.shape[0], points.shape[1]


def output(op: str, out: Tensor | None, shape: tuple[int, ...], points: Tensor) -> Tensor:
    import torch

    if not 1 <= shape[-1] <= MAX_SIDE:
        raise BadInput(f"{op}(): size is {shape[-1]}, expected a whole number in 1 ... {MAX_SIDE}")
    if out is None:
        out = torch.empty(shape, dtype=torch.float32, device=points.device)
    kinds = (torch.float32, torch.float16, torch.bfloat16)
    if tuple(out.shape) != shape or out.device != points.device or out.dtype not in kinds:
        wanted = f"float32, float16 or bfloat16 {list(shape)} on {points.device}"
        raise BadInput(f"{op}(): out is {describe(out)}, expected {wanted}")
    check_span(op, "out", out[:1])  # images are told apart by 64 bits
    return out
