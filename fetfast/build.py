"""From a family's modules to a plan: each stage at the wanted precision as an ONNX graph, its weights taken out."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fetfast.errors import BadInput, Unavailable

if missing := [package for package in ("torch", "onnxscript") if find_spec(package) is None]:
    raise Unavailable(f"making a plan needs {' and '.join(missing)}; pip install {' '.join(missing)}")

import torch
import torch.nn as nn
from torch import Tensor

from fetfast.models import FAMILIES, family
from fetfast.models.layers import cast, kept_f32
from fetfast.plan import KEY, Plan
from fetfast.quantize import Samples, quantize, random_samples
from fetfast.spec import PRECISIONS, Spec, Stage

ABOUT = ("provenance", "metrics")
TORCH_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.float32}


def build(
    name: str,
    size: str = "small",
    precision: str = "fp16",
    weights: Path | None = None,
    seed: int = 0,
    samples: Mapping[str, Samples] | None = None,
) -> Plan:
    """The plan of the family `name` in a size row, with the weights of a .safetensors file.

    weights: tensors named "<stage>.<parameter>", of any float type; under the metadata key "fetfast" it may carry
    JSON with "provenance" and "metrics", which go into the plan. None draws them at random from `seed`, and the
    plan's header says so.
    samples: see `plan_of`; noise for random weights.
    Raises BadInput, and Unavailable where int8 is asked for without NNCF.
    """
    spec, modules, about = networks(name, size, weights, seed)
    if weights is None:
        samples = samples or random_samples(spec)
        return plan_of(spec, modules, precision, samples=samples, provenance={"seed": seed}, random_weights=True)
    return plan_of(spec, modules, precision, samples=samples, **{key: about.get(key, {}) for key in ABOUT})


def networks(
    name: str, size: str, weights: Path | None = None, seed: int = 0
) -> tuple[Spec, dict[str, nn.Module], dict[str, Any]]:
    """A family's spec in a size row, its networks by stage, and what the file of weights says of them: see `build`.

    Raises BadInput.
    """
    if name not in FAMILIES:
        raise BadInput(f"build(): family is {name!r}, expected one of {', '.join(FAMILIES)}")
    rows = family(name).SPECS
    if size not in rows:
        raise BadInput(f"build(): size is {size!r}, expected one of {', '.join(rows)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules: dict[str, nn.Module] = family(name).build(rows[size])
    return rows[size], modules, _load(modules, weights) if weights else {}


def plan_of(
    spec: Spec,
    modules: Mapping[str, nn.Module],  # stage name -> module with f32 parameters; left as it is
    precision: str,
    *,
    samples: Mapping[str, Samples] | None = None,  # stage name -> inputs, what int8 is calibrated on
    provenance: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    random_weights: bool = False,
) -> Plan:
    """The plan of these modules at `precision`. A precise stage stays f32. Raises BadInput, Unavailable."""
    if precision not in PRECISIONS:
        raise BadInput(f"plan_of(): precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    given = samples or {}
    lacking = [stage.name for stage in spec.stages if not stage.precise and stage.name not in given]
    if precision == "int8" and lacking:
        raise BadInput(f"plan_of(): int8 needs samples of stage {lacking[0]}; give training pairs (--data)")
    weights: dict[str, np.ndarray] = {}
    graphs: dict[str, bytes] = {}
    for stage in spec.stages:
        dtype = torch.float32 if stage.precise else TORCH_DTYPES[precision]
        module = cast(deepcopy(modules[stage.name]).cpu().eval(), dtype)
        floats = {key: tensor for key, tensor in module.state_dict().items() if tensor.is_floating_point()}
        graph, held = _graph(module, stage), {key: _numpy(tensor) for key, tensor in floats.items()}
        if precision == "int8" and not stage.precise:
            graph, held = quantize(graph, held, given[stage.name], kept_f32(module))
        weights |= {f"{stage.name}.{key}": weight for key, weight in held.items()}
        graphs[stage.name] = graph
    return Plan(spec, precision, weights, graphs, provenance or {}, metrics or {}, random_weights)


class _ByPosition(nn.Module):
    """The exporter names inputs and outputs by position; the spec gives the order."""

    def __init__(self, net: nn.Module, stage: Stage):
        super().__init__()
        self.net = net
        self.inputs = [tensor.name for tensor in stage.inputs]
        self.outputs = [tensor.name for tensor in stage.outputs]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        results = self.net(**dict(zip(self.inputs, tensors, strict=True)))
        return tuple(results[name] for name in self.outputs)


def _graph(module: nn.Module, stage: Stage) -> bytes:
    """The ONNX model of `module` without its weights, whose types and shapes stay behind as `value_info`.

    The exporter's optimizer sees the weights as inputs of the graph. Of what it does not know it folds nothing into
    constants (the zeros of a new head, a batch norm, the sum of squares that demodulates a modulated convolution) and
    merges nothing (the equal weights of two norms): the graph is the same for any values.
    """
    from onnx.helper import make_tensor_value_info

    program = _exported(module, stage)
    state = {f"net.{name}": tensor for name, tensor in module.state_dict().items()}
    given = program.model.graph
    for name in state:
        if name in given.initializers:
            value = given.initializers.pop(name)
            value.const_value = None  # else a bias of zeros goes all the same
            given.inputs.append(value)
    program.optimize()
    model = program.model_proto
    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    unfit = sorted(name for name, tensor in state.items() if tensor.is_floating_point() != (name in read))
    if unfit:
        raise BadInput(f"plan_of(): stage {stage.name} does not read, or reads as whole numbers, {unfit}; a stage's "
                       "weights are those that its forward uses, each of a float type")  # fmt: skip
    weights = [value for value in graph.input if value.name in read.intersection(state)]
    declared = [
        make_tensor_value_info(w.name.removeprefix("net."), w.type.tensor_type.elem_type, state[w.name].shape)
        for w in weights
    ]
    for node in graph.node:
        names = [name.removeprefix("net.") if name in state else name for name in node.input]
        del node.input[:], node.metadata_props[:]
        node.input.extend(names)
        node.ClearField("doc_string")
    del graph.input[len(stage.inputs) :], graph.value_info[:], graph.metadata_props[:], model.metadata_props[:]
    graph.value_info.extend(declared)
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]
    return model.SerializeToString(deterministic=True)


def _exported(module: nn.Module, stage: Stage) -> Any:
    """PyTorch's ONNXProgram of `module`, for any batch, not optimized."""
    wrapped = _ByPosition(module, stage)
    samples = tuple(torch.zeros(2, *tensor.shape) for tensor in stage.inputs)
    batch = torch.export.Dim("batch")
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            wrapped.eval(),
            samples,
            input_names=wrapped.inputs,
            output_names=wrapped.outputs,
            dynamic_shapes=(tuple({0: batch} for _ in samples),),
            dynamo=True,
            optimize=False,
            verbose=False,
            external_data=False,
        )
    log.setLevel(level)
    return program


def _load(modules: Mapping[str, nn.Module], path: Path) -> dict[str, Any]:
    """Put the weights of a .safetensors file into the modules; returns what the file says of them."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            about = json.loads((file.metadata() or {}).get(KEY, "{}"))
            json.dumps(about, allow_nan=False)
    except (OSError, ValueError, SafetensorError) as error:
        raise BadInput(f"build(): {path} cannot be read as safetensors ({error})") from error
    if not isinstance(about, dict) or not all(isinstance(about.get(key, {}), dict) for key in ABOUT):
        raise BadInput(f"build(): {path} must say {' and '.join(ABOUT)} as JSON objects under the key {KEY!r}")
    wanted = {f"{stage}.{key}": t for stage, m in modules.items() for key, t in m.state_dict().items()}
    off = sorted(
        name
        for name in wanted.keys() | tensors
        if name not in wanted or name not in tensors or wanted[name].shape != tensors[name].shape
    )
    if off:
        raise BadInput(f"build(): {path} misses, or has beyond the family's or in another shape: {', '.join(off[:4])}")
    for name, tensor in tensors.items():
        wanted[name].copy_(tensor)
    return about


def _numpy(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        import ml_dtypes

        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()
