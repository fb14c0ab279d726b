"""The least time that a stage could take on this machine: the larger of the bytes that it must move over the measured
copy rate and the operations that it must do over the measured matrix rate.

What is counted, at batch 1
    network     bytes: weights as the plan stores them, inputs and outputs, each once. Operations: two for each product
                of its convolutions and matrix products, in the arithmetic that the backend uses.
    face        the landmark and the blendshape network, which run in f32, counted alike.
    inputs      bytes: every tensor made in this step, written once, and for a crop the frame's pixels under it, read
                once. Operations: `first_flow`'s matrix product, 6 K S^2.
    paste       bytes: 6 H W, and 4 S^2 for each channel of flow, mask, color and light.
Element-wise arithmetic is counted nowhere, and no time for starting anything: a floor, not an estimate.

The ceilings are the best seen during the run: all cores copying 4 MB each, back and forth, which the caches hold as
they hold a step's data; and a product of matrices 1024 x 1024 in OpenVINO, in the arithmetic of the stage. On a GPU
both are PyTorch's, with 256 MB and 8192 x 8192.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fetfast.backends.openvino import core
from fetfast.engine import Engine
from fetfast.face import crop_matrix, nets
from fetfast.inputs import Scene
from fetfast.machine import threads
from fetfast.ops.anchors import WIDTHS
from fetfast.spec import Stage

if TYPE_CHECKING:
    import openvino

COPY_BYTES, COPIES = 4 << 20, 8
SIDE = 1024
GPU_COPY_BYTES, GPU_SIDE = 256 << 20, 8192
ON_GPU = ("tensorrt", "triton")


@dataclass(frozen=True)
class Work:
    """What a stage must move and compute. `arithmetic`: f32, f16, bf16 or int8; `device`: cpu or gpu."""

    bytes: int
    operations: int = 0
    arithmetic: str = "f32"
    device: str = "cpu"


def network(engine: Engine, stage: Stage) -> Work:
    """The work of a stage of the engine's plan."""
    gpu = on_gpu(engine)
    return Work(*_count(core().read_model(model=engine.plan.onnx(stage.name))), _arithmetic(engine, stage, gpu),
                "gpu" if gpu else "cpu")  # fmt: skip


def on_gpu(engine: Engine) -> bool:
    if engine.backend != "eager":
        return engine.backend in ON_GPU
    import torch

    return torch.cuda.is_available() if engine.device is None else engine.device.startswith("cuda")


def _arithmetic(engine: Engine, stage: Stage, gpu: bool) -> str:
    precision = "fp32" if stage.precise else engine.plan.precision
    if precision == "fp16" and not gpu:
        return "bf16"  # what OpenVINO takes for it
    return precision.replace("fp", "f")


def tracking() -> Work:
    """The work of following a face from frame to frame."""
    counts = [_count(nets.read(name)) for name in ("face_landmarks_detector", "face_blendshapes")]
    return Work(sum(moved for moved, _ in counts), sum(operations for _, operations in counts))


def inputs(scene: Scene, made: set[str]) -> Work:
    """The work of building the inputs `made`, which `scene.tensors` holds by now; frames are no input."""
    moved = sum(scene.tensors[name].nbytes for name in made - {"source_frame"})
    crops = {"warped": list(scene.target.matrices), "source": [crop_matrix(face.landmarks) for face in scene.sources]}
    for name in made.intersection(crops):
        frame = scene.target.frame if name == "warped" else scene.source_frame
        assert frame is not None
        covered = sum(abs(float(np.linalg.det(M[:, :2]))) for M in crops[name])
        moved += int(min(3 * covered, frame.nbytes))
    spread = scene.tensors["first_flow"][:, 0].size if "first_flow" in made else 0
    return Work(moved, 6 * len(WIDTHS) * spread)


def pasting(frame: np.ndarray, parts: dict[str, np.ndarray]) -> Work:
    return Work(2 * frame.nbytes + sum(tensor.nbytes for tensor in parts.values()))


def _count(model: openvino.Model) -> tuple[int, int]:
    """Bytes and operations of a network at batch 1."""
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


@dataclass
class Ceilings:
    """The best rates seen of a copy (bytes/s) and of a matrix product (operations/s), by device and arithmetic."""

    copy: dict[str, float] = field(default_factory=dict)
    matmul: dict[tuple[str, str], float] = field(default_factory=dict)
    _calls: dict[Any, Callable[[], object]] = field(default_factory=dict)

    def measure(self, works: list[Work]) -> None:
        """One more go at each ceiling that these works run into."""
        for device in {work.device for work in works}:
            size = GPU_COPY_BYTES if device == "gpu" else COPY_BYTES * COPIES * threads()
            rate = 2 * size / self._seconds(_gpu_copy if device == "gpu" else _copy)
            self.copy[device] = max(self.copy.get(device, 0.0), rate)
        for kind in {(work.device, work.arithmetic) for work in works if work.operations}:
            side, make = (GPU_SIDE, _gpu_matmul) if kind[0] == "gpu" else (SIDE, _matmul)
            rate = 2 * side**3 / self._seconds(make, kind[1])
            self.matmul[kind] = max(self.matmul.get(kind, 0.0), rate)

    def _seconds(self, make: Callable[..., Callable[[], object]], *arguments: str) -> float:
        if (make, arguments) not in self._calls:
            self._calls[make, arguments] = make(*arguments)
            self._calls[make, arguments]()  # warm
        begin = time.perf_counter()
        self._calls[make, arguments]()
        return time.perf_counter() - begin

    def floor(self, work: Work) -> float:
        """Milliseconds."""
        computed = work.operations / self.matmul[work.device, work.arithmetic] if work.operations else 0.0
        return 1e3 * max(work.bytes / self.copy[work.device], computed)


def _copy() -> Callable[[], object]:
    pool = ThreadPoolExecutor(threads())
    arrays = [[np.zeros(COPY_BYTES, np.uint8), np.ones(COPY_BYTES, np.uint8)] for _ in range(threads())]

    def back_and_forth(pair: list[np.ndarray]) -> None:
        for i in range(COPIES):
            np.copyto(pair[i % 2], pair[1 - i % 2])

    return lambda: list(pool.map(back_and_forth, arrays))


def _matmul(arithmetic: str) -> Callable[[], object]:
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
    return request.infer


def _gpu_copy() -> Callable[[], object]:
    import torch

    a, b = (torch.zeros(GPU_COPY_BYTES, dtype=torch.uint8, device="cuda") for _ in range(2))

    def copy() -> None:
        b.copy_(a)
        torch.cuda.synchronize()

    return copy


def _gpu_matmul(arithmetic: str) -> Callable[[], object]:
    import torch

    dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "int8": torch.int8}[arithmetic]
    a, b = (torch.ones(GPU_SIDE, GPU_SIDE, dtype=dtype, device="cuda") for _ in range(2))
    product = torch._int_mm if dtype == torch.int8 else torch.mm

    def multiply() -> None:
        product(a, b)
        torch.cuda.synchronize()

    return multiply
