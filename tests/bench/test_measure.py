"""Timing in turns, ratios within rounds, and the file that holds them."""

import argparse
import json
import time

import measure
import pytest

from fetfast import machine


def test_ways_take_turns_in_an_order_that_rotates():
    called = []
    ways = {name: lambda name=name: called.append(name) for name in "abc"}
    timings = measure.interleaved(ways, rounds=3, warm_up=1)
    assert "".join(called) == "abc" + "abc" + "bca" + "cab"
    assert all(len(timings[name].rounds) == 3 for name in "abc")


def test_a_way_settles_before_it_is_timed():
    called = []
    ways = {name: lambda name=name: called.append(name) for name in "ab"}
    timings = measure.interleaved(ways, rounds=2, warm_up=0, settle=1)
    assert "".join(called) == "aabb" + "bbaa" and len(timings["a"].rounds) == 2


def test_a_call_is_timed_in_milliseconds():
    timing = measure.interleaved({"sleep": lambda: time.sleep(0.004)}, rounds=5, warm_up=0)["sleep"]
    assert 4 <= timing.median <= timing.p95 and min(timing.rounds) >= 4


def test_no_new_round_when_the_time_is_over():
    timings = measure.interleaved({"sleep": lambda: time.sleep(0.01)}, rounds=1000, warm_up=0, seconds=0.02)
    assert 3 <= len(timings["sleep"].rounds) < 10
    slow = []
    timings = measure.interleaved({"slow": lambda: slow.append(time.sleep(0.01))}, seconds=0)
    assert len(timings["slow"].rounds) == 3 and len(slow) == 4, "one to warm up, three to time"


def test_a_ratio_is_taken_within_the_round():
    """The machine becomes ten times slower half way: the ratio of medians would say 1.1, each round says 2."""
    slow = [10.0] * 5 + [100.0] * 5
    timings = {"base": measure.Timing.of(slow), "way": measure.Timing.of([t / 2 for t in slow])}
    timings["late"] = measure.Timing.of([5.0, 5.0] + [t / 2 for t in slow[2:]])
    assert measure.ratio(timings, "way", "base") == measure.ratio(timings, "late", "base") == 2
    assert timings["base"].median == 55 and timings["base"].iqr == 90


def test_a_file_holds_the_rows_and_the_machine(tmp_path, capsys):
    timings = {"eager fp32": measure.Timing.of([2.0, 2.0]), "ours": measure.Timing.of([1.0, 0.5])}
    rows = measure.compare("unet", timings, "eager fp32", {"ours": {"error": 1e-3}}, threads=2)
    rows.append(measure.row("unet", "tensorrt", None, skipped="no GPU"))
    options = argparse.Namespace(quick=True, out=tmp_path / "deep" / "file.json")
    assert measure.finish("network", rows, [], options) == 0
    saved = json.loads(options.out.read_text())
    assert saved["suite"] == "network" and saved["rows"] == rows
    assert rows[0]["ratio"] == 1 and rows[1] == {
        "case": "unet", "way": "ours", "median_ms": 0.75, "p95_ms": 0.975, "iqr_ms": 0.25,
        "ratio": 3.0, "error": 1e-3, "threads": 2,
    }  # fmt: skip
    assert {"class", "device", "cores", "threads", "versions", "commit", "time"} <= set(saved["machine"])
    printed = capsys.readouterr().out
    assert "eager fp32" in printed and "no GPU" in printed


def test_a_missed_bar_is_the_exit_status(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    options = argparse.Namespace(quick=True, out=None)
    assert measure.finish("network", [], ["1.6 x, bar 1.7 x"], options) == 1
    assert "MISSED: 1.6 x" in capsys.readouterr().out
    assert not list(tmp_path.iterdir()), "a quick run replaced figures of the record"


@pytest.mark.parametrize(
    "name, short",
    [("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA GeForce RTX 4090", "4090"), ("NVIDIA A100-SXM4-40GB", "a100")],
)
def test_a_class_is_the_gpus_short_name(name, short):
    assert machine._short(name) == short
