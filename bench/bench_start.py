"""What starting costs: the import, an `Engine()` on an empty cache and on a warm one, `fetfast transfer` from a shell.

    python bench/bench_start.py [--quick] [--out FILE]

Whole processes, from their start to their end, taken in turns; `peak_mb` is the most memory that such a process held.
`import` is what an import adds to a bare interpreter within the round. An empty cache holds the face model's file, and
nothing that was made of it. "eager" is the same with PyTorch: its import, and an engine that runs on it.

The bars, on two cores: `import fetfast` adds at most 30 ms; a warm `fetfast transfer` takes at most 1.5 s and holds at
most 500 MB.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import measure
from measure import Row, Timing
from processes import peak_mb, run

from fetfast import assets
from fetfast.face.nets import TASK

SOURCE = Path(__file__).parents[1] / "demo" / "smile.png"
BASE = "eager"
IMPORT, ENGINE, TRANSFER = "import", "Engine()", "fetfast transfer"
QUICK, FULL = (1, 0), (7, 1)  # rounds, and those before them
IMPORT_BAR, TRANSFER_BAR, PEAK_BAR = 30.0, 1500.0, 500.0  # ms, ms, MB


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def imports(effort: tuple[int, int]) -> list[Row]:
    """What each import adds to a bare interpreter."""
    commands = {"bare": python(""), "fetfast": python("import fetfast"), BASE: python("import torch")}
    timings = measure.interleaved({way: partial(run, command) for way, command in commands.items()}, *effort)
    bare = timings.pop("bare").rounds
    added = {
        way: Timing.of([max(ms - without, 1e-3) for ms, without in zip(timing.rounds, bare, strict=True)])
        for way, timing in timings.items()
    }
    return measure.compare(IMPORT, added, BASE, {way: {"peak_mb": peak_mb(commands[way])} for way in added})


def engines(effort: tuple[int, int]) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        warm = python("import fetfast; fetfast.Engine()")
        plain = python("import fetfast; fetfast.Engine(backend='eager')")

        def cold(how: Callable[..., object] = run) -> object:
            shutil.rmtree(cache, ignore_errors=True)
            cache.mkdir()
            shutil.copy(assets.path(TASK), cache)
            return how(warm, os.environ | {"FETFAST_CACHE": str(cache)})

        timings = measure.interleaved({BASE: partial(run, plain), "warm": partial(run, warm), "cold": cold}, *effort)
        peaks = {BASE: peak_mb(plain), "warm": peak_mb(warm), "cold": cold(peak_mb)}
    return measure.compare(ENGINE, timings, BASE, {way: {"peak_mb": peak} for way, peak in peaks.items()})


def shell(output: Path) -> list[str]:
    """The command as a user types it."""
    command = Path(sys.executable).parent / "fetfast"
    return [str(command), "transfer", str(SOURCE), str(assets.path("astronaut.png")), "-o", str(output)]


def transfers(effort: tuple[int, int]) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        warm = shell(Path(folder) / "out.png")
        commands = {BASE: [*warm, "--backend", "eager"], "warm": warm}
        timings = measure.interleaved({way: partial(run, command) for way, command in commands.items()}, *effort)
        more = {way: {"peak_mb": peak_mb(command)} for way, command in commands.items()}
    return measure.compare(TRANSFER, timings, BASE, more)


def missed(rows: list[Row]) -> list[str]:
    """The bars that the rows miss."""
    found = []
    for case, way, key, bar in (
        (IMPORT, "fetfast", "median_ms", IMPORT_BAR),
        (TRANSFER, "warm", "median_ms", TRANSFER_BAR),
        (TRANSFER, "warm", "peak_mb", PEAK_BAR),
    ):
        reached = next(row[key] for row in rows if (row["case"], row["way"]) == (case, way))
        line = f"{case}, {way}: {key} {reached:.0f}, bar {bar:.0f}"
        print(line)
        found += [line] if reached > bar else []
    return found


def main() -> int:
    options = measure.options("start", __doc__)
    effort = QUICK if options.quick else FULL
    rows = imports(effort) + engines(effort) + transfers(effort)
    return measure.finish("start", rows, [] if options.quick else missed(rows), options)


if __name__ == "__main__":
    sys.exit(main())
