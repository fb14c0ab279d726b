"""Our fused kernels, in CUDA graphs: PyTorch and Triton on an NVIDIA GPU of compute capability 8.0 and up.

A stage's plain module runs through `fuse.Network`. For each batch size of BATCHES the whole of it is one CUDA graph on
static buffers: at run time there is no allocation and no Python per layer. Each load has a stream of its own and
captures thread-locally, so that engines in several threads do not disturb one another.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fetfast.backends import tuned
from fetfast.backends.batches import Captured, Graphed, runner
from fetfast.backends.eager import modules, unlisted
from fetfast.backends.gpu import CAPTURING, TorchMemory, find
from fetfast.errors import FetfastError, Unavailable
from fetfast.plan import Plan
from fetfast.spec import Stage

if TYPE_CHECKING:
    from fetfast.backends import Runner

BATCHES = (1, 2, 4, 8, 16, 32)

DEVICES = ("cuda",)
PACKAGES = ("torch", "triton", "cupy-cuda13x")
CACHES: tuple[str, ...] = ()
THREADS = False


def why_not(plan: Plan, device: str | None) -> str | None:
    if plan.precision == "int8":
        return "the fused kernels do not run quantised plans; take backend tensorrt or openvino, or a plan in fp16"
    if unknown := unlisted(plan):
        return unknown
    if device == "cpu":
        return "the fused kernels run on NVIDIA GPUs, not on cpu; give device='cuda'"
    try:
        gpu = find(device)
    except FetfastError as error:
        return str(error)
    if tuple(map(int, gpu.capability.split("."))) < (8, 0):
        return f"{gpu.name} has compute capability {gpu.capability}, the fused kernels need 8.0; take another backend"
    missing = [name for name in ("torch", "triton") if find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} missing; pip install 'fetfast[cuda]'"
    import torch

    if not torch.cuda.is_available():
        return "PyTorch sees no CUDA device; install a CUDA build of torch that fits the driver"
    return None


def load(plan: Plan, device: str | None = None) -> dict[str, Runner]:
    """Each stage, captured at a batch size when it first comes. Raises BadPlan, Unavailable."""
    from fetfast.backends.fuse import Network
    from fetfast.kernels.configs import choose

    gpu = find(device)
    table = tuned.read(gpu.name)
    space = TorchMemory(gpu.index)
    with space.here():
        built = modules(plan, space.device)
        networks = [Network(built[stage.name], stage, partial(choose, table=table)) for stage in plan.spec.stages]
        space.wait()
    return {
        stage.name: Graphed(
            runner(partial(_capture, network, stage, space), stage, space, BATCHES), partial(_work, network)
        )
        for stage, network in zip(plan.spec.stages, networks, strict=True)
    }


def _work(network: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return network(**inputs)


def _capture(network: Any, stage: Stage, space: TorchMemory, batch: int) -> Captured:
    import torch

    try:
        given = {tensor.name: _image((batch, *tensor.shape), space.device) for tensor in stage.inputs}
        results = {tensor.name: space.zeros((batch, *tensor.shape)) for tensor in stage.outputs}

        def work() -> None:
            made = network(**given)
            for name, tensor in results.items():
                tensor.copy_(made[name])

        work()  # compiles kernels and lays out weights, which a capture forbids
        space.wait()
        return Captured(given | results, space.capture(work), (network,))
    except torch.OutOfMemoryError as error:
        with CAPTURING:  # PyTorch forbids the one during the other
            torch.cuda.empty_cache()
        raise Unavailable(
            f"no memory left on {space.device} for stage {stage.name} at batch {batch}; run smaller batches"
        ) from error


def _image(shape: tuple[int, ...], device: Any) -> Any:
    """Zeros, channels-last if an image: the copy into it then is the only change of layout."""
    import torch

    layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    return torch.zeros(shape, device=device).to(memory_format=layout)
