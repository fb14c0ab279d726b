"""Each op of ours, beside plain PyTorch and what torch.compile makes of it.

    python bench/bench_ops.py [--quick] [--out FILE]
    pytest bench/bench_ops.py --benchmark-enable [-k "crop and ours"]

On a processor: what a frame's way uses there, csrc/ and NumPy, at the sizes of the small (S = 128) and of the paper's
(S = 256) networks. On a GPU: the kernels on the same data, timed by CUDA events with the L2 flushed; those of the
networks, and all of them against the card's ceilings, are `bench/gpu.py`'s.

`error` is rms, as a share of the result, against the op's reference in f64. Ours may be off by twice what plain PyTorch
is at the same precision; what is off by more is a failure, and is not timed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import cases
import measure
import pytest
import torch
from cases import Case, error
from measure import About, Call, Row
from ways import PLACE, check_compiler

from fetfast import _native

WAYS: tuple[str, ...] = ("eager", "torch.compile", "ours")
SIZES = {"small": 128, "paper": 256}


@dataclass(frozen=True, eq=False)
class Op:
    """A case on this device."""

    name: str
    ours: Callable[[], Any]
    eager: Callable[..., Any]
    tensors: tuple[Any, ...]  # what `eager` takes
    exact: Callable[[], Any]
    slack: float
    alike: float | None = None

    @classmethod
    def of(cls, case: Case) -> Op:
        tensors = case.tensors(PLACE)
        given = case.data if PLACE.type == "cpu" else tensors
        out = case.ours(*given)  # where ours writes, so that it allocates nothing
        ours = partial(case.ours, *given, out=None if isinstance(out, tuple) else out)
        return cls(case.name, ours, case.plain(PLACE), tensors, case.computed, case.slack, case.alike)


def of_sizes(sizes: dict[str, int] = SIZES) -> Iterator[Case]:
    yield from cases.between()
    for S in sizes.values():
        yield from cases.network(S)


def compiled(op: Op) -> Callable[..., Any]:
    """Raises Unavailable."""
    check_compiler()
    torch._dynamo.reset()
    mode = "max-autotune-no-cudagraphs" if PLACE.type == "cuda" else "default"
    return torch.compile(op.eager, dynamic=False, mode=mode)


def prepared(op: Op, wanted: tuple[str, ...]) -> tuple[dict[str, Call], About]:
    """The calls that are right, by way, and about each way."""
    exact = op.exact()
    plain = error(op.eager(*op.tensors), exact)

    def call(way: str) -> Call:
        return op.ours if way == "ours" else partial(op.eager if way == "eager" else compiled(op), *op.tensors)

    def allowed(way: str, _: About) -> float:
        return 2 * plain + op.slack if op.alike is None else op.slack if way == "ours" else op.alike

    return measure.checked(wanted, call, lambda got: error(got, exact), allowed)


def main() -> int:
    options = measure.options("ops", __doc__)
    use_threads()
    sizes, wanted = SIZES, WAYS
    how: dict[str, Any] = {"rounds": 60, "seconds": 8.0, "settle": 1}
    if options.quick:
        sizes, wanted = {"small": SIZES["small"]}, ("eager", "ours")
        how = {"rounds": 5, "seconds": 0.5, "warm_up": 1}
    rows: list[Row] = []
    for case in of_sizes(sizes):
        calls, about = prepared(Op.of(case), wanted)
        timings = measure.interleaved(calls, queued=True, **how) if "eager" in calls else {}
        rows += measure.compare(case.name, timings, "eager", about, threads=measure.threads())
        rows += [measure.row(case.name, way, None, **why) for way, why in about.items() if way not in timings]
    missed = [f"{row['case']}: {row['wrong']}" for row in rows if "wrong" in row]
    return measure.finish("ops", rows, missed, options)


def use_threads() -> None:
    torch.set_num_threads(measure.threads())
    _native.set_threads(measure.threads())


@lru_cache(maxsize=1)
def checked(name: str) -> tuple[dict[str, Call], About]:
    use_threads()
    return prepared(Op.of(next(case for case in of_sizes() if case.name == name)), WAYS)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [case.name for case in of_sizes()])
def test_op(benchmark, name, way):
    measure.benchmark(benchmark, way, *checked(name))


if __name__ == "__main__":
    sys.exit(main())
