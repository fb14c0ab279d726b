"""Each op of ours, beside plain PyTorch and what torch.compile makes of it.

    python bench/bench_ops.py [--quick] [--out FILE]
    pytest bench/bench_ops.py --benchmark-enable [-k "crop and ours"]

On a processor: what a frame's way uses there, csrc/ and NumPy, at the sizes of the small (S = 128) and of the paper's
(S = 256) networks. On a GPU: the kernels on the same data, and those of the networks (`gpu_cases.py`), timed by CUDA
events with the L2 flushed; `bench/gpu.py` looks at those closer, in graphs and against the card's ceilings.

`error` is rms, as a share of the result, against the op's reference in f64. Ours may be off by twice what plain PyTorch
is at the same precision; what is off by more is a failure, and is not timed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import measure
import numpy as np
import plain
import pytest
import torch
from measure import Row
from pictures import face_points, matrix, picture, smooth
from ways import PLACE, check_compiler

from fetfast import _native
from fetfast.errors import Unavailable
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

WAYS: tuple[str, ...] = ("eager", "torch.compile", "ours")
SIZES = {"small": 128, "paper": 256}
GPU_ONLY = ("norm_act", "upcat", "conv")
SIGMA = 0.02
# What may be off where plain PyTorch happens to be (almost) exact.
F32, F16 = 2.0**-20, 2.0**-11
LEVELS = 2.0**-9  # u8: a result that lies between two levels may go either way


@dataclass(frozen=True, eq=False)
class Op:
    name: str
    ours: Callable[[], Any]
    eager: Callable[..., Any]
    tensors: tuple[torch.Tensor, ...]  # what `eager` takes
    exact: Callable[[], Any]
    slack: float = F32
    alike: float | None = None  # how far `eager` may be off where it is not quite the same op; None: it is


def ops(sizes: dict[str, int] = SIZES) -> Iterator[Op]:
    yield from anchor_ops()
    for S in sizes.values():
        yield from frame_ops(S)
        yield from map_ops(S)
    if PLACE.type == "cuda":
        yield from kernel_ops()


def frame_ops(S: int) -> Iterator[Op]:
    """A face of 300 pixels in a 640 x 480 driver, a head three quarters of a 768 x 768 target wide."""
    rng = np.random.default_rng(0)
    driver, target = picture(rng, 480, 640), picture(rng, 768, 768)
    face, head = matrix(side=300, x=180, y=70), matrix(side=560, x=110, y=130)
    flow = np.stack([smooth(rng, S, 0.02) for _ in range(2)])
    mask, color = smooth(rng, S, 0.5)[None] + np.float32(0.5), np.stack([smooth(rng, S, 1.0) for _ in range(3)])
    image, result = room(np.float32, 3, S, S), room(np.uint8, *target.shape)

    yield op(
        f"crop 640x480 to {S}",
        lambda frame: crop(frame, face, S, None, image),
        plain.crop(face, S, driver.shape, PLACE),
        lambda frame: crop_reference(frame, face.astype(np.float64), S),
        driver,
    )  # fmt: skip
    yield op(
        f"warp 768x768 to {S}",
        lambda frame, flow: crop(frame, head, S, flow, image),
        plain.crop(head, S, target.shape, PLACE),
        lambda frame, flow: crop_reference(frame, head.astype(np.float64), S, flow),
        target, flow,
    )  # fmt: skip
    yield op(
        f"paste {S} into 768x768",
        lambda frame, flow, mask, color: paste(frame, head, flow, mask, color, result),
        plain.paste(head, target.shape, PLACE),
        lambda frame, *tensors: paste_reference(frame, head, *tensors),
        target, flow, mask, color, slack=LEVELS, alike=0.02,
    )  # fmt: skip


def anchor_ops() -> Iterator[Op]:
    yield op("anchors", anchors, anchors, anchors, *faces())
    yield op("corrected", corrected, corrected, corrected, *anchors(*faces()))


def map_ops(S: int) -> Iterator[Op]:
    source, driven = faces()
    widths, edges = on_device(WIDTHS), on_device(np.array(EDGES, np.int32))
    flow, line, maps = room(np.float32, 1, 2, S, S), room(np.float32, 1, 1, S, S), room(np.float32, 1, 478, S, S)
    yield op(
        f"first_flow {S}",
        lambda source, driven: first_flow(source, driven, S, flow),
        lambda source, driven: plain.first_flow(*corrected(*anchors(source, driven)), widths, S),
        lambda source, driven: first_flow_reference(source, driven, S),
        source, driven,
    )  # fmt: skip
    yield op(
        f"contours {S}",
        lambda points: contours(points, S, line),
        lambda points: plain.contours(points, S, edges),
        lambda points: contours_reference(points, S),
        driven,
    )  # fmt: skip
    yield op(
        f"gaussians 478 x {S}",
        lambda points: gaussians(points, S, SIGMA, None, maps),
        lambda points: plain.gaussians(points, S, SIGMA),
        lambda points: gaussians_reference(points, S, SIGMA),
        driven,
    )  # fmt: skip


def kernel_ops() -> Iterator[Op]:
    import gpu_cases

    for make in gpu_cases.Bench(dry=False, end=float("inf"), one_set=True).cases():
        case = make()
        data = case.sets[0]
        wide = [gpu_cases._in_f64(value) for value in data]
        yield Op(case.name, partial(case.ours, *data), case.eager, data, partial(case.exact, *wide), F16)


def faces() -> tuple[np.ndarray, np.ndarray]:
    """A face's points, and where an expression moves them."""
    points = face_points()
    moved = points + np.random.default_rng(0).normal(0, 0.01, points.shape)
    return points, moved.astype(np.float32)


def op(
    name: str, ours: Callable[..., Any], eager: Callable[..., Any], reference: Callable[..., Any], *data: np.ndarray,
    **more: Any,
) -> Op:  # fmt: skip
    """Ours takes arrays on a processor and tensors on a GPU; the reference takes f64 on the processor."""
    tensors = tuple(on_device(array) for array in data)
    wide = [torch.from_numpy(array.astype(np.float64) if array.dtype == np.float32 else array) for array in data]
    given = data if PLACE.type == "cpu" else tensors
    return Op(name, partial(ours, *given), eager, tensors, partial(reference, *wide), **more)


def on_device(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).to(PLACE)


def room(dtype: type, *shape: int) -> Any:
    """Where ours writes, so that it allocates nothing."""
    return np.empty(shape, dtype) if PLACE.type == "cpu" else on_device(np.empty(shape, dtype))


def error(got: Any, exact: Any) -> float:
    """rms of the difference as a share of rms; of several results the largest."""
    if isinstance(exact, tuple):
        return max(error(a, b) for a, b in zip(got, exact, strict=True))
    got, exact = (torch.as_tensor(x).detach().cpu().double() for x in (got, exact))
    return float((got - exact).norm() / exact.norm()) if got.isfinite().all() else float("inf")


def compiled(op: Op) -> Callable[..., Any]:
    """Raises Unavailable."""
    check_compiler()
    torch._dynamo.reset()
    mode = "max-autotune-no-cudagraphs" if PLACE.type == "cuda" else "default"
    return torch.compile(op.eager, dynamic=False, mode=mode)


def prepared(op: Op, wanted: tuple[str, ...]) -> tuple[dict[str, Callable[[], Any]], dict[str, dict[str, Any]]]:
    """The calls that are right, by way, and what each way's row says: its error, why it is skipped, how it is wrong."""
    exact = op.exact()
    calls: dict[str, Callable[[], Any]] = {}
    about: dict[str, dict[str, Any]] = {}
    plain_error = error(op.eager(*op.tensors), exact)
    for way in wanted:
        try:
            call = op.ours if way == "ours" else partial(op.eager if way == "eager" else compiled(op), *op.tensors)
        except Unavailable as reason:
            about[way] = {"skipped": str(reason)}
            continue
        allowed = 2 * plain_error + op.slack
        if op.alike is not None:
            allowed = op.slack if way == "ours" else op.alike
        about[way] = {"error": error(call(), exact)}
        if about[way]["error"] > allowed:
            about[way]["wrong"] = f"{way} is off by {about[way]['error']:.2g}, allowed {allowed:.2g}"
        else:
            calls[way] = call
    return calls, about


def main() -> int:
    options = measure.options("ops", __doc__)
    use_threads()
    sizes, wanted = SIZES, WAYS
    how: dict[str, Any] = {"rounds": 60, "seconds": 8.0, "settle": 1}
    if options.quick:
        sizes, wanted = {"small": SIZES["small"]}, ("eager", "ours")
        how = {"rounds": 5, "seconds": 0.5, "warm_up": 1}
    rows: list[Row] = []
    for one in ops(sizes):
        calls, about = prepared(one, wanted)
        timings = measure.interleaved(calls, queued=True, **how) if "eager" in calls else {}
        rows += measure.compare(one.name, timings, "eager", about, threads=measure.threads())
        rows += [measure.row(one.name, way, None, **why) for way, why in about.items() if way not in timings]
    if PLACE.type == "cpu":
        reason = "kernels of a GPU; on a processor these layers are part of a network: bench_network.py"
        rows += [measure.row(name, "ours", None, skipped=reason) for name in GPU_ONLY]
    missed = [f"{row['case']}: {row['wrong']}" for row in rows if "wrong" in row]
    return measure.finish("ops", rows, missed, options)


def use_threads() -> None:
    torch.set_num_threads(measure.threads())
    _native.set_threads(measure.threads())


@lru_cache(maxsize=1)
def checked(name: str) -> tuple[dict[str, Callable[[], Any]], dict[str, dict[str, Any]]]:
    use_threads()
    return prepared(next(op for op in ops() if op.name == name), WAYS)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [op.name for op in ops()])
def test_op(benchmark, name, way):
    calls, about = checked(name)
    assert "wrong" not in about[way], about[way]["wrong"]
    if way not in calls:
        pytest.skip(about[way]["skipped"])
    benchmark(calls[way])


if __name__ == "__main__":
    sys.exit(main())
