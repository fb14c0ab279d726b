"""`fetfast doctor`: what this machine can run, what it cannot, and why."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fetfast import __version__, assets, backends
from fetfast.backends import cache, gpu
from fetfast.errors import FetfastError
from fetfast.machine import processor
from fetfast.plan import Plan

PACKAGES = ("numpy", "openvino", "onnx", "safetensors", "pillow", "torch", "triton", "cupy-cuda13x", "tensorrt",
            "tensorrt-rtx-cu13", "av", "opencv-python-headless")  # fmt: skip


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
        "packages": {name: _version(name) for name in PACKAGES},
        "assets": {name: str(found) if found else None for name, found in assets.cached().items()},
        "cache": {
            "folder": str(assets.cache_folder()),
            "bytes": _size(assets.cache_folder()),
            "compiled": {kind: _compiled(kind) for kind in cache.KINDS},
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


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
