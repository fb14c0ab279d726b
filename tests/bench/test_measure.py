"""The rows of a suite, and the file that holds them."""

import argparse
import json

import measure


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
