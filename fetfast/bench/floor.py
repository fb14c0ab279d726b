"""The work of a stage: what its floor (`fetfast.profiling.roofline`) is counted from, at batch 1.

    network     bytes: weights as the plan stores them, inputs and outputs, each once. Operations: two for each product
                of its convolutions and matrix products, in the arithmetic that the backend uses.
    face        the landmark and the blendshape network, which run in f32, counted alike.
    inputs      bytes: every tensor made in this step, written once, and for a crop the frame's pixels under it, read
                once. Operations: `first_flow`'s matrix product, 6 K S^2.
    paste       bytes: 6 H W, and 4 S^2 for each channel of flow, mask, color and light.
Element-wise arithmetic is counted nowhere, and no time for starting anything: a floor, not an estimate.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from fetfast import backends
from fetfast.backends.openvino import core
from fetfast.engine import Engine
from fetfast.face import nets
from fetfast.ops.anchors import WIDTHS
from fetfast.profiling.roofline import Work, count
from fetfast.spec import Stage
from fetfast.step import Step


def network(engine: Engine, stage: Stage) -> Work:
    """The work of a stage of the engine's plan."""
    gpu = on_gpu(engine)
    return Work(*count(core().read_model(model=engine.plan.onnx(stage.name))), _arithmetic(engine, stage, gpu),
                "gpu" if gpu else "cpu")  # fmt: skip


def on_gpu(engine: Engine) -> bool:
    """Whether the engine's networks run on a GPU."""
    kinds = backends.module(engine.backend).DEVICES
    if engine.device is not None or len(kinds) == 1:
        return (engine.device or kinds[0]).startswith("cuda")
    import torch

    return torch.cuda.is_available()


def _arithmetic(engine: Engine, stage: Stage, gpu: bool) -> str:
    precision = "fp32" if stage.precise else engine.plan.precision
    if precision == "fp16" and not gpu:
        return "bf16"  # what OpenVINO takes for it
    return precision.replace("fp", "f")


def tracking() -> Work:
    """The work of following a face from frame to frame."""
    counts = [count(nets.read(name)) for name in ("face_landmarks_detector", "face_blendshapes")]
    return Work(sum(moved for moved, _ in counts), sum(operations for _, operations in counts))


def inputs(step: Step, made: set[Hashable]) -> Work:
    """The work of building the inputs `made`, which `step.tensors` holds by now; frames are no input."""
    moved = sum(step.tensors[key].nbytes for key in made - {"source_frame"})
    names = {key[0]: key for key in made if isinstance(key, tuple)}  # pictures: name and side
    crops = {"warped": list(step.target.matrices), "source": step.driver_matrices}
    for name in names.keys() & crops:
        frame = step.target.frame if name == "warped" else step.driver_frame
        assert frame is not None
        covered = sum(abs(float(np.linalg.det(M[:, :2]))) for M in crops[name])
        moved += int(min(3 * covered, frame.nbytes))
    spread = step.tensors[names["first_flow"]][:, 0].size if "first_flow" in names else 0
    return Work(moved, 6 * len(WIDTHS) * spread)


def pasting(frame: np.ndarray, parts: dict[str, np.ndarray]) -> Work:
    return Work(2 * frame.nbytes + sum(tensor.nbytes for tensor in parts.values()))
