"""OpenVINO on the CPU. Needs neither PyTorch nor, once a network's compiled form is cached, a look at its graph.

fp32 plans and precise stages run in f32; others in bf16 where the processor has it, else in f32.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from fetfast.backends import cache
from fetfast.errors import BadPlan
from fetfast.locks import Lock
from fetfast.plan import Plan
from fetfast.spec import Stage

if TYPE_CHECKING:
    import openvino

    from fetfast.backends import Runner

DEVICES = ("cpu",)
PACKAGES = ("openvino",)
CACHES = ("openvino",)
THREADS = True


def why_not(plan: Plan, device: str | None) -> str | None:
    if device not in (None, "cpu"):
        return f"OpenVINO runs on the CPU here, not on {device}; give device='cpu'"
    return None


def load(plan: Plan, device: str | None = None, threads: int | None = None) -> dict[str, Runner]:
    """Each stage, compiled or taken from the cache. `threads`: as many as there are cores if None. Raises BadPlan."""
    runners = {}
    for stage in plan.spec.stages:
        f32 = stage.precise or plan.precision == "fp32"
        try:
            about = {"name": plan.name, "stage": stage.name, "plan": plan.digest}
            compiled = compile_model(partial(read, plan, stage.name), about, f32=f32, threads=threads)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[-300:]
            raise BadPlan(f"{plan.name}: OpenVINO cannot take stage {stage.name} ({reason})") from error
        runners[stage.name] = _runner(compiled, stage)
    return runners


def compile_model(
    model: Callable[[], openvino.Model],  # asked for only if nothing is cached
    about: Mapping[str, str],  # what it is, as the cache's key says it: holds a digest
    *,
    f32: bool,
    threads: int | None = None,
) -> openvino.CompiledModel:
    """A network compiled for this CPU at batch 1, for latency, kept in the user's cache. Raises RuntimeError."""
    import openvino

    bf16 = not f32 and "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32"}
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = threads
    key = {
        **about,
        "precision": config["INFERENCE_PRECISION_HINT"],
        "library": "OpenVINO",
        "version": openvino.get_version(),
        "target": core().get_property("CPU", "FULL_DEVICE_NAME"),
    }

    def make() -> bytes:
        network = model()
        network.reshape({port: [1, *list(port.partial_shape)[1:]] for port in network.inputs})
        content: bytes = core().compile_model(network, "CPU", config).export_model().getvalue()
        return content

    def load(content: cache.Content) -> openvino.CompiledModel | None:
        try:
            return core().import_model(bytes(content), "CPU", config)
        except RuntimeError:
            return None

    compiled = cache.fetch("openvino", key, make, load)
    if compiled is None:
        raise RuntimeError(f"OpenVINO {key['version']} does not load what it compiled")
    return compiled


def read(plan: Plan, stage: str) -> openvino.Model:
    """One stage as OpenVINO's graph. Raises BadPlan, RuntimeError."""
    return core().read_model(plan.onnx(stage))


def core() -> openvino.Core:
    """The one Core of this process. Raises Unavailable where this is a forked child of a process that has used it."""
    with _ONCE:
        found, lock = _core()
    lock.check()
    return found


@lru_cache(maxsize=1)
def _core() -> tuple[openvino.Core, Lock]:
    """Never given back: each Core sets the thread's signal stack and frees it when it goes, and where several come and
    go the next signal (Ctrl-C) finds a stack that is gone, and the process dies."""
    import openvino

    return openvino.Core(), Lock()


_ONCE = threading.Lock()  # two threads that came first at the same time would make two
_REQUESTS: WeakSet[openvino.InferRequest] = WeakSet()


def infer_request(compiled: openvino.CompiledModel) -> openvino.InferRequest:
    """What runs a network, with memory of its own for inputs and outputs."""
    request = compiled.create_infer_request()
    _REQUESTS.add(request)
    return request


def _keep() -> None:
    """To give up a network in a forked child would be to wait for threads that are gone, at its exit at the latest."""
    for request in _REQUESTS:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(request))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep)


def _runner(compiled: openvino.CompiledModel, stage: Stage) -> Runner:
    """Runs a batch one by one: at batch 1 all cores are busy already, and the result does not depend on the batch."""
    import openvino

    request = infer_request(compiled)
    outputs = {tensor.name: np.empty((1, *tensor.shape), np.float32) for tensor in stage.outputs}

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        nonlocal outputs
        given = {t.name: np.ascontiguousarray(inputs[t.name], np.float32) for t in stage.inputs}
        batch = len(given[stage.inputs[0].name])
        if batch != len(outputs[stage.outputs[0].name]):
            outputs = {t.name: np.empty((batch, *t.shape), np.float32) for t in stage.outputs}
        for i in range(batch):
            for name, array in (given | outputs).items():
                request.set_tensor(name, openvino.Tensor(array[i : i + 1], shared_memory=True))
            request.infer()
        return outputs

    return run
