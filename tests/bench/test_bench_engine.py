"""The engine suite: a row for each way, and a backend that is wrong is not timed."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

import bench_engine
import plans

from fetfast.engine import Engine
from fetfast.plan import Plan


@pytest.fixture(scope="module")
def flow() -> dict[str, Engine]:
    family = next(family for family in plans.shipped() if family.name == "flow small")
    assert list(family.ways)[:1] == [plans.BASE] and "openvino fp32" in family.ways
    return {name: way.engine() for name, way in family.ways.items()}


def test_rows(flow):
    rows, wrong = bench_engine.measured("flow small", flow, rounds=1)
    assert not wrong
    steps = {row["way"]: row for row in rows if row["case"] == "flow small, stream step"}
    assert set(steps) == set(flow) and steps[plans.BASE]["ratio"] == 1
    assert steps["openvino fp32"]["error"] <= bench_engine.ROUNDING


def test_a_wrong_backend_is_not_timed(flow, monkeypatch):
    still = lambda inputs: {"fused_points": inputs["target_points"]}  # noqa: E731
    monkeypatch.setitem(flow["openvino fp32"]._runners, "fuse", still)
    rows, wrong = bench_engine.measured("flow small", flow, rounds=1)
    assert rows == [] and len(wrong) == 1 and "openvino fp32" in wrong[0]


@pytest.mark.parametrize("half, int8, over", [(33.1, 19.9, "fp16"), (32.9, 20.1, "int8"), (32.9, 19.9, None)])
def test_bars(half, int8, over):
    times = {"openvino fp16": half, "openvino int8": int8, plans.BASE: 99.0}
    rows = [{"case": "unet small, stream step", "way": way, "median_ms": ms} for way, ms in times.items()]
    rows.append({"case": "unet small, transfer", "way": "openvino fp16", "median_ms": 99.0})
    missed = bench_engine.missed(rows)
    assert len(missed) == (over is not None) and all(over in line for line in missed)


def test_halves_become_another_precision_and_floats_stay():
    plan = Plan.open("unet_fp16")
    f32, bf16 = plans.at(plan, "fp32"), plans.at(plan, "bf16")
    assert {w.dtype.name for w in f32.weights.values()} == {"float32"}
    assert {w.dtype.name for w in bf16.weights.values()} == {"float32", "bfloat16"}
    assert all(np.array_equal(f32.weights[name], w.astype(np.float32)) for name, w in plan.weights.items())


def test_an_int8_plan_is_compared_with_its_familys_floats(tmp_path, monkeypatch):
    names = ("flow_fp32", "unet_fp16", "unet_int8")
    made = {
        name: SimpleNamespace(precision=name[-4:], path=name, spec=SimpleNamespace(family=name[:4], size="small"))
        for name in names
    }
    for name in names:
        (tmp_path / f"{name}.plan").touch()
    monkeypatch.setattr(plans, "SHIPPED", tmp_path)
    monkeypatch.setattr(plans.Plan, "open", lambda path: made[path.stem])
    monkeypatch.setattr(plans.backends, "examine", lambda plan: {"triton": "no GPU", "openvino": None, "eager": "int8"})
    flow, unet = plans.shipped()
    assert list(flow.ways) == [plans.BASE, "openvino fp32"]
    assert unet.ways == {
        plans.BASE: ("unet_fp16", "fp32", "eager"),
        plans.EAGER: ("unet_fp16", "bf16", "eager"),
        "openvino fp16": ("unet_fp16", "fp16", "openvino"),
        "openvino int8": ("unet_int8", "int8", "openvino"),
    }
    assert set(unet.skipped) == {"triton fp16", "triton int8"}
