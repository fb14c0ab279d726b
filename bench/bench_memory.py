"""Memory: the most that a process held which ran a plan, by plan and batch, beside plain PyTorch.

    python bench/bench_memory.py [--quick] [--out FILE]

Each row is a process of its own: an engine on warm caches, one `transfer`, and one pass of a batch of faces through the
plan's networks. `peak_mb` is its resident set, MB of 2^20 bytes. On a GPU `device_mb` is what the device gave to all of
it, libraries and graphs included, and `allocated_mb` the most that PyTorch's allocator held; null without one. `ratio`
is how many times less than the base's `peak_mb`: plain PyTorch on the plan's weights in f32.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import measure
import numpy as np
from measure import Row
from plans import BASE, Family, Way, shipped

from fetfast.bench import target

BATCHES = (1, 8, 32)
CHILD = "import sys, bench_memory; bench_memory.child(*sys.argv[1:])"


def held(way: Way, batch: int) -> dict[str, Any]:
    """The figures of one process."""
    command = [sys.executable, "-c", CHILD, *way, str(batch)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent)
    return json.loads(done.stdout.splitlines()[-1])


def child(path: str, precision: str, backend: str, batch: str) -> None:
    """Runs the way in this process, and prints what it held."""
    used = on_device()
    engine = Way(path, precision, backend).engine()
    engine.transfer(target(), target())
    rng = np.random.default_rng(0)
    for stage in engine.plan.spec.stages:
        inputs = {t.name: rng.random((int(batch), *t.shape), np.float32) for t in stage.inputs}
        outputs = engine.run_stage(stage.name, inputs)
        assert all(len(tensor) == int(batch) for tensor in outputs.values())
    after = on_device()
    figures = {"peak_mb": peak_mb(), "device_mb": None, "allocated_mb": None}
    if used is not None and after is not None:
        figures["device_mb"] = after - used
    if after is not None and "torch" in sys.modules:
        figures["allocated_mb"] = sys.modules["torch"].cuda.max_memory_allocated() / 2**20
    print(json.dumps(figures))


def peak_mb() -> float:
    """What this process held at most; `getrusage` would tell the peak of the one that started it, if that was more."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def on_device() -> float | None:
    """MB in use on the first GPU, by whatever process; None without one."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return float(answer.stdout) if answer.returncode == 0 else None


def measured(family: Family, batches: tuple[int, ...]) -> list[Row]:
    rows: list[Row] = []
    for batch in batches:
        case, base = f"{family.name}, batch {batch}", held(family.ways[BASE], batch)
        for name, way in family.ways.items():
            found = base if name == BASE else held(way, batch)
            rows.append(measure.row(case, name, None, ratio=base["peak_mb"] / found["peak_mb"], **found, batch=batch))
    return rows


def main() -> int:
    options = measure.options("memory", __doc__)
    rows: list[Row] = []
    for family in shipped():
        rows += measured(family, BATCHES[1:2] if options.quick else BATCHES)
        rows += [measure.row(family.name, name, None, skipped=why) for name, why in family.skipped.items()]
    return measure.finish("memory", rows, [], options)


if __name__ == "__main__":
    sys.exit(main())
