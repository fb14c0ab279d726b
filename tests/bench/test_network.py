"""The network suite: runs from end to end, times nothing that is wrong, and holds the bars."""

import json

import bench_network
import pytest
from measure import Timing
from plans import BASE
from ways import ORT

from fetfast.models import FAMILIES, family

FLOW = "flow small 128 fuse"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FETFAST_CACHE", str(tmp_path / "cache"))


def test_a_quick_run_from_end_to_end(tmp_path, monkeypatch, capsys):
    ways = [BASE, "eager bf16", ORT, "openvino fp16", "triton fp16"]  # bf16: what ours may be off by is measured by it
    monkeypatch.setattr(bench_network, "WAYS", ways)
    monkeypatch.setattr("sys.argv", ["bench_network", "--quick", "--out", str(tmp_path / "network.json")])
    assert bench_network.main() == 0, capsys.readouterr().out
    rows = json.loads((tmp_path / "network.json").read_text())["rows"]
    found = {(row["case"], row["way"]): row for row in rows}
    ours = found["default plan", "openvino fp16"]
    assert ours["ratio"] > 0 and 0 < ours["error"] < 0.1 and ours["threads"] >= 1
    assert found["default plan", BASE]["ratio"] == 1 and found[FLOW, BASE]["error"] < 1e-5
    assert "median_ms" in found["default plan", "triton fp16"] or "skipped" in found["default plan", "triton fp16"]
    assert (FLOW, "openvino fp16") not in found, "it computes points: f32 at every precision"


def test_every_stage_of_every_family_and_size_is_a_case():
    cases = bench_network.cases()
    for name in FAMILIES:
        for size, spec in family(name).SPECS.items():
            for stage in spec.stages:
                sizes = family(name).SPECS if stage.precise else (size,)
                assert any(f"{name} {s} {spec.resolution} {stage.name}" in cases for s in sizes)
    assert {bench_network.DEFAULT, bench_network.SMALL, bench_network.PAPER} <= set(cases)


def test_the_default_plans_u_net_has_its_own_weights():
    plan, case = bench_network.default(), bench_network.cases()[bench_network.SMALL]()
    (stage,) = case.spec.stages
    ours, theirs = (dict(modules[stage.name].named_parameters()) for modules in (case.modules, plan.modules))
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_what_is_wrong_is_a_failure_and_is_not_timed(monkeypatch):
    right = bench_network.call

    def call(case, way, inputs):
        run = right(case, way, inputs)
        off = 1e-4 if way == ORT else 0
        return lambda: {stage: {key: x * (1 + off) for key, x in given.items()} for stage, given in run().items()}

    monkeypatch.setattr(bench_network, "call", call)
    rows, timings = bench_network.measured(FLOW, [BASE, ORT, "openvino fp32"], rounds=3)
    assert list(timings) == [BASE, "openvino fp32"]
    assert [row["way"] for row in rows if "wrong" in row] == [ORT]


def test_bars():
    def timings(**times):
        return {way.replace("_", " "): Timing.of([ms] * 3) for way, ms in times.items()}

    shipped = timings(eager_fp32=5.0, onnxruntime_fp32=3.0, openvino_fp16=2.0)
    small = timings(eager_fp32=5.0, openvino_bf16=2.0, openvino_int8=1.0)
    paper = timings(eager_fp32=100.0, openvino_fp32=80.0, openvino_bf16=25.0, openvino_fp16=40.0)
    found = bench_network.bars({bench_network.DEFAULT: shipped, bench_network.SMALL: small, bench_network.PAPER: paper})
    assert [(gain, bar) for _, gain, bar in found] == [(2.5, 1.7), (1.5, 1.0), (4.0, 2.3), (2.0, 1.8), (None, 1.8)]
    assert "openvino bf16" in found[2][0], "the best precision is named"


def test_a_reason_for_all_precisions_is_said_once():
    about = {f"triton {p}": {"skipped": "no GPU"} for p in ("fp32", "fp16")} | {"openvino fp32": {"error": 0.0}}
    assert bench_network.skipped(about) == {"triton fp32 fp16": {"skipped": "no GPU"}}
