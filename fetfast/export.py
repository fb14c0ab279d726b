"""A plan for other runtimes: ONNX files, raw TensorRT engines, a model repository for NVIDIA Triton Inference Server.

What stands between the stages (crops, maps, flows) is not in these files: `fetfast.inputs` and `fetfast.ops` say what
it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fetfast.backends import trt_build
from fetfast.backends.gpu import gpus
from fetfast.errors import BadInput
from fetfast.files import written
from fetfast.plan import Plan
from fetfast.spec import Spec, Stage, TensorSpec

PLATFORMS = {"onnx": ("onnxruntime_onnx", "model.onnx"), "tensorrt": ("tensorrt_plan", "model.plan")}


def onnx(plan: Plan, path: Path) -> list[Path]:
    """Write each stage as an ONNX model: to `path`, or beside it with the stage's name where there are several."""
    return _write_stages(plan, path, lambda stage: plan.onnx(stage.name))


def builder(precision: str, capability: str | None = None, server: bool = False) -> tuple[trt_build.Library, str]:
    """The TensorRT that builds engines here, and what it builds them for: this GPU, or a compute capability by name.

    server: one whose engines NVIDIA Triton Inference Server runs, which those of TensorRT for RTX are not.
    Raises BadInput, and Unavailable where no TensorRT can build it here; call it before anything is written.
    """
    libraries = [trt_build.LIBRARIES["tensorrt"]] if server else trt_build.LIBRARIES.values()
    return trt_build.choose(precision, next(iter(gpus()), None), capability, libraries)


def engines(plan: Plan, path: Path, capability: str | None = None) -> list[Path]:
    """Write each stage as a raw TensorRT engine, named as `onnx` does: for this GPU, or for a compute capability.

    Raises as `builder`.
    """
    library, built_for = builder(plan.precision, capability)
    return _write_stages(plan, path, lambda stage: trt_build.fetch(library, plan, stage, built_for))


def fill_cache(plan: Plan, capability: str | None = None) -> str:
    """Build each stage's engine into the cache; returns what for. Raises as `builder`."""
    library, built_for = builder(plan.precision, capability)
    for stage in plan.spec.stages:
        trt_build.fetch(library, plan, stage, built_for)
    return f"{library.title}, {built_for}"


def model_repository(plan: Plan, folder: Path, platform: str = "onnx") -> list[Path]:
    """Write a model repository for NVIDIA Triton Inference Server: a model for each stage, named <plan>_<stage>.

    Where every stage feeds the next directly, an ensemble named <plan> joins them. platform: "onnx", or "tensorrt":
    engines of the full TensorRT for this GPU. Raises as `builder`.
    """
    kind, file = PLATFORMS[platform]
    if platform == "tensorrt":
        library, built_for = builder(plan.precision, server=True)
    made = []
    for stage in plan.spec.stages:
        model = folder / f"{plan.name}_{stage.name}"
        (model / "1").mkdir(parents=True, exist_ok=True)
        if platform == "tensorrt":
            content = trt_build.fetch(library, plan, stage, built_for)
        else:
            content = plan.onnx(stage.name)
        _write(model / "1" / file, content)
        _write(model / "config.pbtxt", _config(model.name, kind, stage.inputs, stage.outputs).encode())
        made.append(model)
    if is_chain(plan.spec):
        ensemble = folder / plan.name
        (ensemble / "1").mkdir(parents=True, exist_ok=True)  # the server wants a version, though nothing is in it
        _write(ensemble / "config.pbtxt", _ensemble(plan).encode())
        made.append(ensemble)
    return made


def is_chain(spec: Spec) -> bool:
    """Whether the stages feed each other directly: there are several, and each takes all that the one before gives."""
    pairs = list(zip(spec.stages, spec.stages[1:], strict=False))
    return bool(pairs) and all(_names(a.outputs) <= _names(b.inputs) for a, b in pairs)


def _write_stages(plan: Plan, path: Path, content: Callable[[Stage], Any]) -> list[Path]:
    if not path.parent.is_dir():
        raise BadInput(f"{path.parent} is no folder; make it first")
    made = []
    for stage in plan.spec.stages:
        several = len(plan.spec.stages) > 1
        file = path.with_name(f"{path.stem}.{stage.name}{path.suffix}") if several else path
        _write(file, content(stage))
        made.append(file)
    return made


def _write(path: Path, content: bytes) -> None:
    with written(path) as file:
        file.write_bytes(content)


def _names(tensors: Iterable[TensorSpec]) -> set[str]:
    return {tensor.name for tensor in tensors}


def _config(name: str, platform: str, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]) -> str:
    """A ModelConfig in text form. The batch is not in `dims`; the server batches what comes in at the same time."""
    batching = "" if platform == "ensemble" else "dynamic_batching { }\n"
    return (
        f'name: "{name}"\nplatform: "{platform}"\nmax_batch_size: {trt_build.BATCHES[-1]}\n'
        f"{_tensors('input', inputs)}{_tensors('output', outputs)}{batching}"
    )


def _tensors(side: str, tensors: Iterable[TensorSpec]) -> str:
    return "".join(
        f'{side} {{ name: "{t.name}" data_type: TYPE_FP32 dims: [ {", ".join(map(str, t.shape))} ] }}\n'
        for t in tensors
    )


def _ensemble(plan: Plan) -> str:
    given: set[str] = set()
    inputs: dict[str, TensorSpec] = {}
    steps = []
    for stage in plan.spec.stages:
        inputs |= {t.name: t for t in stage.inputs if t.name not in given}
        given |= _names(stage.outputs)
        maps = [
            f'    {side}_map {{ key: "{t.name}" value: "{t.name}" }}\n'
            for side, tensors in (("input", stage.inputs), ("output", stage.outputs))
            for t in tensors
        ]
        steps.append(
            f'  step {{\n    model_name: "{plan.name}_{stage.name}"\n    model_version: -1\n{"".join(maps)}  }}\n'
        )
    outputs = plan.spec.stages[-1].outputs
    return _config(plan.name, "ensemble", inputs.values(), outputs) + f"ensemble_scheduling {{\n{''.join(steps)}}}\n"
