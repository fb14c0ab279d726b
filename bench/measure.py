"""How every suite here measures: ways to do the same thing, timed in turns within one run, compared by ratio.

    ways = {"eager": lambda: ..., "ours": lambda: ...}     # outputs were checked before
    timings = interleaved(ways)
    rows = compare("case", timings, base="eager")           # the rows of a results file
    sys.exit(finish("ops", rows, missed, options))          # prints, writes JSON, 1 where a bar is missed

Machines are noisy and differ: a time alone proves little. Every round calls each way once, so both sides of a ratio
taken within the round saw the same neighbours, clocks and heat; what is reported is the median of those ratios.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fetfast.files import written
from fetfast.machine import machine, threads

__all__ = ["machine", "threads"]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
FLUSH_BYTES = 256 << 20  # more than any GPU's L2

Call = Callable[[], object]
Row = dict[str, Any]


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call."""

    median: float
    p95: float
    iqr: float  # between the quartiles: the spread
    rounds: tuple[float, ...]  # in the order they were taken

    @classmethod
    def of(cls, rounds: list[float]) -> Timing:
        low, median, high, p95 = np.percentile(rounds, (25, 50, 75, 95)).tolist()
        return cls(median, p95, high - low, tuple(rounds))


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
    clock = _events if queued and _gpu() else _host
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


def _gpu() -> bool:
    """Whether PyTorch is in use here and has a GPU: what never loads it has nothing to wait for."""
    return "torch" in sys.modules and sys.modules["torch"].cuda.is_available()


def _host(call: Call) -> float:
    wait = _flushed().cuda.synchronize if _gpu() else lambda: None
    wait()
    begin = time.perf_counter()
    call()
    wait()
    return (time.perf_counter() - begin) * 1e3


def _events(call: Call) -> float:
    torch = _flushed()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def _flushed() -> Any:
    """PyTorch, after putting a write of more than the L2 holds onto its stream; its allocator keeps the block."""
    import torch

    torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda").zero_()
    return torch


def row(case: str, way: str, timing: Timing | None, **more: Any) -> Row:
    """A row of a results file. Without a timing it says, as skipped="why", that the way could not run here."""
    times = {"median_ms": timing.median, "p95_ms": timing.p95, "iqr_ms": timing.iqr} if timing else {}
    return {"case": case, "way": way} | {key: _rounded(value) for key, value in (times | more).items()}


def compare(
    case: str, timings: Mapping[str, Timing], base: str, more: Mapping[str, Mapping[str, Any]] | None = None, **all: Any
) -> list[Row]:
    """A row for each way, `ratio` against `base` in it; `more` holds further keys by way, `all` those of every row."""
    return [
        row(case, way, timing, ratio=ratio(timings, way, base), **((more or {}).get(way, {})), **all)
        for way, timing in timings.items()
    ]


def _rounded(value: Any) -> Any:
    """Four digits: more is noise, and makes every line of a file differ from run to run."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def options(suite: str, description: str | None) -> argparse.Namespace:
    """The command line that every suite has: --quick and --out."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds at small sizes: proves that it runs")
    where = RESULTS / f"{suite}-CLASS.json"
    parser.add_argument("--out", type=Path, help=f"the JSON; {where.relative_to(ROOT)} unless --quick")
    return parser.parse_args()


def save(suite: str, rows: list[Row], out: Path | None = None) -> Path:
    """Writes a results file, one row a line: bench/results/SUITE-CLASS.json, or `out`."""
    about = machine()
    file = out or RESULTS / f"{suite}-{about['class']}.json"
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    head = json.dumps({"suite": suite, "machine": about}, indent=1).removesuffix("\n}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with written(file) as aside:
        aside.write_text(f'{head},\n "rows": [\n{lines}\n ]\n}}\n')
    return file


def table(rows: list[Row]) -> str:
    """The rows for a person: one block for each case; further keys in the columns that some row of the block has."""
    lines: list[str] = []
    for case in dict.fromkeys(row["case"] for row in rows):
        block = [{k: v for k, v in row.items() if k not in ("case", "skipped")} for row in rows if row["case"] == case]
        why = [row.get("skipped", "") for row in rows if row["case"] == case]
        keys = list(dict.fromkeys(key for row in block for key in row))
        cells = [keys, *([_cell(row.get(key)) for key in keys] for row in block)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(keys))]
        lines += [f"\n{case}"]
        for line, reason in zip(cells, ["", *why], strict=True):
            first, *others = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            lines += ["  ".join(["", first.strip().ljust(widths[0]), *others, reason]).rstrip()]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def finish(suite: str, rows: list[Row], missed: list[str], given: argparse.Namespace) -> int:
    """Prints the table and the bars that were missed, and writes the JSON: a quick run only where --out says, so that
    it never replaces figures of the record. Returns the exit status."""
    print(table(rows))
    if given.out or not given.quick:
        print(save(suite, rows, given.out))
    for bar in missed:
        print(f"MISSED: {bar}")
    return int(bool(missed))
