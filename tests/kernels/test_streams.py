"""Streams and captures on a GPU, by stand-ins for the driver and for PyTorch's streams."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from fetfast.backends import gpu
from fetfast.errors import Unavailable


class Driver:
    """libcuda, as far as making a stream goes."""

    def __init__(self):
        self.made, self.pushed, self.fails = [], [], None

    def __getattr__(self, name):
        def call(*arguments):
            if name == self.fails:
                return 201
            if name == "cuDevicePrimaryCtxRetain":
                arguments[0]._obj.value = 5000 + arguments[1]
            if name == "cuCtxPushCurrent_v2":
                self.pushed.append(arguments[0].value)
            if name == "cuCtxPopCurrent_v2":
                self.pushed.pop()
            if name == "cuStreamCreateWithPriority":
                handle, flags, priority = arguments
                assert flags == 1 and len(self.pushed) == 1, "of the default stream's pace, or in no context"
                handle._obj.value = 100 + len(self.made)
                self.made.append((self.pushed[0] - 5000, priority))
            return 0

        return call


class Stream:
    def __init__(self, handle, device):
        self.cuda_stream, self.device, self.waited_for = handle, device, []

    def wait_stream(self, other):
        self.waited_for.append(other)

    def synchronize(self):
        pass


@pytest.fixture
def driver(monkeypatch):
    made = Driver()
    monkeypatch.setattr(gpu, "_driver", lambda: made)
    monkeypatch.setattr(torch.cuda, "ExternalStream", Stream)
    gpu._idle_streams.cache_clear()
    yield made
    gpu._idle_streams.cache_clear()


def test_no_two_have_the_same_stream(driver):
    """PyTorch has 32, which it hands out again: engines would wait for one another, and captures fail."""
    device = torch.device("cuda", 1)
    held = [gpu.own_stream(device, -1) for _ in range(40)]
    assert len({stream.cuda_stream for stream in held}) == 40 and driver.made == [(1, -1)] * 40 and not driver.pushed
    given_up = held.pop().cuda_stream
    gc.collect()
    assert gpu.own_stream(torch.device("cuda", 0), -1).cuda_stream != given_up
    assert gpu.own_stream(device, -1).cuda_stream == given_up and len(driver.made) == 41


def test_a_driver_that_makes_none_is_said(driver):
    driver.fails = "cuStreamCreateWithPriority"
    with pytest.raises(Unavailable, match=r"no stream on GPU 0 \(CUresult 201\); see nvidia-smi"):
        gpu.own_stream(torch.device("cuda", 0))


@pytest.fixture
def current(monkeypatch):
    """PyTorch's streams and graphs: the list of those entered, and of those captured."""
    now, captured = [Stream(1, None)], []

    @contextmanager
    def on(stream):
        now.append(stream)
        yield
        now.pop()

    @contextmanager
    def graph(made, stream, capture_error_mode):
        assert capture_error_mode == "thread_local" and gpu.CAPTURING.locked()
        captured.append(stream)
        with on(stream):
            yield

    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: now[-1])
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
    return now, captured


@pytest.mark.usefixtures("driver")
def test_each_capture_has_a_stream_on_which_nothing_ran(current):
    """So that a graph's cuBLAS workspace is its own: PyTorch keeps one for each stream, and drops it with any graph."""
    _, captured = current
    space, ran = gpu.TorchMemory(1), []

    def work():
        ran.append(space.stream)

    graphs = []
    for _ in range(3):
        with space.here():
            work()
            graphs.append(space.capture(work))
    used = [stream.cuda_stream for stream in captured]
    assert ran == [space.own.cuda_stream, used[0], space.own.cuda_stream, used[1], space.own.cuda_stream, used[2]]
    assert len({*used, space.own.cuda_stream}) == 4
    del captured[1], graphs[1]
    gc.collect()
    with space.here():
        graphs.append(space.capture(work))
    assert ran[-1] == used[1], "a stream outlives its graph, and no longer"
    for graph in graphs:
        graph()


@pytest.mark.usefixtures("driver")
def test_work_begun_here_waits_for_the_caller_s(current):
    now, _ = current
    space = gpu.TorchMemory(1)
    with torch.inference_mode(), space.here():
        assert not torch.is_inference_mode_enabled() and now[-1] is space.own
    assert space.own.waited_for == [now[0]] and space.device == torch.device("cuda:1")
