"""The ways to run a network: each backend at each precision, and what one would use without us.

Each takes the same NumPy arrays by name at batch 1 and gives NumPy arrays back, on the same number of threads.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import cases
import measure
import numpy as np
import torch
from torch import nn

from fetfast import build
from fetfast.backends import BACKENDS
from fetfast.errors import Unavailable
from fetfast.models.layers import cast
from fetfast.plan import Plan
from fetfast.spec import Spec, Stage

Arrays = dict[str, np.ndarray]
Net = Callable[[Arrays], Arrays]  # a stage
Call = Callable[[], dict[str, Arrays]]  # a case on its inputs: stage name -> outputs

PLACE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FLOATS = ("fp32", "bf16", "fp16")
OURS = [f"{backend} {precision}" for backend in BACKENDS if backend != "eager" for precision in (*FLOATS, "int8")]
ORT = "onnxruntime fp32"
CALIBRATED_ON = 4  # inputs like those that are timed, for int8: another range costs four times the error
WAYS = [*(f"{what} {precision}" for what in ("eager", "torch.compile") for precision in FLOATS), ORT, *OURS]


@dataclass(frozen=True, eq=False)
class Case:
    spec: Spec  # with the stages that are run, and no other
    modules: Mapping[str, nn.Module]  # stage name -> f32, on the CPU
    shipped: Plan | None = None  # is the plan of its precision

    @property
    def precise(self) -> bool:
        """Whether it is f32 at every precision."""
        return all(stage.precise for stage in self.spec.stages)


def inputs_of(spec: Spec, batch: int = 1) -> dict[str, Arrays]:
    """Stage name -> its inputs, in the range that their names promise: points, maps and pictures; flow in tenths."""
    rng = np.random.default_rng(0)
    scale = {"first_flow": np.float32(0.1)}
    return {
        stage.name: {t.name: scale.get(t.name, 1) * rng.random((batch, *t.shape), np.float32) for t in stage.inputs}
        for stage in spec.stages
    }


def call(case: Case, way: str, inputs: dict[str, Arrays]) -> Call:
    """All the case's stages, one after the other. Raises FetfastError where that cannot be here."""
    what, precision = way.split()
    if what in ("eager", "torch.compile"):
        if precision == "fp16" and PLACE.type == "cpu":
            raise Unavailable("PyTorch's fp16 is software on a processor, a hundred times slower than all else")
        nets = {stage.name: _pytorch(case, stage, precision, what) for stage in case.spec.stages}
        inputs = {stage: {key: _channels_last(x) for key, x in given.items()} for stage, given in inputs.items()}
    elif what == "onnxruntime":
        nets = {stage.name: _onnxruntime(case, stage, precision) for stage in case.spec.stages}
    else:
        nets = _backend(case, what, precision)
    return lambda: {stage: net(inputs[stage]) for stage, net in nets.items()}


def exact(case: Case, inputs: dict[str, Arrays]) -> dict[str, Arrays]:
    """In f64 throughout: also what the modules hold to f32."""
    results = {}
    with patch.object(torch.Tensor, "float", torch.Tensor.double), torch.inference_mode():
        for stage, module in case.modules.items():
            given = {key: torch.from_numpy(x).double() for key, x in inputs[stage].items()}
            results[stage] = {key: x.numpy() for key, x in deepcopy(module).double()(**given).items()}
    return results


def error(got: dict[str, Arrays], truth: dict[str, Arrays]) -> float:
    """The largest of the outputs' rms errors, as a share of that output."""
    return max(
        cases.error(got[stage][key], value) for stage, outputs in truth.items() for key, value in outputs.items()
    )


@lru_cache(maxsize=4)  # several backends want the same ones
def plan_of(case: Case, precision: str) -> Plan:
    if case.shipped is not None and case.shipped.precision == precision:
        return case.shipped
    samples = {
        stage: [{name: x[i : i + 1] for name, x in arrays.items()} for i in range(CALIBRATED_ON)]
        for stage, arrays in inputs_of(case.spec, CALIBRATED_ON).items()
    }
    return build.plan_of(case.spec, case.modules, precision, samples=samples)


def _backend(case: Case, name: str, precision: str) -> dict[str, Net]:
    module = import_module(BACKENDS[name])
    for wanted in ("fp32", precision):  # what no plan can run on is the better reason
        if reason := module.why_not(plan_of(case, wanted), None):
            raise Unavailable(reason)
    threads = {"threads": measure.threads()} if module.THREADS else {}
    return module.load(plan_of(case, precision), None, **threads)


def _pytorch(case: Case, stage: Stage, precision: str, what: str) -> Net:
    module: Any = cast(
        deepcopy(case.modules[stage.name]), torch.float32 if stage.precise else build.TORCH_DTYPES[precision]
    )
    module = module.to(PLACE, memory_format=torch.channels_last)
    if what == "torch.compile":
        check_compiler()
        module = torch.compile(module, mode="max-autotune" if PLACE.type == "cuda" else "default", dynamic=False)

    @torch.inference_mode()
    def run(inputs: Arrays) -> Arrays:
        results = module(**{key: torch.from_numpy(x).to(PLACE) for key, x in inputs.items()})
        return {key: x.float().cpu().numpy() for key, x in results.items()}

    return run


def _channels_last(x: np.ndarray) -> np.ndarray:
    """What PyTorch is fastest on."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if x.ndim == 4 else x


def check_compiler() -> None:
    if PLACE.type == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        raise Unavailable("torch.compile needs a C++ compiler: install g++, or name one in CXX")
    if PLACE.type == "cuda" and not find_spec("triton"):
        raise Unavailable("torch.compile needs Triton; pip install triton")


def _onnxruntime(case: Case, stage: Stage, precision: str) -> Net:
    if not find_spec("onnxruntime"):
        raise Unavailable("ONNX Runtime is missing; pip install onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = measure.threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")  # after a run it is the next way's turn
    here = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in here]
    session = onnxruntime.InferenceSession(plan_of(case, precision).onnx(stage.name), options, providers)
    names = [tensor.name for tensor in stage.outputs]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))
