"""What ops are checked and timed on: the cases of each, stated once, for tests and suites, for processor and GPU.

A case holds data as arrays and functions of it: `ours` takes arrays on a processor and tensors on a GPU, and writes
into `out`; `reference` is the specification, in any float type on the processor; `plain` is how one would write it in
PyTorch. `crops`, `pastes`, `flows`, `lines` and `maps` are small and odd, for tests: nobody, one pixel, NaN, scales out
of measure. `network` has those of a network's resolution, for suites.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import plain
import torch
from pictures import face_points, matrix, picture, smooth
from torch import Tensor

from fetfast.ops.anchors import WIDTHS, anchors, corrected
from fetfast.ops.crop import crop, crop_reference
from fetfast.ops.heatmap import (
    contours,
    contours_reference,
    first_flow,
    first_flow_reference,
    gaussians,
    gaussians_reference,
)
from fetfast.ops.paste import paste, paste_reference
from fetfast.ops.topology import EDGES

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
    got, exact = (torch.as_tensor(x).detach().cpu().double() for x in (got, exact))
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


def noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def fields(rng: np.random.Generator, S: int, amount: float = 0.03) -> tuple[np.ndarray, ...]:
    """flow, mask, color and light, f32 [., S, S]."""
    light, flow = rng.uniform(-0.5, 0.5, (1, S, S)), amount * rng.standard_normal((2, S, S))
    found = flow, rng.random((1, S, S)), rng.uniform(-1, 1, (3, S, S)), light
    return tuple(field.astype(np.float32) for field in found)


def crops() -> Iterator[Case]:
    rng = np.random.default_rng(0)
    for side, turn in product((3.0, 20.0, 64.0, 150.0, 5000.0), (0.0, 0.3, np.pi, -2.0)):
        yield crop_case(f"{side:.0f} pixels turned by {turn:.1f}", noise(rng, 61, 83), matrix(side, 30, 20, turn), 24)
    for height, width in ((1, 1), (1, 7), (5, 1), (2, 2), (97, 3)):
        yield crop_case(f"of {width} x {height}", noise(rng, height, width), matrix(9, -2, -1, 0.2), 17)
    for size in (1, 2, 63, 64, 65, 130):
        yield crop_case(f"to {size} with a flow", noise(rng, 40, 50), matrix(37, 5, 1), size, fields(rng, 9, 0.05)[0])


def pastes() -> Iterator[Case]:
    rng = np.random.default_rng(1)
    for side, turn in product((2.0, 30.0, 90.0, 1000.0), (0.0, 0.4, 3.0)):
        frame, M, (flow, mask, color, light) = noise(rng, 60, 70), matrix(side, 20, 15, turn), fields(rng, 16)
        where = f"{side:.0f} pixels turned by {turn:.1f}"
        yield paste_case(f"flow, {where}", frame, M, flow)
        yield paste_case(f"flow, mask, color, {where}", frame, M, flow, mask, color)
        if (side, turn) in ((30.0, 0.4), (90.0, 0.0), (1000.0, 3.0)):
            yield paste_case(f"flow, light, {where}", frame, M, flow, None, None, light)
            yield paste_case(f"all, {where}", frame, M, flow, mask, color, light)
    for height, width in ((1, 1), (1, 9), (7, 1), (3, 131)):
        yield paste_case(f"{width} x {height}", noise(rng, height, width), matrix(11, -2, -3), *fields(rng, 16)[:3])
    for S in (1, 2, 65):
        yield paste_case(f"fields of {S}", noise(rng, 50, 40), matrix(44, -2, 3), *fields(rng, S)[:3])


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


def points(rng: np.random.Generator, B: int, K: int) -> np.ndarray:
    """f32 [B, K, 2], some of them off the crop, some NaN."""
    found = rng.uniform(-0.1, 1.1, (B, K, 2)).astype(np.float32)
    if B and K > 5:
        found[0, 3, 1] = found[-1, 5] = np.nan
    return found


def faces() -> tuple[np.ndarray, np.ndarray]:
    """A face's points, and where an expression moves them."""
    here = face_points()
    return here, (here + np.random.default_rng(0).normal(0, 0.01, here.shape)).astype(np.float32)


def flows() -> Iterator[Case]:
    rng = np.random.default_rng(2)
    for B, K, S in ((0, 5, 8), (1, 1, 1), (1, 1, 17), (2, 40, 33), (1, 70, 50), (2, 9, 1)):
        source, driven, widths = points(rng, B, K), points(rng, B, K), rng.uniform(0.01, 0.2, K).astype(np.float32)
        if B and K > 5:
            source[0, 2, 1] = np.inf
        yield flow_case(source, driven, S, widths)
    source, driven = faces()
    driven[0, 30] = np.nan
    # a thousandth of a pixel of a crop at 128: for speed the array form of `corrected` lets exponents cancel
    yield flow_case(source, driven, 48, unseen=0.001 / 128)


def lines() -> Iterator[Case]:
    rng = np.random.default_rng(3)
    edges = np.array([[0, 1], [1, 2], [2, 0], [4, 4], [3, 6], [5, 6]] * 4, np.int32)  # [4, 4]: of no length
    for B, S in ((0, 29), (2, 29), (1, 1), (1, 40)):
        yield contours_case(points(rng, B, 7), S, edges)
    for B, S in ((0, 33), (1, 1), (2, 30)):
        yield contours_case(points(rng, B, 478), S)


def maps() -> Iterator[Case]:
    rng = np.random.default_rng(4)
    for (B, S), groups in product(((0, 8), (2, 19), (1, 1), (2, 37)), (None, [[0, 3, 5], [1], [], [2, 4, 6, 7]])):
        yield gaussians_case(points(rng, B, 8), S, 0.05, groups)


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
