"""What ops are checked and timed on: the cases of each, stated once, for tests and suites, for processor and GPU.

A case holds data as arrays and functions of it: `ours` takes arrays on a processor and tensors on a GPU, and writes
into `out`; `reference` is the specification, in any float type on the processor; `plain` is how one would write it in
PyTorch. `network` has the cases of a network's resolution, which suites time; small and odd ones are in
`tests/ops/edges.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import plain
import torch
from pictures import face_points, matrix, picture, smooth
from torch import Tensor

from fetfast.ops.anchors import WIDTHS, anchors, corrected
from fetfast.ops.crop import crop, crop_reference
from fetfast.ops.face_mesh import EDGES
from fetfast.ops.heatmap import (
    contours,
    contours_reference,
    first_flow,
    first_flow_reference,
    gaussians,
    gaussians_reference,
)
from fetfast.ops.paste import paste, paste_reference

SIGMA = 0.02
# What may be off where plain PyTorch happens to be (almost) exact.
F32, F16 = 2.0**-20, 2.0**-11
LEVELS = 2.0**-9  # u8: a result that lies between two levels may go either way


@dataclass(frozen=True, eq=False)
class Case:
    name: str
    data: tuple[Any, ...]  # arrays, or None for what is not given
    ours: Callable[..., Any]  # (*data, out=None)
    reference: Callable[..., Any]  # (dtype, *data): tensors, their floats of that type
    plain: Callable[[torch.device], Callable[..., Any]]  # for a device: (*data), tensors there
    bytes: int = 0  # that must move
    operations: int = 0  # of products of matrices
    slack: float = F32
    alike: float | None = None  # how far `plain` may be off where it is not quite the same op; None: it is
    unseen: float = 0.0  # an error of ours, in the result's own unit, that nobody sees

    def computed(self, dtype: torch.dtype = torch.float64) -> Any:
        """By the reference; in f64 the exact answer."""
        return self.reference(dtype, *(cast(tensor, dtype) for tensor in self.tensors("cpu")))

    def tensors(self, device: torch.device | str) -> tuple[Any, ...]:
        return tuple(None if array is None else torch.from_numpy(array).to(device) for array in self.data)


def cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def error(got: Any, exact: Any) -> float:
    """rms of the difference as a share of rms, infinite where they do not agree on what is finite; of several results
    the largest."""
    if isinstance(exact, tuple):
        return max(error(a, b) for a, b in zip(got, exact, strict=True))
    got = torch.as_tensor(got).detach().double()
    exact = torch.as_tensor(exact).detach().to(got)
    if not torch.equal(got.isfinite(), exact.isfinite()):
        return float("inf")
    got, exact = got.nan_to_num(0, 0, 0), exact.nan_to_num(0, 0, 0)
    return float((got - exact).norm() / exact.norm().clamp(min=1e-30))


# ---- Frames


def crop_case(name: str, frame: np.ndarray, M: np.ndarray, S: int, flow: np.ndarray | None = None) -> Case:
    return Case(
        name, (frame, flow),
        lambda frame, flow, out=None: crop(frame, M, S, flow, out),
        lambda dtype, frame, flow: crop_reference(frame, torch.from_numpy(M).to(dtype), S, flow),
        partial(plain.crop, M, S, frame.shape),
    )  # fmt: skip


def paste_case(name: str, frame: np.ndarray, M: np.ndarray, *fields: np.ndarray | None) -> Case:
    """fields: flow, and as far as they are there mask, color, light."""
    return Case(
        name, (frame, *fields),
        lambda frame, flow, mask=None, color=None, light=None, out=None: paste(frame, M, flow, mask, color, out, light),
        lambda dtype, frame, flow, mask=None, color=None, light=None: paste_reference(
            frame, M, flow, mask, color, light=light),
        partial(plain.paste, M, frame.shape),
        bytes=2 * frame.nbytes + sum(field.nbytes for field in fields if field is not None),
        slack=LEVELS, alike=0.02,
    )  # fmt: skip


FACE = matrix(side=300, x=180, y=70)  # a face of 300 pixels in a 640 x 480 driver
HEAD = matrix(side=560, x=110, y=130)  # a head three quarters of a 768 x 768 target wide


def smooth_fields(rng: np.random.Generator, S: int) -> tuple[np.ndarray, ...]:
    """flow, mask, color and light as a network gives them, f32 [., S, S]."""
    flow, mask = np.stack([smooth(rng, S, 0.02) for _ in range(2)]), smooth(rng, S, 0.5)[None] + np.float32(0.5)
    return flow, mask, np.stack([smooth(rng, S, 1.0) for _ in range(3)]), smooth(rng, S, 0.2)[None]


def frames(S: int) -> Iterator[Case]:
    rng = np.random.default_rng(0)
    driver, target = picture(rng, 480, 640), picture(rng, 768, 768)
    flow, mask, color, _ = smooth_fields(rng, S)
    yield crop_case(f"crop 640x480 to {S}", driver, FACE, S)
    yield crop_case(f"warp 768x768 to {S}", target, HEAD, S, flow)
    yield paste_case(f"paste {S} into 768x768", target, HEAD, flow, mask, color)


# ---- Landmarks


def anchor_case(name: str, op: Callable[..., Any], *points: np.ndarray) -> Case:
    return Case(name, points, lambda *points, out=None: op(*points), lambda _, *points: op(*points), lambda _: op)


def flow_case(source: np.ndarray, driven: np.ndarray, S: int, widths: np.ndarray | None = None, **more: Any) -> Case:
    """widths: None for a face."""
    B, K, _ = source.shape
    return Case(
        f"first_flow {B} x {K} to {S}", (source, driven, widths),
        lambda source, driven, widths, out=None: first_flow(source, driven, S, out, widths),
        lambda _, source, driven, widths: first_flow_reference(source, driven, S, widths=widths),
        partial(_plain_flow, S), bytes=16 * B * K + 8 * B * S * S, operations=6 * B * K * S * S, **more,
    )  # fmt: skip


def _plain_flow(S: int, device: torch.device) -> Callable[..., Tensor]:
    usual = torch.from_numpy(WIDTHS).to(device)

    def flow(source: Tensor, driven: Tensor, widths: Tensor | None) -> Tensor:
        if widths is None:
            return plain.first_flow(*corrected(*anchors(source, driven)), usual, S)
        return plain.first_flow(source, driven, widths, S)

    return flow


def contours_case(points: np.ndarray, S: int, edges: np.ndarray | None = None, **more: Any) -> Case:
    """edges: None for a face's."""
    B, K, _ = points.shape
    return Case(
        f"contours {B} x {K} to {S}", (points, edges),
        lambda points, edges, out=None: contours(points, S, out, edges),
        lambda _, points, edges: contours_reference(points, S, edges=edges),
        partial(_plain_contours, S), bytes=4 * B * S * S, **more,
    )  # fmt: skip


def gaussians_case(points: np.ndarray, S: int, sigma: float = SIGMA, groups: list[list[int]] | None = None) -> Case:
    B, K, _ = points.shape
    return Case(
        f"gaussians {B} x {K} to {S}{', in groups' if groups else ''}", (points,),
        lambda points, out=None: gaussians(points, S, sigma, groups, out),
        lambda _, points: gaussians_reference(points, S, sigma, groups),
        lambda _: lambda points: plain.gaussians(points, S, sigma),
        bytes=4 * B * (len(groups) if groups else K) * S * S,
    )  # fmt: skip


def _plain_contours(S: int, device: torch.device) -> Callable[..., Tensor]:
    usual = torch.tensor(EDGES, dtype=torch.int32, device=device)
    return lambda points, edges: plain.contours(points, S, usual if edges is None else edges)


def faces() -> tuple[np.ndarray, np.ndarray]:
    """A face's points, and where an expression moves them."""
    here = face_points()
    return here, (here + np.random.default_rng(0).normal(0, 0.01, here.shape)).astype(np.float32)


def network(S: int) -> Iterator[Case]:
    """What stands round a network of this resolution."""
    yield from frames(S)
    source, driven = faces()
    yield replace(flow_case(source, driven, S), name=f"first_flow {S}")
    yield replace(contours_case(driven, S), name=f"contours {S}")
    yield replace(gaussians_case(driven, S), name=f"gaussians 478 x {S}")


def between() -> Iterator[Case]:
    """What is done to landmarks alone."""
    yield anchor_case("anchors", anchors, *faces())
    yield anchor_case("corrected", corrected, *anchors(*faces()))
