"""Kernels compiled for GPUs that are not here: they fit and do not spill. In a process of its own, which compiles."""

import os
import subprocess
import sys
from pathlib import Path


def test_compiled_ahead_of_time_for_every_architecture():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    program = Path(__file__).with_name("aot.py")
    run = subprocess.run([sys.executable, program], capture_output=True, text=True, env=environment, timeout=600)
    assert run.returncode == 0, run.stdout + run.stderr
    assert all(f"sm_{capability}" in run.stdout for capability in (80, 86, 89, 90, 100, 120))
