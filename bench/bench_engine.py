"""`transfer` and a step of `stream`: whole frames, on every backend that this machine has.

    python bench/bench_engine.py [--quick] [--out FILE]
    pytest bench/bench_engine.py --benchmark-enable [-k "stream and openvino"]

Cases: each family that ships. Ways: its plans on each backend, and the same engine with its networks on plain PyTorch
("eager"), channels-last: the plan's weights in f32, the base of `ratio`, and in bf16. The driver is 640 x 480, the
target 768 x 768. Where the time of a step goes is the suite `stream`'s, `fetfast bench`.

`error` is the mean difference of a `transfer` from that of the base, in levels of 255, over the pixels that the base
changed. A way that is off by more than twice what eager bf16 is, or with an int8 plan by more than a stated bound, is
a failure, and its family is not timed.

The bars, on two cores: a step of `stream` takes at most 33 ms with the default plan, and 20 ms with an int8 plan.
"""

from __future__ import annotations

import sys
from functools import lru_cache, partial
from itertools import cycle

import measure
import numpy as np
import pytest
import torch
from measure import Call, Row
from pictures import SOURCE
from plans import BASE, EAGER, shipped

from fetfast import assets, image
from fetfast.bench import drivers, target
from fetfast.engine import Engine
from fetfast.plan import Plan

STEP = "stream step"
CASES = ("transfer", "transfer, decoding both", STEP)
ROUNDING = 0.1  # levels: f32 in another order turns the rounding of one pixel in ten at most
INT8 = 2.0  # levels: more than that is seen
SECONDS = 10.0  # of a case: no new round after
BAR, BARS = 33.0, {"int8": 20.0}  # ms of a stream step, and those of a precision


def whole(engine: Engine) -> dict[str, Call]:
    """Case -> a call that takes a picture and gives one."""
    source, portrait = image.load(SOURCE), target()
    return {
        "transfer": partial(engine.transfer, source, portrait),
        "transfer, decoding both": partial(engine.transfer, SOURCE, assets.path("astronaut.png")),
        STEP: partial(next, engine.stream(cycle(drivers()), portrait)),
    }


def errors(engines: dict[str, Engine]) -> tuple[dict[str, float], list[str]]:
    """By way, how far the result of `transfer` is from the base's, in levels; and what is wrong about that."""
    portrait = target()
    results = {way: engine.transfer(SOURCE, portrait) for way, engine in engines.items()}
    changed = (results[BASE] != portrait).any(-1)
    assert changed.mean() > 0.05, "the base left the target as it was"
    found = {
        way: float(np.abs(result.astype(np.float32) - results[BASE])[changed].mean()) for way, result in results.items()
    }
    wrong = []
    for way, error in found.items():
        allowed = INT8 if way.endswith("int8") else max(2 * found.get(EAGER, 0.0), ROUNDING)
        if error > allowed:
            wrong.append(f"{way}: transfer is off by {error:.2f} levels, allowed {allowed:.2f}")
    return found, wrong


def measured(family: str, engines: dict[str, Engine], rounds: int, warm_up: int = 1) -> tuple[list[Row], list[str]]:
    """The rows of one family, and what is wrong about it."""
    off, wrong = errors(engines)
    if wrong:
        return [], [f"{family}, {line}" for line in wrong]
    about = {way: {"error": error} for way, error in off.items()}
    rows: list[Row] = []
    for case in CASES:
        calls = {way: whole(engine)[case] for way, engine in engines.items()}
        rows += measure.compare(f"{family}, {case}", measure.interleaved(calls, rounds, warm_up, SECONDS), BASE, about)
    return rows, []


def missed(rows: list[Row]) -> list[str]:
    """The bars of the default plan's family that its rows miss."""
    spec = Plan.open(Plan.best()).spec
    found = []
    for row in rows:
        if row["case"] == f"{spec.family} {spec.size}, {STEP}" and row["way"].startswith("openvino"):
            bar = BARS.get(row["way"].split()[1], BAR)
            line = f"{row['case']}, {row['way']}: {row['median_ms']:.1f} ms, bar {bar:.0f} ms"
            print(line)
            found += [line] if row["median_ms"] > bar else []
    return found


def main() -> int:
    options = measure.options("engine", __doc__)
    torch.set_num_threads(measure.threads())
    rows: list[Row] = []
    wrong: list[str] = []
    for family in shipped():
        engines = {name: way.engine() for name, way in family.ways.items()}
        more, faults = measured(family.name, engines, *((3, 1) if options.quick else (60, 3)))
        rows, wrong = rows + more, wrong + faults
        rows += [measure.row(family.name, way, None, skipped=why) for way, why in family.skipped.items()]
    if not options.quick and not torch.cuda.is_available():  # few rounds prove nothing; the bars are a processor's
        wrong += missed(rows)
    return measure.finish("engine", rows, wrong, options)


@lru_cache(maxsize=1)
def checked() -> dict[str, dict[str, Call]]:
    """Way -> case -> call, of the default plan's family."""
    spec = Plan.open(Plan.best()).spec
    family = next(family for family in shipped() if family.name == f"{spec.family} {spec.size}")
    engines = {name: way.engine() for name, way in family.ways.items()}
    _, wrong = errors(engines)
    assert not wrong, wrong
    return {way: whole(engine) for way, engine in engines.items()}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", [BASE, EAGER, "tensorrt fp16", "triton fp16", "openvino fp16", "openvino int8"])
def test_whole_frame(benchmark, case, way):
    calls = {way: calls[case] for way, calls in checked().items()}
    measure.benchmark(benchmark, way, calls, {way: {"skipped": f"{way} cannot run here"}})


if __name__ == "__main__":
    sys.exit(main())
