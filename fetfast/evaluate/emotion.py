"""What two classifiers of emotion see in a face. fetfast neither runs them nor was trained with them.

    facex   facex 1.1.0 (MIT), MobileNet on 200 x 200, RGB
    fer     fer 25.10.3 (MIT), trained on FER-2013, 64 x 64, grey

Each gives a probability for seven classes. They disagree, and fail on many faces: what counts is whether a judge sees
the same in the result as it sees in the driver, beside how often it does in the target left as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fetfast import assets
from fetfast.backends.openvino import core
from fetfast.image import Frame
from fetfast.ops.crop import crop

Array = NDArray[np.float32]

EMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
BOX = (0.5, 0.52, 0.65)  # of the crop: centre and side of what they are shown, about a face detector's box


@dataclass(frozen=True)
class Classifier:
    """file: an asset. side: of its input, pixels. grey: one channel, -1 ... 1; else RGB 0 ... 1. order: of classes."""

    file: str
    side: int
    grey: bool
    order: tuple[str, ...] = EMOTIONS


CLASSIFIERS = {
    "facex": Classifier("facex.tflite", 200, False),
    "fer": Classifier(
        "fer.tflite", 64, True, ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    ),
}


def judge(name: str, threads: int | None = None) -> Callable[[Frame, Array], Array]:
    """read(frame u8 [H, W, 3], M f32 [2, 3]) -> f32 [7], as EMOTIONS, 1 in sum; of the face whose crop M takes.
    Raises MissingAsset where the network cannot be had."""
    order = CLASSIFIERS[name].order
    read = _reader(name, _graph(CLASSIFIERS[name].file), threads)
    rows = [order.index(emotion) for emotion in EMOTIONS]
    return lambda frame, M: read(frame, M)[rows]


def features(name: str, threads: int | None = None) -> Callable[[Frame, Array], Array]:
    """read(frame, M) -> f32 [C]: what the classifier's last layer is given. Raises MissingAsset."""
    import openvino as ov

    graph = _graph(CLASSIFIERS[name].file)
    last = [op for op in graph.get_ordered_ops() if op.get_type_name() == "MatMul"][-1]
    return _reader(name, ov.Model([last.input(0).get_source_output()], graph.get_parameters()), threads)


def _reader(name: str, graph: Any, threads: int | None) -> Callable[[Frame, Array], Array]:
    about = CLASSIFIERS[name]
    limit = {} if threads is None else {"INFERENCE_NUM_THREADS": threads}
    net = core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"} | limit)
    x, y, side = BOX
    inner = np.array([[side, 0, x - side / 2], [0, side, y - side / 2], [0, 0, 1]])

    def read(frame: Frame, M: Array) -> Array:
        box = (np.vstack([M, [0, 0, 1]]) @ inner)[:2].astype(np.float32)
        pixels: Any = crop(frame, box, about.side).transpose(1, 2, 0)  # -1 ... 1
        if about.grey:
            pixels = pixels @ np.array([[0.299], [0.587], [0.114]], np.float32)
        else:
            pixels = (pixels + np.float32(1)) / 2
        found: Array = net(np.ascontiguousarray(pixels[None]))[0].reshape(-1).copy()
        return found

    return read


def _graph(file: str) -> Any:
    import openvino as ov
    from openvino import opset13

    model = core().read_model(assets.path(file))
    # Converters of old wrote signed weights under the name of unsigned ones where their zero is at 0; TensorFlow Lite
    # reads them so, OpenVINO does not.
    for op in model.get_ordered_ops():
        if op.get_type_name() == "Constant" and op.get_element_type() == ov.Type.u8:
            users = [user for port in op.output(0).get_target_inputs() for user in _after(port.get_node())]
            if "Subtract" not in users:
                signed = opset13.constant(op.data.view(np.int8))
                for port in op.output(0).get_target_inputs():
                    port.replace_source_output(signed.output(0))
    return model


def _after(op: Any) -> list[str]:
    return [port.get_node().get_type_name() for out in op.outputs() for port in out.get_target_inputs()]
