"""How long TensorRT engines take to build, and to load again, against their bars; and, with a GPU, whether they run.

    python bench/bench_tensorrt.py [--quick] [--out FILE] [--try-rtx]

The plan is the paper-size U-Net-256 in fp16 with random weights. Building is timed for one target, with TensorRT for
RTX where there is no GPU. Loading is timed in a new process with a cached engine, from its first line on: up to the
point where the library takes the engine, and beyond it where a GPU is there. `--try-rtx` runs the engines of TensorRT
for RTX on the GPU whatever its architecture, against eager PyTorch, and prints what happens.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import measure
from measure import Timing

from fetfast.errors import Unavailable

BUILD_BAR, LOAD_BAR = 5.0, 1.0  # seconds
PLAN, CAPABILITY = "unet_paper_fp16.plan", "8.9"

LOAD = """
import time; start = time.perf_counter(); marks = []
def mark(what):
    global start
    now = time.perf_counter(); marks.append((what, now - start)); start = now
import sys, json
from fetfast.backends import cache, gpu, trt_build
from fetfast.plan import Plan
mark("import fetfast")
plan = Plan.open(sys.argv[1])
plan.digest
mark("open the plan, hash it")
card = next(iter(gpu.gpus()), None)
library, target = trt_build.choose(plan.precision, card, None if card else sys.argv[2])
from importlib import import_module
trt = import_module(library.module)
runtime = trt.Runtime(trt.Logger(trt.Logger.INTERNAL_ERROR))
mark(f"import {library.module}")
for stage in plan.spec.stages:
    engine = cache.read("tensorrt", trt_build.key(library, plan, stage, target))
    assert engine is not None, "not in the cache"
    mark(f"read and check the engine of {stage.name}")
    loaded = runtime.deserialize_cuda_engine(engine)
    mark(f"deserialize {stage.name}" if card else f"hand over {stage.name} (no GPU: refused)")
print(json.dumps(marks))
"""


def build_times(plan: Any, runs: int) -> tuple[dict[str, Timing], str]:
    """How long each stage's engine takes to build, and what for."""
    from fetfast.backends import gpu, trt_build

    card = next(iter(gpu.gpus()), None)
    library, target = trt_build.choose(plan.precision, card, None if card else CAPABILITY)
    calls = {stage.name: partial(trt_build.build, library, plan, stage, target) for stage in plan.spec.stages}
    version = import_module(library.module).__version__
    return measure.interleaved(calls, runs, warm_up=0), f"{library.title} {version}, {target}"


def load_marks(file: Path, runs: int) -> dict[str, float]:
    """The parts of the quickest of `runs` loads, each in a process of its own."""
    best: dict[str, float] = {}
    for _ in range(runs):
        command = [sys.executable, "-c", LOAD, str(file), CAPABILITY]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        marks = dict(json.loads(done.stdout.splitlines()[-1]))
        if not best or sum(marks.values()) < sum(best.values()):
            best = marks
    return best


def try_rtx() -> None:
    """Run the engines of TensorRT for RTX on this GPU, whatever its architecture, against eager PyTorch."""
    import numpy as np

    from fetfast import build
    from fetfast.backends import eager, gpu, tensorrt, trt_build

    card = gpu.find(None)
    print(f"{card.name}, compute capability {card.capability}, driver for CUDA {gpu.driver_version()}")
    for precision in ("fp32", "fp16", "bf16"):
        plan = build.build("unet", "small", precision)
        try:
            runners = tensorrt.load(plan, library=trt_build.LIBRARIES["tensorrt_rtx"])
        except Exception as error:  # whatever it is, it is what the report wants
            print(f"{plan.name}: {type(error).__name__}: {error}")
            continue
        oracle = eager.load(plan, "cuda")
        for stage in plan.spec.stages:
            rng = np.random.default_rng(0)
            inputs = {t.name: rng.random((1, *t.shape), np.float32) for t in stage.inputs}
            wanted = oracle[stage.name](inputs)
            got = runners[stage.name](inputs)
            off = max(float(np.abs(got[name] - wanted[name]).max()) for name in wanted)
            taken = measure.interleaved({"runs": partial(runners[stage.name], inputs)}, 100)["runs"].median
            print(f"{plan.name} {stage.name}: runs; off eager by {off:.2e}; {taken:.3f} ms")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--try-rtx", action="store_true")
    options = arguments.parse_args()
    if options.try_rtx:
        try_rtx()
        return 0
    from fetfast import build, export
    from fetfast.backends import gpu
    from fetfast.plan import Plan

    with tempfile.TemporaryDirectory() as folder:
        os.environ["FETFAST_CACHE"] = folder
        file = Path(folder) / PLAN
        build.build("unet", "paper", "fp16").save(file)
        plan = Plan.open(file)
        runs = 1 if options.quick else 5
        built, target = build_times(plan, runs)
        export.fill_cache(plan, None if gpu.gpus() else CAPABILITY)
        loaded = load_marks(file, runs)
    rows = [measure.row(f"build: {stage}", target, timing) for stage, timing in built.items()]
    rows += [measure.row(f"load: {what}", target, Timing.of([1e3 * seconds])) for what, seconds in loaded.items()]
    total, unet = sum(loaded.values()), built["unet"].median / 1e3
    line = f"build of the U-Net {unet:.2f} s, bar {BUILD_BAR} s; cold load {total:.2f} s, bar {LOAD_BAR} s"
    print(line)
    missed = not options.quick and (unet > BUILD_BAR or total > LOAD_BAR)  # one run proves nothing
    return measure.finish("tensorrt", rows, [line] if missed else [], options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Unavailable as reason:
        sys.exit(str(reason))
