"""How long calls take, in milliseconds: by the clock of the host, or by a GPU's own.

    timings = interleaved({"eager": lambda: ..., "ours": lambda: ...})     # whose results were compared before
    ratio(timings, "ours", base="eager")

Machines are noisy and differ: a time alone proves little. Every round calls each way once, so both sides of a ratio
taken within the round saw the same neighbours, clocks and heat; what is reported is the median of those ratios.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

FLUSH_BYTES = 256 << 20  # more than any GPU's L2

Call = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call."""

    median: float
    p95: float
    iqr: float  # between the quartiles: the spread
    rounds: tuple[float, ...]  # in the order they were taken

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Timing:
        low, median, high, p95 = np.percentile(rounds, (25, 50, 75, 95)).tolist()
        return cls(median, p95, high - low, tuple(rounds))

    @property
    def figures(self) -> dict[str, float]:
        """As a row of a results file has them."""
        return {"median_ms": self.median, "p95_ms": self.p95, "iqr_ms": self.iqr}


def interleaved(
    ways: Mapping[str, Call],
    rounds: int = 30,
    warm_up: int = 3,
    seconds: float | None = None,  # no new round after so many, once one is warmed up and three are taken
    *,
    settle: int = 0,
    queued: bool = False,
) -> dict[str, Timing]:
    """Times each way once a round, in an order that rotates from round to round, after `warm_up` rounds untimed.

    settle: untimed calls of the way itself before each timed one, for ways with pools of threads of their own: the last
    way's threads go on spinning for a while, and the caches hold its data.
    On a GPU its L2 is flushed before every call. `queued`: the ways return when their kernels are queued on PyTorch's
    current stream; CUDA events then time the kernels alone, whose launches hide behind the flush. Otherwise, and
    without a GPU, it is the clock of the host, until all is done.
    """
    clock = _events if queued and on_gpu() else _host
    names = list(ways)
    times: dict[str, list[float]] = {name: [] for name in ways}
    end = time.perf_counter() + (np.inf if seconds is None else seconds)
    for few, many in ((1, warm_up), (3, rounds)):
        times = {name: [] for name in names}  # the warm-up's are forgotten
        for i in range(many):
            if i >= few and time.perf_counter() > end:
                break
            first = i % len(names)
            for name in names[first:] + names[:first]:
                for _ in range(settle):
                    ways[name]()
                times[name].append(clock(ways[name]))
    return {name: Timing.of(taken) for name, taken in times.items()}


def ratio(timings: Mapping[str, Timing], way: str, base: str) -> float:
    """How many times faster than `base` a way is: the median of the rounds' ratios."""
    pairs = zip(timings[base].rounds, timings[way].rounds, strict=True)
    return float(np.median([theirs / ours for theirs, ours in pairs]))


@contextmanager
def timed(times: dict[str, float], name: str, wait: Call = lambda: None) -> Iterator[None]:
    """Writes down what the block takes, until `wait` returns: on a GPU, until what was begun is done."""
    begin = time.perf_counter()
    yield
    wait()
    times[name] = (time.perf_counter() - begin) * 1e3


def replayed(calls: Sequence[Call], repeats: int = 20) -> Timing:
    """One call of `calls`, which are the same on different data, captured as one CUDA graph, so that neither launches
    nor the cache of the last call count. Without a GPU each is run once, which says nothing."""
    if not on_gpu():
        return Timing.of([_host(lambda: [call() for call in calls]) / len(calls)])
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())  # which made the data
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        for call in calls:
            call()
        stream.synchronize()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            for call in calls:
                call()
        for _ in range(2):
            graph.replay()
        return Timing.of([ms / len(calls) for ms in _between(graph.replay, repeats)])


def on_gpu() -> bool:
    """Whether PyTorch is in use here and has a GPU: what never loads it has nothing to wait for."""
    return "torch" in sys.modules and sys.modules["torch"].cuda.is_available()


def _host(call: Call) -> float:
    wait = _flushed().cuda.synchronize if on_gpu() else lambda: None
    taken: dict[str, float] = {}
    wait()
    with timed(taken, "", wait):
        call()
    return taken[""]


def _events(call: Call) -> float:
    _flushed()
    return _between(call, 1)[0]


def _between(call: Call, repeats: int) -> list[float]:
    """What each of `repeats` calls took on PyTorch's current stream."""
    import torch

    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    for event in events[:-1]:
        event.record()
        call()
    events[-1].record()
    events[-1].synchronize()
    return [begin.elapsed_time(end) for begin, end in pairwise(events)]


def _flushed() -> Any:
    """PyTorch, after putting a write of more than the L2 holds onto its stream; its allocator keeps the block."""
    import torch

    torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda").zero_()
    return torch
