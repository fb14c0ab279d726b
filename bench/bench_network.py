"""Every network on every backend that this machine has, beside what one would use without us.

    python bench/bench_network.py [--quick] [--out FILE]
    pytest bench/bench_network.py --benchmark-enable [-k "paper and openvino"]

Cases: the default plan that ships, all its stages one after the other; and the stages of each family and size, with
that plan's weights where they are its own and random ones elsewhere. Ways (`ways.py`): each backend with a plan of
each precision; eager PyTorch, channels-last, and torch.compile, at each precision; ONNX Runtime on the fp32 plan's own
graph.

`error` is the largest of the outputs' rms errors, as a share of that output, against the f32 weights in f64. A way
that is off by more than twice what eager PyTorch is at the same precision is a failure, and is not timed.

The bars, on two cores: the default plan on OpenVINO at least 1.7 times faster than eager fp32 and ahead of ONNX
Runtime; the paper's U-Net-256 at least 2.3 times faster than eager fp32, at the best of OpenVINO's precisions; int8 at
least 1.8 times faster than bf16, of the default plan's U-Net and of the paper's.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import measure
import pytest
import torch
from measure import About, Row, Timing
from plans import BASE
from ways import ORT, OURS, PLACE, WAYS, Call, Case, call, error, exact, inputs_of

from fetfast.backends import eager
from fetfast.models import FAMILIES, family
from fetfast.plan import Plan
from fetfast.spec import Spec, Stage

DEFAULT, SMALL, PAPER = "default plan", "unet small 128 unet", "unet paper 256 unet"
CPU = PLACE.type == "cpu"
# Half a step of what a network computes in: on a GPU, PyTorch's convolutions of f32 are TF32.
ROUNDING = {"fp32": 2.0**-24 if CPU else 2.0**-11, "fp16": 2.0**-11, "bf16": 2.0**-9}
# Of eager PyTorch, and of int8, with which there is nothing to compare: more than that is no rounding but a fault.
PLAUSIBLE = {"fp32": 2.0**-14 if CPU else 2.0**-6, "fp16": 2.0**-6, "bf16": 2.0**-4, "int8": 2.0**-2}


def cases() -> dict[str, Callable[[], Case]]:
    """Name -> what makes it. The linear stage, which all sizes of a family share, is there once for each family."""
    found: dict[str, Callable[[], Case]] = {DEFAULT: default}
    for name in FAMILIES:
        seen: set[str] = set()
        for size, spec in family(name).SPECS.items():
            for stage in spec.stages:
                if not stage.precise or stage.name not in seen:
                    found[f"{name} {size} {spec.resolution} {stage.name}"] = partial(alone, spec, stage)
                if stage.precise:
                    seen.add(stage.name)
    return found


def default() -> Case:
    plan = Plan.open(Plan.best())
    return Case(plan.spec, {name: m.float() for name, m in eager.modules(plan, torch.device("cpu")).items()}, plan)


def alone(spec: Spec, stage: Stage) -> Case:
    """One stage of a network: of the default plan's, or of one with random weights."""
    torch.manual_seed(0)
    best = default()
    modules = best.modules if best.spec == spec else family(spec.family).build(spec)
    return Case(replace(spec, stages=(stage,)), {stage.name: modules[stage.name].eval()})


def prepared(case: Case, wanted: list[str]) -> tuple[dict[str, Call], About]:
    """The calls that are right, by way, and about each way."""
    inputs = inputs_of(case.spec)
    truth = exact(case, inputs)
    ways = [way for way in wanted if not case.precise or way.endswith(" fp32")]
    return measure.checked(
        ways,
        lambda way: call(case, way, inputs),
        lambda got: error(got, truth),
        lambda way, about: may(*way.split(), about),
    )


def may(what: str, precision: str, about: About) -> float:
    """How far a way may be off, when eager PyTorch was looked at."""
    if what == "eager" or precision == "int8":
        return PLAUSIBLE[precision]
    if (what, precision) == ("openvino", "fp16"):
        precision = "bf16"  # in which OpenVINO computes where the processor has it
    eager = about.get(f"eager {precision}", {}).get("error", 0.0)
    return 2 * eager + 16 * ROUNDING[precision]  # inputs are noise: all edges, which trained weights enlarge


def skipped(about: About) -> About:
    """What is not there, in one row where a backend has the same reason for several precisions."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for way, why in about.items():
        if "skipped" in why:
            what, precision = way.split()
            reasons.setdefault((what, why["skipped"]), []).append(precision)
    return {f"{what} {' '.join(precisions)}": {"skipped": reason} for (what, reason), precisions in reasons.items()}


def measured(name: str, wanted: list[str], **how: Any) -> tuple[list[Row], dict[str, Timing]]:
    calls, about = prepared(cases()[name](), wanted)
    timings = measure.interleaved(calls, **how) if BASE in calls else {}
    rows = measure.compare(name, timings, BASE, about, threads=measure.threads())
    wrong = {way: why for way, why in about.items() if "wrong" in why}
    return rows + [measure.row(name, way, None, **why) for way, why in (wrong | skipped(about)).items()], timings


def bars(timings: dict[str, dict[str, Timing]]) -> list[tuple[str, float | None, float]]:
    """What is compared, how many times faster it is (None: one of the two was not timed), and how many it must be."""
    ours = f"openvino {Plan.open(Plan.best()).precision}"
    floats = [way for way in OURS if way in timings[PAPER] and not way.endswith("int8")]
    best = max(floats, key=lambda way: measure.ratio(timings[PAPER], way, BASE), default=ours)
    wanted = [(DEFAULT, ours, BASE, 1.7), (DEFAULT, ours, ORT, 1.0), (PAPER, best, BASE, 2.3)]
    wanted += [(case, "openvino int8", "openvino bf16", 1.8) for case in (SMALL, PAPER)]
    return [
        (
            f"{case}, {way} over {base}",
            measure.ratio(timings[case], way, base) if {way, base} <= set(timings[case]) else None,
            bar,
        )
        for case, way, base, bar in wanted
    ]


def main() -> int:
    options = measure.options("network", __doc__)
    torch.set_num_threads(measure.threads())
    wanted = WAYS
    how: dict[str, Any] = {"rounds": 40, "seconds": 40.0, "settle": 1}
    if options.quick:
        wanted = [way for way in WAYS if not way.startswith("torch.compile")]
        how = {"rounds": 3, "seconds": 1.0, "warm_up": 1}
    rows: list[Row] = []
    timings: dict[str, dict[str, Timing]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FETFAST_CACHE"] = folder  # nobody needs networks of random weights again
        for case in [DEFAULT, "flow small 128 fuse"] if options.quick else cases():
            more, timings[case] = measured(case, wanted, **how)
            rows += more
    missed = [f"{row['case']}, {row['wrong']}" for row in rows if "wrong" in row]
    if CPU and not options.quick:  # the bars are a processor's, and few rounds prove nothing
        for what, gain, bar in bars(timings):
            line = f"{what}: {'not timed' if gain is None else f'{gain:.2f} x'}, bar {bar} x"
            print(line)
            missed += [line] if gain is None or gain < bar else []
    return measure.finish("network", rows, missed, options)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    torch.set_num_threads(measure.threads())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FETFAST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@lru_cache(maxsize=1)
def checked(case: str) -> tuple[dict[str, Call], About]:
    return prepared(cases()[case](), WAYS)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", cases())
def test_network(benchmark, case, way):
    measure.benchmark(benchmark, way, *checked(case))


if __name__ == "__main__":
    sys.exit(main())
