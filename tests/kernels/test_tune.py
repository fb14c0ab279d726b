"""Tuning, on shapes so small that the interpreter can run them: what is tried works, and what is found is kept."""

import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from fetfast.kernels.configs import Config, Shape, neighbours, possible, rule, shared_bytes
from triton.runtime.errors import OutOfResources

from fetfast import tune
from fetfast.backends.gpu import Gpu
from fetfast.models import family
from fetfast.spec import Stage, TensorSpec

SMALL = Shape(90, 132, "float16", 1, 4, (16, 16), 16, 4, 4)


def test_shapes_of_a_network():
    stage = Stage(
        "fuse",
        *(
            tuple(TensorSpec(n, (1, 16, 16)) for n in names.split())
            for names in ("source_map target_map", "driven_map")
        ),
    )
    module = family("unet").MapFuse([16, 24]).eval()
    shapes = tune.shapes_of(module, stage, (1, 2), torch.device("cpu"))
    assert [(s.batch, s.pixels, s.channels, s.columns, s.taps, s.parities) for s in shapes[:6]] == [
        (1, 64, (1,), 16, 16, 1), (1, 16, (16,), 24, 16, 1), (1, 64, (1,), 16, 16, 1), (1, 16, (16,), 24, 16, 1),
        (1, 16, (24, 24), 16, 4, 4), (1, 64, (16,), 1, 4, 4),
    ]  # fmt: skip
    assert {s.batch for s in shapes} == {1, 2}


def test_every_kind_of_problem_can_be_built(device):
    for shape in (
        SMALL,
        Shape(90, 132, "float16", 1, 16, (16, 5), 16, 9, 1),
        Shape(90, 132, "float32", 2, 6, (4,), 3, 16, 1),
    ):
        for config in (rule(shape), tune.LIBRARY):
            (call,) = tune.Problem(shape, device, sets=1).calls(config)
            y = call()
            assert (
                y.shape[:2] == (shape.batch, shape.columns) and y.shape[2] * y.shape[3] == shape.pixels * shape.parities
            )


def test_climbs_to_the_fastest_and_keeps_only_gains(monkeypatch, device):
    wanted = Config(16, 16, 16, 4, 2, joined=True, split=1)

    def time_of(calls):
        (config,) = calls[0].args
        distance = abs(config.stages - wanted.stages) + (config.warps != 4) + abs(config.split - wanted.split)
        return 1.0 + distance + 9 * config.library

    class Calls(tune.Problem):
        def calls(self, config):
            return [partial(str, config)]

    monkeypatch.setattr(tune, "median_ms", time_of)
    monkeypatch.setattr(tune, "Problem", Calls)
    said = []
    found = dict(tune.measure([SMALL, SMALL], device, 60, said.append))
    assert list(found) == [SMALL.key] and (found[SMALL.key].stages, found[SMALL.key].split) == (2, 1) and len(said) == 1
    monkeypatch.setattr(tune, "median_ms", lambda calls: 1.0)
    assert list(tune.measure([SMALL], device, 60, said.append)) == []
    assert list(tune.measure([SMALL], device, -1, said.append)) == [] and said[-1] == "out of time"


@pytest.mark.parametrize("error", [OutOfResources(300000, 101376, "shared memory"), RuntimeError("ptxas fatal")])
def test_a_candidate_that_cannot_be_had_is_passed_over(error, monkeypatch, device):
    """Of 226 neighbours 4 were too large, and one of them ended the run."""
    first, tried = rule(SMALL), []

    class Calls(tune.Problem):
        def calls(self, config):
            def call():
                tried.append(config)
                if config not in (first, tune.LIBRARY) and config.stages != 3:
                    raise error

            return [call]

    monkeypatch.setattr(tune, "median_ms", lambda calls: calls[0]() or (0.5 if tried[-1].stages == 3 else 1.0))
    assert first.stages != 3
    _, best, share = tune.climb(SMALL, Calls(SMALL, device, sets=1), time.monotonic() + 60)
    assert best.stages == 3 and share == 0.5 and len(tried) > 4


def test_candidates_fit_the_device_s_own_limit(monkeypatch):
    """What an H100 takes, a GPU of consumers does not."""
    shape = Shape(90, 132, "float16", 1, 4096, (512,), 256, 16, 1)
    large = Config(128, 128, 64, 8, 5)
    assert 101376 < shared_bytes(large, shape) <= 232448
    assert possible(large, shape, 232448) and not possible(large, shape, 101376)
    assert large in neighbours(replace(large, warps=4), shape, 232448)
    assert large not in neighbours(replace(large, warps=4), shape, 101376)
    utils = SimpleNamespace(get_device_properties=lambda index: {"max_shared_mem": 12345 * index})
    monkeypatch.setattr(tune, "driver", SimpleNamespace(active=SimpleNamespace(utils=utils)))
    assert tune.shared_memory(torch.device("cuda", 1)) == 12345


def test_a_run_that_is_stopped_keeps_what_it_had(monkeypatch, tmp_path):
    monkeypatch.setenv("FETFAST_CACHE", str(tmp_path))
    monkeypatch.setattr(tune, "find", lambda device: Gpu(0, "NVIDIA H100", "9.0"))
    monkeypatch.setattr(tune, "modules", lambda plan, place: {})
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    config = Config(16, 16, 16, 4, 3)

    def measure(*_):
        yield "first", config
        raise KeyboardInterrupt

    monkeypatch.setattr(tune, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        tune.tune(SimpleNamespace())
    assert tune.tuned.read("NVIDIA H100")["first"] == config
