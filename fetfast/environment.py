"""Where things run: what a figure needs beside it, and `fetfast doctor`: what this machine can run, and why not."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from fetfast import __version__, assets, backends
from fetfast.backends import cache, gpu
from fetfast.errors import FetfastError
from fetfast.plan import Plan

ROOT = Path(__file__).parents[1]
CODE = ("fetfast", "kernels", "csrc")  # what figures depend on: a change elsewhere does not make them dirty
PACKAGES = ("numpy", "onnx", "safetensors", "pillow", "onnxruntime", "av", "opencv-python-headless")  # and backends'


def machine() -> dict[str, Any]:
    """What stands beside figures: class ("cpu-2", or a GPU's short name: figures of one class are compared), device,
    cores, threads, versions, commit and time."""
    names = [found.name for found in gpu.gpus()]
    return {
        "class": short(names[0]) if names else f"cpu-{threads()}",
        "device": names[0] if names else processor(),
        "cores": os.cpu_count(),
        "threads": threads(),
        "versions": {"python": platform.python_version()} | {name: v for name, v in versions().items() if v},
        "commit": commit(),
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def threads() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    info = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.+)", info.read_text()) if info.exists() else []
    return models[0] if models else platform.processor() or platform.machine()


def short(name: str) -> str:
    """ "NVIDIA H100 80GB HBM3" -> "h100"."""
    number = re.search(r"\b[a-z]*\d+\w*", name.lower())
    return number[0] if number else name.lower().replace(" ", "-")


def versions() -> dict[str, str | None]:
    """Of each package that matters here, None where it is not installed."""
    found: dict[str, str | None] = {}
    for name in (*PACKAGES, *backends.declared("PACKAGES")):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def commit() -> str:
    """The checkout's commit, with "-dirty" where its code was changed; the release where there is no checkout; and
    "unknown" where git does not say. FETFAST_COMMIT overrides it: for a checkout without its history."""
    if given := os.environ.get("FETFAST_COMMIT"):
        return given
    if not (ROOT / ".git").exists():
        return __version__

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)

    try:
        asked = git("rev-parse", "--short", "HEAD")
        changed = git("diff", "--quiet", "HEAD", "--", *CODE).returncode
    except OSError:  # no git here
        return "unknown"
    return "unknown" if asked.returncode else asked.stdout.strip() + ("-dirty" if changed else "")


def examine() -> dict[str, Any]:
    """Looks at the machine; nothing raises. Keys: fetfast, python, machine, driver, gpus, packages, assets,
    cache, plan, backends (name to None or the reason why not), self_test."""
    plan = Plan.open(Plan.best())
    return {
        "fetfast": __version__,
        "python": platform.python_version(),
        "machine": {"system": platform.platform(), "cpu": processor(), "cores": os.cpu_count()},
        "driver": gpu.driver_version(),
        "gpus": [asdict(found) for found in gpu.gpus()],
        "packages": versions(),
        "assets": {name: str(found) if found else None for name, found in assets.cached().items()},
        "cache": {
            "folder": str(assets.cache_folder()),
            "bytes": sum(file.stat().st_size for file in assets.cache_folder().rglob("*") if file.is_file()),
            "compiled": {kind: _compiled(kind) for kind in backends.declared("CACHES")},
        },
        "plan": plan.name,
        "backends": backends.examine(plan),
        "self_test": _self_test(plan),
    }


def describe(findings: dict[str, Any]) -> str:
    """The findings as lines for a person."""
    machine, kept, test = findings["machine"], findings["cache"], findings["self_test"]
    installed = [f"{name} {version}" for name, version in findings["packages"].items() if version]
    absent = [name for name, version in findings["packages"].items() if not version]
    lines = [
        f"fetfast    {findings['fetfast']} on Python {findings['python']}, {machine['system']}",
        f"processor  {machine['cpu']}, {machine['cores']} cores",
        f"driver     {'CUDA ' + findings['driver'] if findings['driver'] else 'no NVIDIA driver'}",
        *(f"GPU {g['index']}      {g['name']}, compute capability {g['capability']}" for g in findings["gpus"]),
        f"installed  {', '.join(installed)}",
        f"absent     {', '.join(absent) or 'nothing'}",
        f"cache      {kept['folder']}, {kept['bytes'] / 2**20:.1f} MiB",
        *(
            f"compiled   {kind}: {found['files']} files, {found['bytes'] / 2**20:.1f} MiB"
            for kind, found in kept["compiled"].items()
            if found["files"]
        ),
        *(f"asset      {name}: {where or 'fetched on first use'}" for name, where in findings["assets"].items()),
        f"plan       {findings['plan']}",
        *(f"backend    {name}: {why or 'ready'}" for name, why in findings["backends"].items()),
        f"self-test  {test['message']}",
    ]
    return "\n".join(lines)


def _self_test(plan: Plan) -> dict[str, Any]:
    """Runs the best plan's stages on zeros by the backend that `auto` takes: are results finite and well shaped?"""
    start = time.perf_counter()
    try:
        name, _ = backends.choose(plan, "auto", None)
        runners = backends.load(name, plan, None)
        for stage in plan.spec.stages:
            out = runners[stage.name]({i.name: np.zeros((1, *i.shape), np.float32) for i in stage.inputs})
            for o in stage.outputs:
                if out[o.name].shape != (1, *o.shape) or not np.isfinite(out[o.name]).all():
                    return {"ok": False, "message": f"{name}: stage {stage.name} gave a wrong {o.name}"}
    except FetfastError as error:
        return {"ok": False, "message": str(error)}
    return {"ok": True, "message": f"{plan.name} runs on {name} ({time.perf_counter() - start:.2f} s)"}


def _compiled(kind: str) -> dict[str, int]:
    entries = [entry for entry in cache.entries() if entry.kind == kind]
    return {"files": len(entries), "bytes": sum(entry.size for entry in entries)}
