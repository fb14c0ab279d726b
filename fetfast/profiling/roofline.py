"""The least time that work could take on this machine: the larger of the bytes that it must move over the measured
copy rate and the operations that it must do over the measured rate of matrix products.

The ceilings are the best seen during the run: all cores copying 4 MB each, back and forth, which the caches hold as
they hold a step's data; and a product of matrices 1024 x 1024 in OpenVINO, in the arithmetic of the work. On a GPU
both are PyTorch's, with 1 GiB and 8192 x 8192, as a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fetfast.backends.openvino import core
from fetfast.environment import threads
from fetfast.profiling.timing import Call, replayed, timed

if TYPE_CHECKING:
    import openvino

COPY_BYTES, COPIES = 4 << 20, 8
SIDE = 1024
GPU_COPY_BYTES, GPU_SIDE = 1 << 30, 8192


@dataclass(frozen=True)
class Work:
    """What must be moved and computed. `arithmetic`: f32, f16, bf16 or int8; `device`: cpu or gpu."""

    bytes: int
    operations: int = 0
    arithmetic: str = "f32"
    device: str = "cpu"


@dataclass
class Ceilings:
    """The best rates seen of a copy (bytes/s) and of a matrix product (operations/s), by device and arithmetic."""

    copy: dict[str, float] = field(default_factory=dict)
    matmul: dict[tuple[str, str], float] = field(default_factory=dict)
    _calls: dict[Any, Callable[[], float]] = field(default_factory=dict)  # each takes a time, in ms

    def measure(self, works: Iterable[Work]) -> None:
        """One more go at each ceiling that these works run into."""
        works = list(works)
        for device in {work.device for work in works}:
            size = GPU_COPY_BYTES if device == "gpu" else COPY_BYTES * COPIES * threads()
            rate = 2e3 * size / self._ms(_gpu_copy if device == "gpu" else _copy)
            self.copy[device] = max(self.copy.get(device, 0.0), rate)
        for kind in {(work.device, work.arithmetic) for work in works if work.operations}:
            side, make = (GPU_SIDE, _gpu_matmul) if kind[0] == "gpu" else (SIDE, _matmul)
            rate = 2e3 * side**3 / self._ms(make, kind[1])
            self.matmul[kind] = max(self.matmul.get(kind, 0.0), rate)

    def _ms(self, make: Callable[..., Callable[[], float]], *arguments: str) -> float:
        if (make, arguments) not in self._calls:
            self._calls[make, arguments] = make(*arguments)
            self._calls[make, arguments]()  # warm
        return self._calls[make, arguments]()

    def floor(self, work: Work) -> float:
        """Milliseconds."""
        computed = work.operations / self.matmul[work.device, work.arithmetic] if work.operations else 0.0
        return 1e3 * max(work.bytes / self.copy[work.device], computed)

    @property
    def figures(self) -> dict[str, float]:
        """GB/s and Gop/s by name, as a results file has them: "cpu copy", "cpu bf16"."""
        rates = {f"{device} copy": rate for device, rate in self.copy.items()}
        rates |= {" ".join(kind): rate for kind, rate in self.matmul.items()}
        return {name: rate / 1e9 for name, rate in rates.items()}


def count(model: openvino.Model) -> tuple[int, int]:
    """Bytes and operations of a network at batch 1: weights as they are stored, inputs and outputs, each once; two
    operations for each product of its convolutions and matrix products."""
    model.reshape({port: [1, *list(port.partial_shape)[1:]] for port in model.inputs})
    ports = [*model.inputs, *model.outputs]
    operations = 0
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind == "Constant":
            ports.append(node.output(0))
        elif kind in PRODUCTS:
            given, weight, out = (tuple(port.get_shape()) for port in (*node.inputs()[:2], node.output(0)))
            inner = given[-2 if kind == "MatMul" and node.get_attributes()["transpose_a"] else -1]
            operations += 2 * PRODUCTS[kind](given, weight, out, inner)
    moved = sum(prod(port.get_shape()) * port.get_element_type().size for port in ports)
    return moved, operations


# Products of a node, from the shapes of what it reads, of its weights, and of what it gives. Weights are [O, I, ...],
# of groups [G, O, I, ...], and I before O where the convolution is transposed.
Shape = tuple[int, ...]
PRODUCTS: dict[str, Callable[[Shape, Shape, Shape, int], int]] = {
    "Convolution": lambda given, weight, out, inner: prod(out) * prod(weight[1:]),
    "GroupConvolution": lambda given, weight, out, inner: prod(out) * prod(weight[2:]),
    "ConvolutionBackpropData": lambda given, weight, out, inner: prod(given) * prod(weight[1:]),
    "GroupConvolutionBackpropData": lambda given, weight, out, inner: prod(given) * prod(weight[2:]),
    "MatMul": lambda given, weight, out, inner: prod(out) * inner,
}


def _by_clock(call: Call) -> Callable[[], float]:
    def clock() -> float:
        taken: dict[str, float] = {}
        with timed(taken, ""):
            call()
        return taken[""]

    return clock


def _copy() -> Callable[[], float]:
    pool = ThreadPoolExecutor(threads())
    arrays = [[np.zeros(COPY_BYTES, np.uint8), np.ones(COPY_BYTES, np.uint8)] for _ in range(threads())]

    def back_and_forth(pair: list[np.ndarray]) -> None:
        for i in range(COPIES):
            np.copyto(pair[i % 2], pair[1 - i % 2])

    return _by_clock(lambda: list(pool.map(back_and_forth, arrays)))


def _matmul(arithmetic: str) -> Callable[[], float]:
    import openvino
    from openvino import opset13 as ops

    matrix = np.random.default_rng(0).uniform(-1, 1, (SIDE, SIDE)).astype(np.float32)
    given = ops.parameter([SIDE, SIDE], np.float32)
    left, right = given, ops.constant(matrix)
    if arithmetic == "int8":
        low, high = np.float32(-1), np.float32(1)
        left, right = (ops.fake_quantize(x, low, high, low, high, levels) for x, levels in ((left, 256), (right, 255)))
    model = openvino.Model([ops.matmul(left, right, False, False)], [given])
    supported = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    hint = "bf16" if arithmetic == "bf16" and "BF16" in supported else "f32"
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(matrix))
    return _by_clock(request.infer)


def _gpu_copy() -> Callable[[], float]:
    import torch

    a, b = (torch.zeros(GPU_COPY_BYTES, dtype=torch.uint8, device="cuda") for _ in range(2))
    return lambda: replayed([lambda: b.copy_(a)]).median


def _gpu_matmul(arithmetic: str) -> Callable[[], float]:
    import torch

    dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "int8": torch.int8}[arithmetic]
    random = torch.randn(2, GPU_SIDE, GPU_SIDE, device="cuda")  # zeros and ones would draw less power
    a, b = (random * 30 if dtype == torch.int8 else random).to(dtype)
    product = torch._int_mm if dtype == torch.int8 else torch.mm
    return lambda: replayed([lambda: product(a, b)]).median
