"""A frame on a GPU goes up once and comes down once. Here the same code runs on stand-ins for CUDA's streams, on which
a copy is done when somebody waits for it and no sooner, with the CPU's form of the ops."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from cudastreams import stand_in
from recorder import CapturingMemory
from steps import SIZE, face, on_host, picture

import fetfast.engine
from fetfast import backends, place
from fetfast.cudagraph import Graphs
from fetfast.engine import Engine
from fetfast.inputs import INPUTS
from fetfast.plan import Plan
from fetfast.spec import Output, Stage, Task, TensorSpec
from fetfast.step import Target

S = 32  # side of the network's pictures


def prepare(seed, faces=1, like=None):
    size = SIZE
    middles = (0.5,) if faces == 1 else np.linspace(0.3, 0.7, faces)
    target = Target.prepare(picture(seed, size), [face(seed + i, size, m) for i, m in enumerate(middles)])
    if like is not None:
        target.buffers = like.buffers
    return target


# ---- Two stages that read all that there is, on arrays and on tensors


def fuse(given):
    share = 0.2 * given["source_blendshapes"][:, :1, None]
    regions = given["target_regions"][:, 0, :, None]
    return {"fused_points": given["target_points"] + share * regions * (given["source_points"] - 0.5)}


def paint(given):
    color = 0.25 * (given["target"] + given["source"] + given["warped"]) + 0.1 * given["target_map"]
    mask = 0.5 * given["driven_map"] + 0.25 * given["source_map"] + 0.1 * given["teeth"][:, :, ::2, ::2]
    return {"flow": 1.0 * given["first_flow"], "mask": mask, "color": color}


SHAPES = dict.fromkeys(("target_points", "source_points", "fused_points"), (478, 2)) | {
    "target_regions": (4, 478), "source_blendshapes": (52,), "target_blendshapes": (52,),
    "flow": (2, S, S), "first_flow": (2, S, S), "mask": (1, S, S),
    "target_map": (1, S, S), "driven_map": (1, S, S), "source_map": (1, S, S),
    "teeth": (1, 2 * S, 2 * S),
}  # fmt: skip


def stage(name, inputs, outputs):
    given, made = (tuple(TensorSpec(n, SHAPES.get(n, (3, S, S))) for n in names) for names in (inputs, outputs))
    return Stage(name, given, made)


@pytest.fixture
def engine(monkeypatch):
    """An engine at home on the host, for the stages above."""
    monkeypatch.setattr(fetfast.engine, "Landmarker", lambda: None)
    monkeypatch.setattr(backends, "choose", lambda *_: ("eager", {}))
    monkeypatch.setattr(backends, "load", lambda *_: {"fuse": fuse, "paint": paint})
    monkeypatch.setattr(backends, "tensors_on", lambda *_: None)
    read = {name for name, row in INPUTS.items() if row.read}
    stages = (
        stage("fuse", read & SHAPES.keys(), ("fused_points",)),
        stage("paint", INPUTS.keys() - read - {"driven_points"}, ("flow", "mask", "color")),
    )
    plan = Plan.open("flow_fp32")
    tasks = {"transfer": Task((Output("target", {part: part for part in ("flow", "mask", "color")}),))}
    return Engine(replace(plan, spec=replace(plan.spec, resolution=S, stages=stages, tasks=tasks)))


@pytest.fixture
def streams(monkeypatch):
    return stand_in(monkeypatch)


@pytest.fixture
def device_engine(engine, streams):
    return at_home(engine, streams)


def at_home(engine, streams):
    """The engine on what stands in for a GPU."""
    engine.place = streams.device()
    engine._graphs = Graphs(engine.place, engine._runners)
    return engine


def assert_alike(got, wanted):
    """By another compiler: half-way values may round either way."""
    off = np.abs(got.astype(int) - wanted)
    assert off.max() <= 1 and (off > 0).mean() < 0.01


@pytest.mark.parametrize("faces", [1, 3])
def test_a_still_target_takes_one_copy_up_and_one_down_a_step(device_engine, streams, faces):
    sources = [(face(100 + i), picture(200 + i)) for i in range(5)]
    wanted = on_host(device_engine, [(source, prepare(0, faces), frame) for source, frame in sources])
    target, shown = prepare(0, faces), []
    for i, (source, frame) in enumerate(sources):
        before = streams.ups, streams.downs
        shown.append(device_engine.render(source, target, frame))
        # the driver's picture, which this plan looks at, and the block of all else; the target's when it is new
        assert (streams.ups - before[0], streams.downs - before[1]) == (2 + 2 * (i == 0), 1)
    for a, b in zip(shown, wanted, strict=True):  # none overwritten by a later one
        assert_alike(a, b)
    assert any((a != b).any() for a, b in pairwise(shown))
    up, work, down = device_engine.place.up, device_engine.place.work, device_engine.place.down
    assert work.waited_for == [up] * streams.frames and down.waited_for == [work] * streams.downs and not up.waited_for
    used = [streams.recorded.count(stream) for stream in (up, work, down)]  # memory that another stream has allocated
    assert used == [0, streams.frames, streams.downs]


def test_a_moving_target_takes_one_copy_more(device_engine, streams):
    steps = [(face(i), picture(i)) for i in range(4)]
    wanted = on_host(device_engine, [(source, prepare(50 + i), frame) for i, (source, frame) in enumerate(steps)])
    target = None
    for i, (source, frame) in enumerate(steps):
        target, before = prepare(50 + i, like=target), (streams.ups, streams.downs)
        assert_alike(device_engine.render(source, target, frame), wanted[i])
        assert (streams.ups - before[0], streams.downs - before[1]) == (3 + (i == 0), 1)


def test_results_may_come_down_late_and_in_any_order(device_engine):
    steps = [(face(i), picture(i)) for i in range(6)]
    wanted = on_host(device_engine, [(source, prepare(0), frame) for source, frame in steps])
    target = prepare(0)
    takes = [device_engine.begin(device_engine.step("transfer", source, target, frame)) for source, frame in steps]
    for i in (3, 5, 0, 0, 1, 4, 2):
        assert_alike(takes[i]()[0], wanted[i])
        takes[i]()[0][:] = 0  # the taker's own


def test_two_results_are_under_way_and_no_more(device_engine):
    """Else a GPU slower than a live source would get further behind with every frame, and none would be dropped."""
    target, down, waiting = prepare(0), device_engine.place.down, []
    for i in range(6):
        held = device_engine.begin(device_engine.step("transfer", face(i), target, picture(i)))
        waiting.append(len(down.waiting))
    assert waiting[1] == max(waiting) == place.UNDER_WAY == 2
    del held


def test_a_caller_s_modes_are_not_the_engine_s(device_engine):
    """What a step under them has made, the next one writes to; and pinned memory is the processor's."""
    wanted = on_host(device_engine, [(face(i), prepare(0), picture(i)) for i in range(2)])
    target = prepare(0)
    with torch.inference_mode(), torch.device("meta"):
        first = device_engine.render(face(0), target, picture(0))
    assert_alike(first, wanted[0])
    assert_alike(device_engine.render(face(1), target, picture(1)), wanted[1])


def test_nothing_piles_up(device_engine, streams):
    target = prepare(0)
    held = [device_engine.render(face(0), target, picture(0))]
    blocks, graphs = streams.alive(), len(CapturingMemory.captured)
    for i in range(1, 6):
        held.append(device_engine.render(face(i), target, picture(i)))
    dropped = device_engine.begin(device_engine.step("transfer", face(0), target, picture(0)))
    del dropped  # as a live loop's channel drops what is too old
    device_engine.place.down.run()
    assert streams.alive() == blocks == 0, "results handed out are not pinned, and blocks are let go"
    assert len(CapturingMemory.captured) == graphs and not target.buffers


def test_only_what_the_plan_needs_goes_up(monkeypatch, streams):
    monkeypatch.setattr(fetfast.engine, "Landmarker", lambda: None)
    engine = Engine("flow_fp32", "eager", "cpu")
    wanted = on_host(engine, [(face(1), prepare(0), None)])
    at_home(engine, streams)
    (shown,) = engine.begin(engine.step("transfer", face(1), prepare(0)))()
    assert_alike(shown, wanted[0])
    (graph,) = engine._graphs.made.values()
    of_target = {f"target_{what}" for what in ("frame", "placement", "grey", "points", "blendshapes", "out")}
    assert graph.block.host.keys() == {"source_blendshapes", "driven_amount", *of_target}
    assert (streams.frames, streams.blocks) == (1, 2)  # and one block before the capture


def test_where_frames_stay_on_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(backends, "find_spec", lambda name: True)
    asked = [("openvino", None), ("eager", "cpu"), ("triton", None), ("tensorrt", "cuda:1"), ("eager", None)]
    assert [backends.tensors_on(*ask) for ask in asked] == [None, None, "cuda:0", "cuda:1", "cuda:0"]
    monkeypatch.setattr(backends, "find_spec", lambda name: name != "cupy")
    assert backends.tensors_on("triton") is None
