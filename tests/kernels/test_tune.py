"""Tuning, on shapes so small that the interpreter can run them: what is tried works, and what is found is kept."""

from functools import partial

import torch
from fetfast.kernels.configs import Config, Shape, rule

from fetfast import tune
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
    found = tune.measure([SMALL, SMALL], device, 60, said.append)
    assert list(found) == [SMALL.key] and (found[SMALL.key].stages, found[SMALL.key].split) == (2, 1) and len(said) == 1
    monkeypatch.setattr(tune, "median_ms", lambda calls: 1.0)
    assert tune.measure([SMALL], device, 60, said.append) == {}
    assert tune.measure([SMALL], device, -1, said.append) == {} and said[-1] == "out of time"
