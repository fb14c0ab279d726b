"""`fetfast bench`: where the time of one `stream` step goes, on this machine, in well under a minute."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from fetfast import assets, backends, image
from fetfast.bench import floor
from fetfast.engine import Engine
from fetfast.environment import machine, threads
from fetfast.face import Face
from fetfast.image import Frame
from fetfast.plan import SHIPPED, Plan
from fetfast.profiling.roofline import Ceilings, Work
from fetfast.profiling.timing import Timing, timed
from fetfast.spec import REGIONS

DRIVER, TARGET = (480, 640), (768, 768)  # height, width
SECONDS = 30.0  # no new block after so many: a busy machine takes fewer steps
BLOCK = 10  # steps in a row, then plain PyTorch and the ceilings have a turn
EAGER_RUNS = 3
STEP, TRACK, PASTE = "one stream step", "face: track the driver", "paste"
SEEN = 0.005  # ms: a floor below rounds to nothing
ALIKE = 0.25  # how far, relative to their norm, networks may differ and be compared: int8 stays far below
FLOATS = ("fp32", "fp16", "bf16")

Stages = dict[str, float]  # ms by name, of one step


def stream_step(engine: Engine, steps: int = 200) -> dict[str, Any]:
    """Times up to `steps` steps of what `Engine.stream` does, stage by stage, in blocks. After each block it is the
    turn of plain PyTorch, on the inputs of the block's last step, and of the ceilings (`floor`).

    The driver is scikit-image's astronaut in a 640 x 480 frame, moved by a pixel or two from frame to frame so that
    tracking has work to do; the target is the same portrait at 768 x 768. Plain PyTorch runs the plan's networks from
    the same weights, channels-last: in f32 on a CPU, where its halves are slower, on a GPU in the plan's precision; on
    all cores or on one, whichever is quicker now.

    Returns a results file: suite, machine, plan, backend, steps, ceilings (GB/s, Gop/s), `eager` (why it is not there,
    or None), eager_threads, and rows: for each stage and the whole step median_ms, p95_ms, iqr_ms, share, floor_ms,
    bytes, operations, arithmetic, and ratio, how many times faster than PyTorch's row (the median over the blocks).
    Raises Unavailable where the plan does no transfer.
    """
    run = _Run(engine)
    run.step({})  # the first one compiles, allocates and fills caches
    works, ceilings = run.works(), Ceilings()
    plain, why = _plain(engine)
    rivals = _Rivals(run, plain) if plain else None
    way = f"eager {plain.precision}" if plain else "eager"
    if rivals and (far := rivals.apart()):
        rivals, why = None, far
    blocks: list[list[Stages]] = []
    theirs: list[list[Stages]] = []
    end = time.perf_counter() + SECONDS
    for first in range(0, steps, BLOCK):
        if blocks and time.perf_counter() > end:
            break
        run.step({})  # brings back the caches that the others' turn has taken
        blocks.append([run.step({}) for _ in range(min(BLOCK, steps - first))])
        if rivals:
            rivals.step()
            theirs.append([rivals.step() for _ in range(EAGER_RUNS)])
        ceilings.measure(works.values())
    return {
        "suite": "stream",
        "machine": machine(),
        "plan": engine.plan.name,
        "backend": engine.backend,
        "steps": sum(map(len, blocks)),
        "ceilings": ceilings.figures,
        "eager": why,
        "eager_threads": rivals.threads if rivals else None,
        "rows": _rows(engine.backend, way, blocks, theirs, works, ceilings),
    }


class _Run:
    """The stream, a step at a time; what the last step took and gave stays at hand."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.options = engine, engine.options(1.0, REGIONS)
        self.target, self.drivers = engine.prepare(target()), drivers()
        self.face: Face | None = None
        self.count = 0
        self.made: dict[str, set[Hashable]] = {}  # stage -> the inputs that it had built in this step
        self.inputs: dict[str, dict[str, Any]] = {}
        self.outputs: dict[str, dict[str, Any]] = {}
        self.parts: dict[str, Any] = {}

    def step(self, times: Stages) -> Stages:
        engine, frame = self.engine, self.drivers[self.count % len(self.drivers)]
        self.count += 1
        with timed(times, STEP), engine.place.here():
            with timed(times, TRACK):
                self.face = engine.follow(frame, self.face)
            assert self.face is not None, "the astronaut's face was not found"
            self.now = now = engine.step("transfer", self.face, self.target, frame, **self.options)
            for stage in now.wiring.stages:
                with self._building(times, stage.name):
                    self.inputs[stage.name] = now.inputs(stage)
                with timed(times, f"network: {stage.name}", engine.place.wait):
                    self.outputs[stage.name] = now.run(stage)
            (output,) = now.wiring.outputs
            with self._building(times, PASTE):
                self.parts = now.parts(output)
            with timed(times, PASTE):
                engine.finish(now, output, self.parts)()
        return times

    @contextmanager
    def _building(self, times: Stages, stage: str) -> Iterator[None]:
        before = set(self.now.tensors)
        with timed(times, f"inputs: for {stage}", self.engine.place.wait):
            yield
        self.made[stage] = set(self.now.tensors) - before

    def works(self) -> dict[str, Work]:
        stages = self.engine.plan.spec.stages
        found = {TRACK: floor.tracking(), PASTE: floor.pasting(self.target.frame, self.parts)}
        found |= {f"network: {stage.name}": floor.network(self.engine, stage) for stage in stages}
        return found | {f"inputs: for {name}": floor.inputs(self.now, made) for name, made in self.made.items()}


class _Rivals:
    """The same networks on plain PyTorch, fed with what the run's last step fed its own."""

    def __init__(self, run: _Run, plan: Plan) -> None:
        import torch

        self.run, self.runners = run, backends.load("eager", plan, "cuda" if floor.on_gpu(run.engine) else "cpu")
        taken = {}
        for self.threads in {1, threads()}:  # its threads wait by spinning: on a busy machine one alone is quicker
            torch.set_num_threads(self.threads)
            self.step()
            taken[self.threads] = min(sum(self.step().values()) for _ in range(EAGER_RUNS))
        self.threads = min(taken, key=taken.__getitem__)
        torch.set_num_threads(self.threads)

    def step(self) -> Stages:
        times, place = Stages(), self.run.engine.place
        for name, runner in self.runners.items():
            with place.here(), timed(times, f"network: {name}", place.wait):
                runner(self.run.inputs[name])
        return times

    def apart(self) -> str | None:
        """Why the two are not to be compared: outputs that differ by more than rounding."""
        place = self.run.engine.place
        for name, runner in self.runners.items():
            with place.here():
                results = runner(self.run.inputs[name])
            for tensor, result in results.items():
                got, wanted = (place.download(x)() for x in (self.run.outputs[name][tensor], result))
                off = float(np.linalg.norm(got - wanted) / (np.linalg.norm(wanted) + 1e-30))
                if not off <= ALIKE:
                    return f"its {tensor} differs by {off:.0%}"
        return None


def _plain(engine: Engine) -> tuple[Plan | None, str | None]:
    """The plan as plain PyTorch runs it best here, or why it does not."""
    if find_spec("torch") is None:
        return None, "torch not installed"
    plan = engine.plan
    if plan.precision not in FLOATS:  # what was quantised from the plan that has the same networks
        others = (Plan.open(path) for path in SHIPPED.glob("*.plan"))
        same = [other for other in others if other.spec == plan.spec and other.precision in FLOATS]
        if not same:
            return None, f"no PyTorch form of {plan.precision}"
        plan = same[0]
    return plan if floor.on_gpu(engine) else at(plan, "fp32"), None


def at(plan: Plan, precision: str) -> Plan:
    """`plan` with its halves in another of FLOATS, for plain PyTorch: the graphs still say the old one."""
    import ml_dtypes

    dtype = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}[precision]
    weights = {name: w if w.dtype == np.float32 else w.astype(dtype) for name, w in plan.weights.items()}
    return replace(plan, precision=precision, weights=weights, path=None)


def _rows(
    way: str,
    eager: str,
    blocks: list[list[Stages]],
    theirs: list[list[Stages]],
    works: dict[str, Work],
    ceilings: Ceilings,
) -> list[dict[str, Any]]:
    floors = {name: ceilings.floor(work) for name, work in works.items()}
    floors[STEP] = sum(floors.values())
    ratios = _ratios(blocks, theirs)
    total = _median([step for block in blocks for step in block], STEP)
    rows: list[dict[str, Any]] = []
    for name in blocks[0][0]:
        rows.append({"case": name, "way": way, **_spread(blocks, name), "floor_ms": floors[name]})
        rows[-1]["share"] = rows[-1]["median_ms"] / total
        if work := works.get(name):
            rows[-1] |= {"bytes": work.bytes, "operations": work.operations, "arithmetic": work.arithmetic}
        if name in ratios:
            rows[-1]["ratio"] = ratios[name]
        if theirs and name in theirs[0][0]:
            rows.append({"case": name, "way": eager, **_spread(theirs, name), "ratio": 1.0})
    return rows


def _ratios(blocks: list[list[Stages]], theirs: list[list[Stages]]) -> dict[str, float]:
    """How many times faster than PyTorch each network is, and the whole step than one with PyTorch's networks."""
    if not theirs:
        return {}
    pairs = list(zip(blocks, theirs, strict=True))
    names = list(theirs[0][0])
    found = {name: [_median(b, name) / _median(a, name) for a, b in pairs] for name in names}
    found[STEP] = [1 + sum(_median(b, name) - _median(a, name) for name in names) / _median(a, STEP) for a, b in pairs]
    return {name: float(np.median(ratios)) for name, ratios in found.items()}


def _median(steps: list[Stages], name: str) -> float:
    return float(np.median([step[name] for step in steps]))


def _spread(blocks: list[list[Stages]], name: str) -> dict[str, float]:
    return Timing.of([step[name] for block in blocks for step in block]).figures


def table(figures: dict[str, Any]) -> str:
    """The figures as lines for a person."""
    where, step = figures["machine"], figures["rows"][-1]
    eager = next((row["way"] for row in figures["rows"] if row["way"] != figures["backend"]), None)
    lines = [
        f"{figures['plan']} on {figures['backend']}, median of {figures['steps']} steps; "
        f"{where['device']}, threads: {where['threads']}"
    ]
    with_threads = f", threads: {figures['eager_threads']}" if eager else ""
    lines += [
        f"{'':<28}{'ms':>8}{'p95':>8}{'share':>8}{'floor':>8}   faster than {eager or 'eager PyTorch'}{with_threads}"
    ]
    for row in figures["rows"]:
        if row["way"] == figures["backend"]:
            least = f"{row['floor_ms']:.2f}" if row["floor_ms"] >= SEEN else "-"
            versus = f"{row['ratio']:.1f} x" if "ratio" in row else "-"
            if row["case"].startswith("network") and figures["eager"]:
                versus = figures["eager"]
            lines += [
                f"{row['case']:<28}{row['median_ms']:8.2f}{row['p95_ms']:8.2f}{row['share']:8.0%}{least:>8}   {versus}"
            ]
    rates = ", ".join(
        f"{name} {rate:.0f} {'GB/s' if 'copy' in name else 'Gop/s'}" for name, rate in figures["ceilings"].items()
    )
    return "\n".join([*lines, f"{1e3 / step['median_ms']:.0f} frames/s; ceilings in this run: {rates}"])


def target() -> Frame:
    """The astronaut at 768 x 768."""
    return _fit(image.load(assets.path("astronaut.png")), TARGET)


def drivers() -> list[Frame]:
    """Frames of 640 x 480 in which she wanders by a pixel or two from one to the next."""
    frame = _fit(image.load(assets.path("astronaut.png")), DRIVER)
    steps = np.random.default_rng(0).integers(-1, 2, size=(32, 2)).cumsum(0)
    return [np.roll(frame, (int(y), int(x)), axis=(0, 1)) for y, x in steps]


def _fit(frame: Frame, size: tuple[int, int]) -> Frame:
    """`frame` scaled to the height wanted, in the middle of a grey frame of that size."""
    from PIL import Image

    height, width = size
    scaled = np.asarray(Image.fromarray(frame).resize((height, height)))
    out = np.full((height, width, 3), 127, np.uint8)
    left = (width - height) // 2
    out[:, left : left + height] = scaled
    return out
