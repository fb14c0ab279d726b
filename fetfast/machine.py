"""What a figure needs beside it: where, with what and when it was measured."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fetfast import __version__
from fetfast.backends.gpu import gpus

ROOT = Path(__file__).parents[1]
CODE = ("fetfast", "kernels", "csrc")  # what figures depend on: a change elsewhere does not make them dirty
PACKAGES = {"numpy": "numpy", "torch": "torch", "openvino": "openvino", "onnxruntime": "onnxruntime",
            "triton": "triton", "tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx-cu13"}  # fmt: skip


def machine() -> dict[str, Any]:
    """class ("cpu-2", or a GPU's short name: figures of one class are compared), device, cores, threads, versions,
    commit and time."""
    names = [gpu.name for gpu in gpus()]
    return {
        "class": _short(names[0]) if names else f"cpu-{threads()}",
        "device": names[0] if names else processor(),
        "cores": os.cpu_count(),
        "threads": threads(),
        "versions": {"python": platform.python_version()} | _versions(),
        "commit": _commit(),
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def threads() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    info = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.+)", info.read_text()) if info.exists() else []
    return models[0] if models else platform.processor() or platform.machine()


def _short(name: str) -> str:
    """ "NVIDIA H100 80GB HBM3" -> "h100"."""
    number = re.search(r"\b[a-z]*\d+\w*", name.lower())
    return number[0] if number else name.lower().replace(" ", "-")


def _versions() -> dict[str, str]:
    found = {}
    for name, package in PACKAGES.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    """The checkout's commit, or the release where there is none. FETFAST_COMMIT: for a checkout without its history."""
    if given := os.environ.get("FETFAST_COMMIT"):
        return given
    if not (ROOT / ".git").exists():
        return __version__

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)

    try:
        commit = git("rev-parse", "--short", "HEAD").stdout.strip()
        changed = git("diff", "--quiet", "HEAD", "--", *CODE).returncode
    except FileNotFoundError:  # no git here
        return __version__
    return commit + ("-dirty" if changed else "")
