"""The memory suite: a process's peak is its own and counts what was given back, and a device without memory is null."""

import json
import subprocess
import sys

import bench_memory
import plans
import pytest

from fetfast.plan import SHIPPED

CODE = """
import bench_memory
before = bench_memory.peak_mb()
bytearray(100 << 20)[::4096] = b"x" * 25600
print(bench_memory.peak_mb() - before)
"""


def test_the_peak_counts_what_was_given_back():
    folder = bench_memory.__file__.rpartition("/")[0]
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, cwd=folder)
    assert float(done.stdout) == pytest.approx(100, abs=5)


def test_an_engine_in_a_process_of_its_own():
    way = plans.Way(str(SHIPPED / "flow_fp32.plan"), "fp32", "openvino")
    figures = bench_memory.held(way, 4)
    assert 50 < figures["peak_mb"] < 500
    if bench_memory.on_device() is None:
        assert figures["device_mb"] is None and figures["allocated_mb"] is None


def test_ratios_are_to_the_base(monkeypatch):
    peaks = {"fp32": 400.0, "fp16": 100.0}
    monkeypatch.setattr(bench_memory, "held", lambda way, batch: {"peak_mb": batch * peaks[way.precision]})
    ways = {plans.BASE: plans.Way("", "fp32", "eager"), "openvino fp16": plans.Way("", "fp16", "openvino")}
    rows = bench_memory.measured(plans.Family("unet small", ways, {}), (1, 8))
    assert [(row["case"], row["ratio"], row["batch"]) for row in rows if row["way"] != plans.BASE] == [
        ("unet small, batch 1", 4.0, 1), ("unet small, batch 8", 4.0, 8),
    ]  # fmt: skip
    assert json.dumps(rows)
