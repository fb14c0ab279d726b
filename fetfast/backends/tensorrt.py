"""NVIDIA TensorRT, or TensorRT for RTX, whichever is installed and fits the GPU. Needs no PyTorch where CuPy is.

A stage is an engine, built on first use and kept in the cache. Tensors are bound by name. For each batch size of the
profile a runner captures the network as one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fetfast.backends import cache
from fetfast.backends.batches import Captured, Graphed, runner
from fetfast.backends.gpu import Memory, TorchMemory, driver_version, find, memory
from fetfast.backends.trt_build import BATCHES, Library, choose, fetch, key, target
from fetfast.errors import FetfastError, Unavailable
from fetfast.plan import Plan
from fetfast.spec import Stage

if TYPE_CHECKING:
    from fetfast.backends import Runner

DEVICES = ("cuda",)
PACKAGES = ("tensorrt", "tensorrt-rtx-cu13")
CACHES = ("tensorrt", "timing", "runtime")
THREADS = False


def why_not(plan: Plan, device: str | None) -> str | None:
    if device == "cpu":
        return "TensorRT runs on NVIDIA GPUs, not on cpu; give device='cuda'"
    try:
        gpu = find(device)
        if not find_spec("cupy") and not find_spec("torch"):
            return "neither CuPy nor PyTorch is installed; pip install cupy-cuda13x"
        choose(plan.precision, gpu)
    except FetfastError as error:
        return str(error)
    return None


def load(plan: Plan, device: str | None = None, library: Library | None = None) -> dict[str, Runner]:
    """Each stage's engine, from the cache or built into it. Raises Unavailable.

    `library` given by name is tried whatever the GPU: it may turn out to run more than its list says.
    """
    gpu = find(device)
    if library is None:
        library, _ = choose(plan.precision, gpu)
    trt: Any = import_module(library.module)
    space = memory(gpu)
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    built_for = target(library, gpu, gpu.capability)
    runners = {}
    for stage in plan.spec.stages:
        with space.here():
            engine = fetch(library, plan, stage, built_for, runtime.deserialize_cuda_engine)
            compiled = key(library, plan, stage, built_for) | {"gpu": gpu.name, "driver": str(driver_version())}
            context = _compiling_contexts(trt, engine, compiled) if library.keeps == "runtime" else _contexts(engine)
            whole = isinstance(space, TorchMemory)  # a step's graph holds the stage as well
            run = runner(partial(_capture, context, stage, space), stage, space, BATCHES, now=not whole)
            runners[stage.name] = Graphed(run, _work(context, stage, space)) if isinstance(space, TorchMemory) else run
    return runners


# A context, and what to call after it has run for the first time. Each batch size has its own: a captured graph holds
# on to the state of the context that it was captured from.
Contexts = Callable[[], tuple[Any, Callable[[], None]]]


def _contexts(engine: Any) -> Contexts:
    return lambda: (engine.create_execution_context(), lambda: None)


def _compiling_contexts(trt: Any, engine: Any, about: cache.Key) -> Contexts:
    """For TensorRT for RTX, which compiles kernels when they first run: they are kept in the cache for next time."""
    kernels = engine.create_runtime_config().create_runtime_cache()
    kept = bytes(cache.read("runtime", about) or b"")
    if kept:
        kernels.deserialize(kept)  # which refuses what another driver or GPU has left, and starts empty

    def context() -> tuple[Any, Callable[[], None]]:
        config = engine.create_runtime_config()
        # compiled in the first run, not in the background: a captured graph would keep the makeshift kernels
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        config.set_runtime_cache(kernels)
        return engine.create_execution_context(config), save

    def save() -> None:
        nonlocal kept
        now = bytes(kernels.serialize())
        if now != kept:
            cache.keep("runtime", about, now)
            kept = now

    return context


def _work(contexts: Contexts, stage: Stage, space: TorchMemory) -> Runner:
    """The stage on PyTorch's current stream, on the memory that it is given. Its next call overwrites what it gives."""
    made: dict[int, tuple[Any, dict[str, Any]]] = {}  # by batch size

    def work(inputs: dict[str, Any]) -> dict[str, Any]:
        batch = len(inputs[stage.inputs[0].name])
        first = batch not in made
        if first:
            context, after_first_run = contexts()
            made[batch] = context, {t.name: space.zeros((batch, *t.shape)) for t in stage.outputs}
        context, outputs = made[batch]
        for tensor in stage.inputs:
            context.set_input_shape(tensor.name, (batch, *tensor.shape))
        given = {tensor.name: inputs[tensor.name].contiguous() for tensor in stage.inputs}
        for name, array in (given | outputs).items():
            context.set_tensor_address(name, space.address(array))
        _execute(context, space, stage, batch)
        if first:
            space.wait()
            after_first_run()
        return outputs

    return work


def _execute(context: Any, space: Memory, stage: Stage, batch: int) -> None:
    if not context.execute_async_v3(space.stream):
        raise Unavailable(f"TensorRT cannot run stage {stage.name} at batch {batch}; see what it printed above")


def _capture(contexts: Contexts, stage: Stage, space: Memory, batch: int) -> Captured:
    context, after_first_run = contexts()
    shapes = {tensor.name: (batch, *tensor.shape) for tensor in (*stage.inputs, *stage.outputs)}
    device = {name: space.zeros(shape) for name, shape in shapes.items()}
    for tensor in stage.inputs:
        context.set_input_shape(tensor.name, shapes[tensor.name])
    for name, array in device.items():
        context.set_tensor_address(name, space.address(array))

    def work() -> None:
        _execute(context, space, stage, batch)

    work()  # the first run allocates and compiles, which a capture forbids
    space.wait()
    after_first_run()
    return Captured(device, space.capture(work), (context,))
