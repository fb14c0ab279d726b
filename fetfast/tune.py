"""`fetfast tune`: which configuration of `conv` is fastest for a plan's shapes on this GPU, measured and kept.

From the rule's choice it climbs: neighbours are tried, the best is taken, until none is better. cuDNN, on inputs that
are written first, is one of the candidates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import inf, isqrt
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from triton.compiler.errors import CompilationError
from triton.runtime.driver import driver
from triton.runtime.errors import OutOfResources

from fetfast.backends import tuned
from fetfast.backends.eager import modules
from fetfast.backends.fuse import Network
from fetfast.backends.gpu import find
from fetfast.kernels.configs import SHARED, Config, Shape, neighbours, rule
from fetfast.ops.conv import Affine, Filter, conv
from fetfast.ops.norm_act import statistics
from fetfast.ops.upcat import Part, upcat
from fetfast.plan import Plan
from fetfast.profiling.timing import Call, replayed
from fetfast.spec import Stage

GAIN = 0.97  # of the time: less is noise
LIBRARY = Config(0, 0, 0, 0, 0, library=True)


def tune(
    plan: Plan,
    device: str | None = None,
    batches: Iterable[int] = (1, 8, 32),
    seconds: float = 600,
    tell: Callable[[str], None] = print,
) -> Path:
    """Measures every shape of the plan's convolutions at these batch sizes and writes the table: returns its file.

    Shapes that the time does not suffice for keep what they had. Raises Unavailable.
    """
    gpu = find(device)
    place = torch.device("cuda", gpu.index)
    with torch.cuda.device(place):
        shapes = [
            shape
            for stage, module in modules(plan, place).items()
            for shape in shapes_of(module, plan.spec.stage(stage), batches, place)
        ]
        known = tuned.read(gpu.name)
        for key, config in measure(shapes, place, seconds, tell):
            known[key] = config
            tuned.write(gpu.name, known)  # each row at once: whoever is stopped keeps what was found
        return tuned.path(gpu.name)


def shapes_of(module: nn.Module, stage: Stage, batches: Iterable[int], place: torch.device) -> list[Shape]:
    """The shapes of a stage's convolutions."""
    shapes: list[Shape] = []

    def note(shape: Shape) -> Config:
        shapes.append(shape)
        return rule(shape)

    network = Network(module, stage, note)
    for batch in batches:
        network(**{t.name: torch.zeros(batch, *t.shape, device=place) for t in stage.inputs})
    return shapes


def measure(
    shapes: Iterable[Shape], place: torch.device, seconds: float, tell: Callable[[str], None]
) -> Iterator[tuple[str, Config]]:
    """The shapes for which better than the rule was found, one after the other, within a time."""
    end = time.monotonic() + seconds
    for shape in {shape.key: shape for shape in shapes}.values():
        if time.monotonic() > end:
            tell("out of time")
            break
        first, best, gain = climb(shape, Problem(shape, place), end, shared_memory(place))
        if gain < GAIN:
            yield shape.key, best
        tell(f"{shape.key}: {first * 1e3:.1f} us by the rule, {gain:.2f} of that by {best}")


def shared_memory(place: torch.device) -> int:
    """Bytes that one program may have there."""
    return driver.active.utils.get_device_properties(place.index)["max_shared_mem"] if place.type == "cuda" else SHARED


def climb(shape: Shape, problem: Problem, end: float, shared: int = SHARED) -> tuple[float, Config, float]:
    """The rule's time in ms, the best configuration, and its share of that time."""
    best = rule(shape)
    times: dict[Config, float] = {config: median_ms(problem.calls(config)) for config in (best, LIBRARY)}
    first = times[best]
    while time.monotonic() < end:
        fresh = [config for config in neighbours(best, shape, shared) if config not in times]
        with ThreadPoolExecutor(8) as pool:
            compiled = list(pool.map(lambda config: compiles(problem, config), fresh))
        for config, can in zip(fresh, compiled, strict=True):
            times[config] = median_ms(problem.calls(config)) if can else inf
        winner = min((config for config in times if not config.library), key=times.__getitem__)
        if times[winner] > GAIN * times[best]:
            break
        best = winner
    if times[LIBRARY] < GAIN * times[best]:
        best = LIBRARY
    return first, best, times[best] / first


def compiles(problem: Problem, config: Config) -> bool:
    """Whether a candidate can be had at all: the compiler may ask for more than `shared_bytes` thinks, or give up."""
    try:
        problem.calls(config)[0]()
    except (OutOfResources, CompilationError, RuntimeError):
        return False
    return True


class Problem:
    """Random data of a shape, as a U-Net's decoder or encoder has it: sets of it that do not fit into the cache."""

    def __init__(self, shape: Shape, place: torch.device, sets: int | None = None) -> None:
        dtype = getattr(torch, shape.dtype)
        k, stride, transposed = {(9, 1): (3, 1, False), (16, 1): (4, 2, False), (4, 4): (4, 2, True)}.get(
            (shape.taps, shape.parities), (isqrt(shape.taps), 1, False)
        )
        H = isqrt(shape.pixels) if isqrt(shape.pixels) ** 2 == shape.pixels else 1
        W = shape.pixels // H
        C = sum(shape.channels)
        size = torch.empty(0, dtype=dtype).element_size()
        moved = size * (shape.batch * shape.pixels * stride**2 * C + k * k * C * shape.columns)
        self.sets = []
        for _ in range(sets or max(1, min(16, (128 << 20) // moved))):
            parts = []
            for i, channels in enumerate(shape.channels):
                up = "nearest" if k == 3 and len(shape.channels) == 2 and i == 0 and H % 2 == W % 2 == 0 else "none"
                scale = stride if not transposed else 1
                h, w = (H // 2, W // 2) if up == "nearest" else (H * scale, W * scale)
                x = torch.randn(shape.batch, channels, h, w, device=place).to(dtype)
                x = x.contiguous(memory_format=torch.channels_last)
                parts.append(Part(x, statistics(x) if channels > 16 else None, 0.2 if channels > 16 else 1.0, up))
            weight = torch.randn((C, shape.columns, k, k) if transposed else (shape.columns, C, k, k), device=place)
            weight = (weight / (C * k * k) ** 0.5).to(dtype)
            filter = Filter.pack(weight, None, stride, transposed)
            library_weight = weight.contiguous(memory_format=torch.channels_last)
            self.sets.append((parts[0], parts[1] if len(parts) == 2 else None, filter, library_weight))

    def calls(self, config: Config) -> list[Callable[[], object]]:
        """The convolution with its norm to come, once for each set."""
        return [partial(_run, config, *data) for data in self.sets]


def _run(config: Config, a: Part, b: Part | None, filter: Filter, weight: Tensor) -> Tensor:
    if not config.library:
        return conv(a, b, filter, norm=Affine(), config=config)[0]
    plain = b is None and a.norm is None and a.slope == 1 and a.up == "none"
    x = a.x if plain else upcat(a, b)
    if filter.transposed:
        y = F.conv_transpose2d(x, weight, None, 2, 1)
    else:
        y = F.conv2d(x, weight, None, filter.stride, (filter.taps - 1) // 2)
    statistics(y)
    return y


def median_ms(calls: Sequence[Call]) -> float:
    """Milliseconds of one call, the median."""
    return replayed(calls, repeats=10).median
