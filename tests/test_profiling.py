"""Timing in turns, ratios within rounds; what is counted of a network, and the ceilings."""

import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from fetfast.profiling import roofline
from fetfast.profiling.timing import Timing, interleaved, ratio, replayed


def test_ways_take_turns_in_an_order_that_rotates():
    called = []
    ways = {name: lambda name=name: called.append(name) for name in "abc"}
    timings = interleaved(ways, rounds=3, warm_up=1)
    assert "".join(called) == "abc" + "abc" + "bca" + "cab"
    assert all(len(timings[name].rounds) == 3 for name in "abc")


def test_a_way_settles_before_it_is_timed():
    called = []
    ways = {name: lambda name=name: called.append(name) for name in "ab"}
    timings = interleaved(ways, rounds=2, warm_up=0, settle=1)
    assert "".join(called) == "aabb" + "bbaa" and len(timings["a"].rounds) == 2


def test_a_call_is_timed_in_milliseconds():
    timing = interleaved({"sleep": lambda: time.sleep(0.004)}, rounds=5, warm_up=0)["sleep"]
    assert 4 <= timing.median <= timing.p95 and min(timing.rounds) >= 4


def test_no_new_round_when_the_time_is_over():
    timings = interleaved({"sleep": lambda: time.sleep(0.01)}, rounds=1000, warm_up=0, seconds=0.02)
    assert 3 <= len(timings["sleep"].rounds) < 10
    slow = []
    timings = interleaved({"slow": lambda: slow.append(time.sleep(0.01))}, seconds=0)
    assert len(timings["slow"].rounds) == 3 and len(slow) == 4, "one to warm up, three to time"


def test_a_ratio_is_taken_within_the_round():
    """The machine becomes ten times slower half way: the ratio of medians would say 1.1, each round says 2."""
    slow = [10.0] * 5 + [100.0] * 5
    timings = {"base": Timing.of(slow), "way": Timing.of([t / 2 for t in slow])}
    timings["late"] = Timing.of([5.0, 5.0] + [t / 2 for t in slow[2:]])
    assert ratio(timings, "way", "base") == ratio(timings, "late", "base") == 2
    assert timings["base"].median == 55 and timings["base"].iqr == 90


class Card:
    """PyTorch with a GPU: calls take time on its clock, in ms, and what is captured runs when it is replayed."""

    def __init__(self):
        self.now, self.captured, self.calls, self.cuda = 0.0, None, 0, self
        self.stream = self.graph = self._entered
        self.uint8 = None

    def kernel(self, ms):
        if self.captured is None:
            self.now, self.calls = self.now + ms, self.calls + 1
        else:
            self.captured.append(ms)

    @contextmanager
    def _entered(self, what, **_):
        self.captured = [] if what == "graph" else self.captured
        yield
        if what == "graph":
            self.kernels, self.captured = self.captured, None

    def CUDAGraph(self):
        class Graph(str):
            replay = staticmethod(lambda: [self.kernel(ms) for ms in self.kernels])

        return Graph("graph")

    def Event(self, enable_timing):
        event = SimpleNamespace(synchronize=lambda: None)
        event.record = lambda: setattr(event, "at", self.now)
        event.elapsed_time = lambda end: end.at - event.at
        return event

    def Stream(self):
        return SimpleNamespace(wait_stream=lambda _: None, synchronize=lambda: None)

    def empty(self, *_, **__):
        return SimpleNamespace(zero_=lambda: self.kernel(100))

    current_stream = synchronize = lambda self: None
    is_available = lambda self: True  # noqa: E731


@pytest.fixture
def card(monkeypatch):
    found = Card()
    monkeypatch.setitem(sys.modules, "torch", found)
    return found


def test_a_gpus_events_time_the_kernels_alone(card):
    timings = interleaved({"a": lambda: card.kernel(2), "b": lambda: card.kernel(3)}, 4, queued=True)
    assert timings["a"].rounds == (2,) * 4 and timings["b"].rounds == (3,) * 4, "not the flush before each"


def test_a_graph_is_replayed(card):
    timing = replayed([lambda ms=ms: card.kernel(ms) for ms in (1, 2, 6)], repeats=5)
    assert timing.rounds == (3,) * 5, "one of three"
    assert card.calls == 3 * (1 + 2 + 5), "once to warm up, the graph twice to warm up and then as asked"


def test_without_a_gpu_calls_are_timed_once_by_the_clock(monkeypatch):
    monkeypatch.setattr("fetfast.profiling.timing.on_gpu", lambda: False)
    called = []
    timing = replayed([lambda i=i: called.append(time.sleep(0.002 * i)) for i in range(3)])
    assert len(called) == 3 and 2 <= timing.median < 10, "6 ms for three"


def constant(*shape):
    return ops.constant(np.ones(shape, np.float32))


@pytest.mark.parametrize(
    "given, node, operations",
    [
        # out 1 x 8 x 4 x 4, each the sum of 3 x 3 x 3 products
        ((1, 3, 8, 8), lambda x: ops.convolution(x, constant(8, 3, 3, 3), [2, 2], [1, 1], [1, 1], [1, 1]),
         2 * 8 * 16 * 27),
        # 2 groups of 2 channels each to 3
        ((1, 4, 8, 8), lambda x: ops.group_convolution(x, constant(2, 3, 2, 1, 1), [1, 1], [0, 0], [0, 0], [1, 1]),
         2 * 6 * 64 * 2),
        # transposed: every input pixel goes into 5 x 4 x 4 outputs
        ((1, 3, 8, 8), lambda x: ops.convolution_backprop_data(
            x, constant(3, 5, 4, 4), [2, 2], pads_begin=[1, 1], pads_end=[1, 1]), 2 * 3 * 64 * 80),
        ((1, 6, 7), lambda x: ops.matmul(x, constant(7, 9), False, False), 2 * 6 * 9 * 7),
        ((1, 6, 7), lambda x: ops.matmul(x, constant(9, 6), True, True), 2 * 7 * 9 * 6),
    ],
    ids=("convolution", "groups", "transposed", "matmul", "matmul of transposed"),
)  # fmt: skip
def test_operations_of_a_node(given, node, operations):
    x = ops.parameter(given, np.float32)
    made = node(x)
    model = openvino.Model([made], [x])
    moved, counted = roofline.count(model)
    assert counted == operations
    weight = made.input(1).get_source_output().get_node()
    assert moved >= 4 * (np.prod(given) + np.prod(weight.shape) + np.prod(made.shape))


def test_a_floor_is_the_larger_of_two():
    ceilings = roofline.Ceilings(copy={"cpu": 1e9}, matmul={("cpu", "f32"): 1e12})
    assert ceilings.floor(roofline.Work(4_000_000, 1_000_000_000)) == pytest.approx(4)
    assert ceilings.floor(roofline.Work(4_000_000, 9_000_000_000)) == pytest.approx(9)


def test_ceilings_only_rise():
    ceilings, works = roofline.Ceilings(), [roofline.Work(1, 1), roofline.Work(1, 1, "int8")]
    ceilings.measure(works)
    assert ceilings.copy["cpu"] > 1e8 and all(rate > 1e9 for rate in ceilings.matmul.values())
    ceilings.copy["cpu"] = 1e20
    ceilings.measure(works)
    assert ceilings.copy == {"cpu": 1e20} and set(ceilings.matmul) == {("cpu", "f32"), ("cpu", "int8")}


def test_ceilings_have_names_as_results_files_do():
    ceilings = roofline.Ceilings(copy={"cpu": 2e9}, matmul={("gpu", "bf16"): 3e12})
    assert ceilings.figures == {"cpu copy": 2, "gpu bf16": 3000}
