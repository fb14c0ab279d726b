"""`make gpu`'s program runs from end to end, in the interpreter at tiny sizes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = Path(__file__).parents[2] / "bench" / "gpu.py"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: make gpu runs the program itself")
def test_dry_run(tmp_path):
    sections = ("stream", "kernels", "networks", "compiled", "tune")
    run = subprocess.run(
        [sys.executable, PROGRAM, "--dry", *sections, "--out", tmp_path], capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stdout + run.stderr
    figures = json.loads((tmp_path / "gpu-dry.json").read_text())
    rows = figures["kernels"] + figures["networks"]
    assert len(figures["kernels"]) >= 10 and len(figures["networks"]) == 2 and all(row["ok"] for row in rows)
    assert all(row["times"]["ours"] and row["times"]["eager"] for row in rows)
    assert all(row["times"]["compiled"] for row in (rows[0], *figures["networks"]))
    (stream,) = figures["stream"]
    assert (
        stream["ok"] and set(stream["frames_s"]) == {"stream", "overlapped", "by the host"} and "frames/s" in run.stdout
    )
    assert figures["machine"]["device"] == "interpreter" and "tuned" in figures
