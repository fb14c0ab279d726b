"""A frame on a GPU goes up once and comes down once. Here the same code runs on stand-ins for CUDA's streams, on which
a copy is done when somebody waits for it and no sooner, with the CPU's form of the ops; on a GPU the thing itself."""

from __future__ import annotations

import gc
import weakref
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from threading import Thread

import numpy as np
import pytest
import torch
from hostmemory import HostMemory
from torch.overrides import TorchFunctionMode

import fetfast.engine
from fetfast import backends, place
from fetfast.backends import gpu
from fetfast.engine import Engine
from fetfast.face import Face
from fetfast.inputs import DRAWN, READ, Target
from fetfast.ops import frame_gpu, heatmap_gpu
from fetfast.ops.anchors import anchors, corrected
from fetfast.ops.crop import crop
from fetfast.ops.heatmap import contours, first_flow
from fetfast.ops.paste import paste
from fetfast.place import HOST, Device
from fetfast.plan import Plan
from fetfast.spec import Stage, TensorSpec

S, SIZE = 32, (96, 120)  # of the network, of the frames


def picture(seed, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def face(seed, size=SIZE, middle=0.5):
    """No face, but one to be cropped: points all over, and those that `crop_matrix` reads where they may be."""
    rng = np.random.default_rng(seed)
    share = rng.uniform((middle - 0.15, 0.3, 0), (middle + 0.15, 0.7, 0), (478, 3))
    level = 0.4 + 0.05 * rng.random()
    share[[33, 263, 234, 454, 2], :2] = [(middle + x, level + y) for x, y in
        ((-0.1, 0), (0.1, 0), (-0.14, 0.02), (0.14, 0.02), (0, 0.1))]  # fmt: skip
    return Face((share * (size[1], size[0], 1)).astype(np.float32), rng.random(52, np.float32), 1.0)


def prepare(seed, faces=1, like=None):
    size = SIZE
    middles = (0.5,) if faces == 1 else np.linspace(0.3, 0.7, faces)
    target = Target.prepare(picture(seed, size), [face(seed + i, size, m) for i, m in enumerate(middles)], S)
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
    mask = 0.5 * given["driven_map"] + 0.25 * given["source_map"]
    return {"flow": 1.0 * given["first_flow"], "mask": mask, "color": color}


SHAPES = dict.fromkeys(("target_points", "source_points", "fused_points"), (478, 2)) | {
    "target_regions": (4, 478), "source_blendshapes": (52,), "target_blendshapes": (52,),
    "flow": (2, S, S), "first_flow": (2, S, S), "mask": (1, S, S),
    "target_map": (1, S, S), "driven_map": (1, S, S), "source_map": (1, S, S),
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
    monkeypatch.setattr(backends, "gpu_of", lambda *_: None)
    stages = (
        stage("fuse", READ.keys() - {"target_frame", "source_frame", "driven_amount"}, ("fused_points",)),
        stage("paint", DRAWN.keys() - {"driven_points"}, ("flow", "mask", "color")),
    )
    plan = Plan.open("flow_fp32")
    parts = {part: part for part in ("flow", "mask", "color")}
    return Engine(replace(plan, spec=replace(plan.spec, resolution=S, stages=stages, paste=parts)))


# ---- CUDA, as far as `Device` knows it


class Streams:
    """What has been copied, and when."""

    def __init__(self):
        self.current, self.ups, self.downs, self.pinned, self.recorded = None, 0, 0, [], []

    def alive(self):
        gc.collect()
        return sum(block() is not None for block in self.pinned)


class Stream:
    def __init__(self, device, priority):
        self.waiting, self.waited_for = [], []

    def run(self):
        while self.waiting:
            self.waiting.pop(0)()

    def wait_stream(self, other):
        self.waited_for.append(other)
        other.run()

    def record_event(self, event):
        event.stream = self
        return event


class Event:
    def __init__(self, blocking):
        self.stream = None

    def synchronize(self):
        self.stream.run()


@pytest.fixture
def streams(monkeypatch):
    """`Device` and the ops' GPU forms on the CPU. Fresh memory is poisoned."""
    with torch.device("meta"):
        torch.empty(1)  # PyTorch learns here, once and for all, which functions this context is for
    seen, empty, copy = Streams(), torch.empty, torch.Tensor.copy_

    @contextmanager
    def on(stream):
        before, seen.current = seen.current, stream
        yield
        seen.current = before

    def poisoned(*size, pin_memory=False, **options):
        block = empty(*size, **options)
        block.fill_(float("nan") if block.is_floating_point() else 205)
        if pin_memory:
            seen.pinned.append(weakref.ref(block))
        return block

    def later(to, what, non_blocking=False):
        if not non_blocking:
            return copy(to, what)
        if what.dtype == torch.uint8 and what.ndim == 1:
            seen.ups += 1
        else:
            seen.downs += 1
        seen.current.waiting.append(partial(copy, to, what))
        return to

    for name, value in (("Stream", Stream), ("Event", Event), ("stream", on)):
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(place, "TorchMemory", HostMemory)
    monkeypatch.setattr(torch, "empty", poisoned)
    monkeypatch.setattr(torch.Tensor, "copy_", later)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: seen.recorded.append(stream))

    def numpy(tensor):
        assert seen.current is not None, "work on PyTorch's own stream"
        return None if tensor is None else tensor.numpy()

    def crop_there(frame, M, size, taps, flow, out):
        crop(numpy(frame), M, size, numpy(flow), numpy(out))

    def paste_there(frame, M, to_crop, feather, flow, mask, color, light, out, box):
        return torch.from_numpy(paste(numpy(frame), M, *map(numpy, (flow, mask, color)), light=numpy(light)))

    def contours_there(points, size, out, edges, reach):
        contours(numpy(points), size, numpy(out))
        return out

    def flow_there(source, driven, size, out, widths, epsilon):
        first_flow(numpy(source), numpy(driven), size, numpy(out))
        return out

    monkeypatch.setattr(frame_gpu, "crop", crop_there)
    monkeypatch.setattr(frame_gpu, "paste", paste_there)
    monkeypatch.setattr(heatmap_gpu, "contours", contours_there)
    monkeypatch.setattr(heatmap_gpu, "first_flow", flow_there)
    return seen


@pytest.fixture
def device_engine(engine, streams):
    engine.place = Device("cpu")
    return engine


def on_host(engine, steps):
    """What the host's way makes of (source, target, picture) steps, targets unused before."""
    own, engine.place = engine.place, HOST
    frames = [engine.render(source, target, frame) for source, target, frame in steps]
    engine.place = own
    return frames


@pytest.mark.parametrize("faces", [1, 3])
def test_a_still_target_takes_one_copy_up_and_one_down_a_step(device_engine, streams, faces):
    sources = [(face(100 + i), picture(200 + i)) for i in range(5)]
    wanted = on_host(device_engine, [(source, prepare(0, faces), frame) for source, frame in sources])
    target, shown = prepare(0, faces), []
    for i, (source, frame) in enumerate(sources):
        before = streams.ups, streams.downs
        shown.append(device_engine.render(source, target, frame))
        assert (streams.ups - before[0], streams.downs - before[1]) == (2 if i == 0 else 1, 1)
    assert all(np.array_equal(a, b) for a, b in zip(shown, wanted, strict=True))  # none overwritten by a later one
    assert any((a != b).any() for a, b in pairwise(shown))
    up, work, down = device_engine.place.up, device_engine.place.work, device_engine.place.down
    assert work.waited_for == [up] * streams.ups and down.waited_for == [work] * streams.downs and not up.waited_for
    used = [streams.recorded.count(stream) for stream in (up, work, down)]  # memory that another stream has allocated
    assert used == [0, streams.ups, streams.downs]


def test_a_moving_target_takes_one_copy_more(device_engine, streams):
    steps = [(face(i), picture(i)) for i in range(4)]
    wanted = on_host(device_engine, [(source, prepare(50 + i), frame) for i, (source, frame) in enumerate(steps)])
    target = None
    for i, (source, frame) in enumerate(steps):
        target, before = prepare(50 + i, like=target), (streams.ups, streams.downs)
        np.testing.assert_array_equal(device_engine.render(source, target, frame), wanted[i])
        assert (streams.ups - before[0], streams.downs - before[1]) == (2, 1)


def test_results_may_come_down_late_and_in_any_order(device_engine):
    steps = [(face(i), picture(i)) for i in range(6)]
    wanted = on_host(device_engine, [(source, prepare(0), frame) for source, frame in steps])
    target = prepare(0)
    takes = [
        device_engine.compose(target, device_engine.run(device_engine.scene(source, target, frame)))
        for source, frame in steps
    ]
    for i in (3, 5, 0, 0, 1, 4, 2):
        np.testing.assert_array_equal(takes[i](), wanted[i])
        takes[i]()[:] = 0  # the taker's own


def test_two_results_are_under_way_and_no_more(device_engine):
    """Else a GPU slower than a live source would get further behind with every frame, and none would be dropped."""
    target, down, waiting = prepare(0), device_engine.place.down, []
    for i in range(6):
        held = device_engine.compose(target, device_engine.run(device_engine.scene(face(i), target, picture(i))))
        waiting.append(len(down.waiting))
    assert waiting[1] == max(waiting) == place.UNDER_WAY == 2
    del held


def test_a_caller_s_modes_are_not_the_engine_s(device_engine):
    """What a step under them has made, the next one writes to; and pinned memory is the processor's."""
    wanted = on_host(device_engine, [(face(i), prepare(0), picture(i)) for i in range(2)])
    target = prepare(0)
    with torch.inference_mode(), torch.device("meta"):
        first = device_engine.render(face(0), target, picture(0))
    np.testing.assert_array_equal(first, wanted[0])
    np.testing.assert_array_equal(device_engine.render(face(1), target, picture(1)), wanted[1])


def test_a_capture_waits_for_what_its_caller_has_begun(monkeypatch):
    """In its first run a network uses the workspace of graphs that may be under way on the caller's stream."""

    class Own(Stream):
        cuda_stream = 1

        def __init__(self, device):
            super().__init__(device, 0)

    callers, now = Stream(None, 0), []

    @contextmanager
    def on(stream):
        now.append(stream)
        yield

    monkeypatch.setattr(torch.cuda, "Stream", Own)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: callers)
    monkeypatch.setattr(torch.cuda, "stream", on)
    space = gpu.TorchMemory(1)
    with torch.inference_mode(), space.here():
        assert not torch.is_inference_mode_enabled()
    assert space.own.waited_for == [callers] and now == [space.own] and space.device == torch.device("cuda:1")


def test_nothing_piles_up(device_engine, streams):
    target = prepare(0)
    held = [device_engine.render(face(0), target, picture(0))]
    buffers = {name: tensor.data_ptr() for name, tensor in target.buffers.items()}
    blocks = streams.alive()
    for i in range(1, 6):
        held.append(device_engine.render(face(i), target, picture(i)))
    dropped = device_engine.compose(target, device_engine.run(device_engine.scene(face(0), target, picture(0))))
    del dropped  # as a live loop's channel drops what is too old
    device_engine.place.down.run()
    assert streams.alive() == blocks == 0, "results handed out are not pinned, and blocks are let go"
    assert {name: tensor.data_ptr() for name, tensor in target.buffers.items()} == buffers


def test_only_what_the_plan_needs_goes_up(monkeypatch, streams):
    monkeypatch.setattr(fetfast.engine, "Landmarker", lambda: None)
    engine = Engine("flow_fp32", "eager", "cpu")
    wanted = on_host(engine, [(face(1), prepare(0), None)])
    engine.place = Device("cpu")
    scene = engine.scene(face(1), prepare(0))
    shown = engine.compose(scene.target, engine.run(scene))()
    np.testing.assert_array_equal(shown, wanted[0])
    assert streams.ups == 2 and {name for name in scene.tensors if name in READ} == {
        "source_blendshapes", "driven_amount"}  # fmt: skip


def test_where_frames_stay_on_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(backends, "find_spec", lambda name: True)
    asked = [("openvino", None), ("eager", "cpu"), ("triton", None), ("tensorrt", "cuda:1"), ("eager", None)]
    assert [backends.gpu_of(*ask) for ask in asked] == [None, None, "cuda:0", "cuda:1", "cuda:0"]
    monkeypatch.setattr(backends, "find_spec", lambda name: name != "cupy")
    assert backends.gpu_of("triton") is None


def test_what_stands_between_the_landmarks_needs_nothing_from_the_host():
    class Alone(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            assert function not in (torch.tensor, torch.as_tensor, torch.from_numpy)
            if function is torch.Tensor.__getitem__:
                parts = args[1] if isinstance(args[1], tuple) else (args[1],)
                assert not any(isinstance(part, list | np.ndarray) for part in parts), "an index from the host"
            return function(*args, **(kwargs or {}))

    points = torch.rand(1, 478, 2)
    first = corrected(*anchors(points, points + 0.01))
    with Alone():
        again = corrected(*anchors(points, points + 0.01))
    assert torch.equal(first[0], again[0])


def test_tf32_changes_nothing_between_the_landmarks():
    """Products of matrices may take 10 bits of an f32, which is a setting of the whole process: so there are none."""

    class Tf32(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function in (torch.Tensor.__matmul__, torch.Tensor.matmul, torch.matmul, torch.bmm, torch.einsum):
                args = [(a.view(torch.int32) & ~0x1FFF).view(torch.float32) for a in args]
            return function(*args, **(kwargs or {}))

    source, driven = torch.rand(2, 2, 478, 2, generator=torch.Generator().manual_seed(0))
    exact = corrected(*anchors(source, driven))[0]
    with Tf32():
        assert torch.equal(corrected(*anchors(source, driven))[0], exact)


# ---- On a GPU


def smooth(seed, size):
    """A picture without grain, so that a hundredth of a pixel's shift is no more than a fraction of a level."""
    coarse = np.random.default_rng(seed).random((1, 3, 16, 16), np.float32)
    fine = torch.nn.functional.interpolate(torch.from_numpy(coarse), size, mode="bilinear")[0]
    return (255 * fine).byte().permute(1, 2, 0).contiguous().numpy()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["flow_fp32", "unet_fp16"])
class TestOnGpu:
    size = (600, 768)

    @pytest.fixture(autouse=True)
    def without_face_networks(self, monkeypatch):
        pytest.importorskip("cupy")
        monkeypatch.setattr(fetfast.engine, "Landmarker", lambda: None)

    @pytest.fixture
    def on_gpu(self, name):
        if name not in ENGINES:
            ENGINES[name] = Engine(name, "triton")
        assert isinstance(ENGINES[name].place, Device)
        return ENGINES[name]

    def target(self, engine, seed, faces=1):
        found = [face(seed + i, self.size, middle) for i, middle in enumerate(np.linspace(0.3, 0.7, faces))]
        return Target.prepare(smooth(seed, self.size), found, engine.plan.spec.resolution)

    def test_as_right_as_by_the_host(self, on_gpu, name):
        """Against f32: at most twice as far off as the same kernels' networks between the CPU's ops, or a tenth of a
        level, which is what f32 in another order rounds."""
        plan = on_gpu.plan
        weights = {key: np.asarray(weight, np.float32) for key, weight in plan.weights.items()}
        plain = Engine(replace(plan, precision="fp32", weights=weights), "eager", "cpu")
        for faces in (1, 3):
            before = self.target(plain, 7, faces).frame
            exact, host = (on_host(e, [(face(1), self.target(e, 7, faces), None)])[0] for e in (plain, on_gpu))
            got = on_gpu.render(face(1), self.target(on_gpu, 7, faces))
            changed = (exact != before).any(-1)
            assert changed.mean() > 0.02
            error, allowed = (np.abs(a[changed].astype(float) - exact[changed]).mean() for a in (got, host))
            assert error <= max(2 * allowed, 0.1)
            alone = ~changed & (host == before).all(-1)
            np.testing.assert_array_equal(got[alone], before[alone])

    def test_copies(self, on_gpu):
        still, moving = self.target(on_gpu, 0), [self.target(on_gpu, seed) for seed in (1, 2)]
        for target in (still, moving[0]):
            on_gpu.render(face(0), target)
        assert copies(lambda: on_gpu.render(face(1), still)) == (1, 1)
        assert copies(lambda: on_gpu.render(face(1), moving[1])) == (2, 1)

    def test_a_stream_of_frames(self, on_gpu):
        """Late results are those taken at once, bit for bit. After the first frames nobody asks for memory, but where
        one frame more than ever is under way."""
        still = self.target(on_gpu, 0)
        moving = [self.target(on_gpu, seed) for seed in range(1, 4)]

        def step(i):
            target = moving[i % 3] if i % 2 else still
            target.tensors.clear()  # as if it were new
            return on_gpu.compose(target, on_gpu.run(on_gpu.scene(face(i % 6), target)))

        wanted = [step(i)() for i in range(6)]
        late = []
        for i in range(240):
            late.append((i, step(i)))
            if len(late) == 3:
                first, take = late.pop(0)
                np.testing.assert_array_equal(take(), wanted[first % 6])
            if i == 60:
                asked = allocations()
        assert max(np.subtract(allocations(), asked)) <= 4

    def test_frames_in_one_thread_while_another_captures(self, on_gpu, name):
        target, failures = self.target(on_gpu, 0), []
        wanted = on_gpu.render(face(0), target)

        def load():
            try:
                for _ in range(2):
                    other = Engine(name, "triton")
                    np.testing.assert_array_equal(other.render(face(0), self.target(other, 0)), wanted)
            except BaseException as failure:
                failures.append(failure)

        thread = Thread(target=load)
        thread.start()
        while thread.is_alive():
            np.testing.assert_array_equal(on_gpu.render(face(0), target), wanted)
        assert not failures, failures[0]


ENGINES: dict[str, Engine] = {}  # kept from test to test: compiling them takes seconds


def copies(work):
    """Copies up and down, as CUDA counts them."""
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
        torch.cuda.synchronize()
    names = [event.name for event in profile.events()]
    assert any("crop" in name or "paste" in name for name in names), "the profiler saw no work"
    return tuple(sum(name.startswith(f"Memcpy {way}") for name in names) for way in ("HtoD", "DtoH"))


def allocations():
    """How often PyTorch has asked the driver for memory, on the device and pinned."""
    return torch.cuda.memory_stats()["num_device_alloc"], torch.cuda.host_memory_stats()["num_host_alloc"]
