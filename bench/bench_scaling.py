"""How the cost grows: with the batch, the resolution, the number of faces, the threads.

    python bench/bench_scaling.py [--quick] [--out FILE]

Each case is a series of sizes, taken in turns. Its rows hold `size`, `item_ms`, the median of one item (a picture, or a
face of a batch or of a frame), and `ratio`: how many times cheaper one item is than in the first row of the series.
Below 1 it costs more; for threads it is the speed-up.

    batch        1 ... 32 faces through the default plan's networks
    frame        128 ... 1024 pixels square: crop, paste, and one step of `stream` with such a driver and target
    network      S = 128 ... 1024: the U-Nets with random weights, in fp16, at batch 1
    faces        1 ... 16 in one target of as many tiles of 256 pixels: finding them, and changing them all
    threads      1 and 2: the parts of a step, and the step

Where networks run, on the first backend that can and on plain PyTorch in f32. A pass over a batch, or over a frame of
many faces, is compared with its items one at a time before it is timed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import cycle, repeat
from unittest.mock import patch

import measure
import numpy as np
import torch
from measure import Call, Row
from pictures import SOURCE, tiled
from plans import BASE, at
from ways import inputs_of

from fetfast import _native, backends, build, image
from fetfast.backends import Runner, openvino
from fetfast.bench import drivers, target
from fetfast.engine import Engine
from fetfast.face import Landmarker, crop_matrix
from fetfast.models import family, unet
from fetfast.ops.crop import crop
from fetfast.ops.paste import paste
from fetfast.plan import Plan
from fetfast.spec import Spec

BATCHES = (1, 2, 4, 8, 16, 32)
SIDES = (128, 256, 512, 1024)
FACES = {1: (1, 1), 2: (1, 2), 4: (2, 2), 8: (2, 4), 16: (4, 4)}  # rows and columns of tiles
TILE = 256  # pixels
THREADS = (1, 2)
NETWORKS: dict[str, tuple[Callable[[int], Spec], tuple[int, ...]]] = {
    "unet small": (unet.small, SIDES),
    "unet paper": (unet.paper, SIDES[1:]),  # halves 8 times
}

Series = dict[int, Call]  # size -> call


def series(case: str, calls: Series, rounds: int, items: bool = False) -> list[Row]:
    """A row for each size; `items`: a call does as many as its size says."""
    timings = measure.interleaved({str(size): call for size, call in calls.items()}, rounds, 2, seconds=6)
    first = next(iter(timings))
    rows = []
    for size, (way, timing) in zip(calls, timings.items(), strict=True):
        share = size / int(first) if items else 1
        rows.append(
            measure.row(
                case, way, timing, ratio=share * measure.ratio(timings, way, first), size=size,
                item_ms=timing.median / (size if items else 1),
            )
        )  # fmt: skip
    return rows


def stages_of(plan: Plan) -> dict[str, dict[str, Runner]]:
    """Way -> the plan's stages: on plain PyTorch in f32, and on the first backend that can run it."""
    chosen, _ = backends.choose(plan)
    found = {BASE: backends.load("eager", at(plan, "fp32"))}
    return found if chosen == "eager" else found | {f"{chosen} {plan.precision}": backends.load(chosen, plan)}


def run(stages: dict[str, Runner], inputs: dict[str, dict[str, np.ndarray]]) -> list[np.ndarray]:
    return [tensor for name, runner in stages.items() for tensor in runner(inputs[name]).values()]


def batches(sizes: tuple[int, ...], rounds: int) -> list[Row]:
    rows: list[Row] = []
    plan = Plan.open(Plan.best())
    for way, stages in stages_of(plan).items():
        inputs = {size: inputs_of(plan.spec, size) for size in sizes}
        whole = [tensor.copy() for tensor in run(stages, inputs[sizes[-1]])]
        for i in (0, sizes[-1] - 1):
            one = {name: {k: x[i : i + 1] for k, x in given.items()} for name, given in inputs[sizes[-1]].items()}
            for tensor, alone in zip(whole, run(stages, one), strict=True):
                assert np.allclose(tensor[i], alone[0], atol=1e-3), f"{way}: a batch's item {i} is another one's result"
        calls = {size: partial(run, stages, given) for size, given in inputs.items()}
        rows += series(f"batch: {plan.spec.family} {plan.spec.size}, {way}", calls, rounds, items=True)
    return rows


def frames(sizes: tuple[int, ...], rounds: int) -> list[Row]:
    engine = Engine()
    pictures = {size: tiled(size) for size in sizes}
    prepared = {size: engine.prepare(picture) for size, picture in pictures.items()}
    M = {size: found.matrices[0] for size, found in prepared.items()}
    step = engine.step("transfer", prepared[sizes[0]].faces[0], prepared[sizes[0]], pictures[sizes[0]])
    parts = step.parts(step.wiring.outputs[0])
    tensors = {part: engine.place.download(tensor[0])().copy() for part, tensor in parts.items()}
    S = engine.plan.spec.resolution
    crops = {size: partial(crop, picture, M[size], S) for size, picture in pictures.items()}
    pastes = {size: partial(paste, picture, M[size], **tensors) for size, picture in pictures.items()}
    steps = {size: partial(next, engine.stream(repeat(picture), picture)) for size, picture in pictures.items()}
    found = {"crop": crops, "paste": pastes, f"stream step, {engine.backend} {engine.plan.precision}": steps}
    return [row for name, calls in found.items() for row in series(f"frame: {name}", calls, rounds)]


def networks(sizes: tuple[int, ...], rounds: int) -> list[Row]:
    rows: list[Row] = []
    for name, (spec_of, possible) in NETWORKS.items():
        by_way: dict[str, Series] = {}
        for S in (S for S in possible if S in sizes):
            spec = spec_of(S)
            torch.manual_seed(0)
            plan = build.plan_of(spec, family(spec.family).build(spec), "fp16", random_weights=True)
            inputs = inputs_of(spec)
            for way, stages in stages_of(plan).items():
                by_way.setdefault(way, {})[S] = partial(run, stages, inputs)
        for way, calls in by_way.items():
            rows += series(f"network: {name}, {way}", calls, rounds)
    return rows


def faces(sizes: tuple[int, ...], rounds: int) -> list[Row]:
    plan = Plan.open(Plan.best())
    chosen, _ = backends.choose(plan)
    pictures = {size: tiled(TILE, *FACES[size]) for size in sizes}
    landmarker = Landmarker()
    find = {size: partial(landmarker.detect, picture) for size, picture in pictures.items()}
    for size, call in find.items():
        assert len(call()) == size, f"found {len(call())} faces, expected {size}"
    rows = series("faces: finding them", find, rounds, items=True)
    source = landmarker.detect(image.load(SOURCE))[0]
    for way, engine in {
        BASE: Engine(at(plan, "fp32"), "eager"),
        f"{chosen} {plan.precision}": Engine(plan, chosen),
    }.items():
        prepared = {size: engine.prepare(picture, "all") for size, picture in pictures.items()}
        several = prepared[sizes[-1]]
        one_by_one = several.frame
        for face in several.faces:
            one_by_one = engine.render(source, engine.prepare(one_by_one, face))
        apart = np.abs(engine.render(source, several).astype(np.float32) - one_by_one).mean()
        assert apart < 0.1, f"{way}: all faces at once are {apart:.2f} levels off from one after the other"
        steps = {size: partial(engine.render, source, found) for size, found in prepared.items()}
        rows += series(f"faces: changing them, {way}", steps, rounds, items=True)
    return rows


def threads(sizes: tuple[int, ...], rounds: int) -> list[Row]:
    """The parts of a step with so many threads: OpenVINO's networks, and the loops of our own."""
    before = _native.threads()
    plan, picture = Plan.open(Plan.best()), target()
    inputs = inputs_of(plan.spec)
    parts: dict[str, Series] = {"crop": {}, "paste": {}, "face: track": {}, "network": {}, "stream step": {}}
    for n in sizes:
        with patch.object(backends, "load", lambda backend, plan, device, n=n: openvino.load(plan, device, n)):
            engine = Engine(plan, "openvino")
        engine.landmarker = landmarker = Landmarker(n)
        face = landmarker.detect(picture)[0]
        M = crop_matrix(face.landmarks)
        step = engine.step("transfer", face, engine.prepare(picture), picture)
        pasted = {part: tensor[0].copy() for part, tensor in step.parts(step.wiring.outputs[0]).items()}
        calls: dict[str, Call] = {
            "crop": partial(crop, picture, M, plan.spec.resolution),
            "paste": partial(paste, picture, M, **pasted),
            "face: track": partial(landmarker.track, picture, face),
            "network": partial(run, openvino.load(plan, None, n), inputs),
            "stream step": partial(next, engine.stream(cycle(drivers()), picture)),
        }
        for part, call in calls.items():
            parts[part][n] = partial(with_threads, n, call)
    rows = [row for part, calls in parts.items() for row in series(f"threads: {part}", calls, rounds)]
    _native.set_threads(before)
    return rows


def with_threads(n: int, call: Call) -> None:
    _native.set_threads(n)
    call()


def main() -> int:
    options = measure.options("scaling", __doc__)
    torch.set_num_threads(measure.threads())
    rounds, few = (3, slice(2)) if options.quick else (20, slice(None))
    rows = batches(BATCHES[few], rounds) + frames(SIDES[few], rounds)
    rows += faces(tuple(FACES)[few], rounds) + threads(THREADS, rounds)
    with tempfile.TemporaryDirectory() as folder:  # networks of random weights are nobody's
        with patch.dict(os.environ, FETFAST_CACHE=folder):
            rows += networks(SIDES[:1] if options.quick else SIDES, rounds)
    return measure.finish("scaling", rows, [], options)


if __name__ == "__main__":
    sys.exit(main())
