"""Post-training quantisation: a stage's f32 graph becomes one whose convolutions work on 8-bit integers.

NNCF measures, on samples, which range each activation takes, and corrects the biases for what rounding does to the
mean. Activations are signed and symmetric with one scale each, weights have a scale for each output channel: what
both OpenVINO and TensorRT run. Norms, heads and all arithmetic in between stay f32.

The result is ONNX in the QDQ form: QuantizeLinear and DequantizeLinear stand in pairs where a tensor is rounded, and a
weight is an I8 initializer before a DequantizeLinear.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Collection, Iterable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

from fetfast.errors import BadInput, Unavailable
from fetfast.onnx_graph import join
from fetfast.spec import Spec

Samples = Iterable[Mapping[str, np.ndarray]]  # a stage's inputs by name, f32 [1, ...]; what else is there is left out

SCALE = "_scale"  # after a weight's name: f32 [output channels], what one step of its integers is worth
CONVOLUTIONS = ("Conv", "ConvTranspose")
MOVES = ("Resize", "Concat")  # values as they are: a Resize before a convolution is `layers.upsample`, a repetition
PASSED = ("Concat", "InstanceNormalization", "LeakyRelu", "Relu")  # between convolutions; NNCF rounds where it is best


def random_samples(spec: Spec, count: int = 4) -> dict[str, Samples]:
    """Noise for every stage: what random weights are calibrated on."""
    rng = np.random.default_rng(0)
    shapes = {stage.name: {t.name: (1, *t.shape) for t in stage.inputs} for stage in spec.stages}
    return {
        stage: [{name: rng.uniform(-1, 1, s).astype(np.float32) for name, s in of.items()} for _ in range(count)]
        for stage, of in shapes.items()
    }


def quantize(
    graph: bytes,  # an ONNX model without its weights, f32
    weights: Mapping[str, np.ndarray],
    samples: Samples,
    keep: Collection[str],  # weights of convolutions that stay f32
) -> tuple[bytes, dict[str, np.ndarray]]:
    """The quantised graph and its weights: a convolution's is I8 under its old name, its scale f32 beside it.

    Raises Unavailable where NNCF is missing, BadInput where there are no samples or weights are computed.
    """
    missing = [package for package in ("nncf", "onnxruntime") if find_spec(package) is None]
    if missing:
        raise Unavailable(f"int8 needs {' and '.join(missing)}; pip install {' '.join(missing)}")
    import onnx
    from onnx import numpy_helper

    model = onnx.load_model_from_string(join(graph, weights))
    names = [value.name for value in model.graph.input]
    given = [{name: np.asarray(sample[name], np.float32) for name in names} for sample in samples]
    if not given:
        raise BadInput("quantize(): there is nothing to calibrate on; give some training pairs")
    read = {node.name: node.input[1] for node in model.graph.node if node.op_type in CONVOLUTIONS}
    if computed := sorted(set(read.values()) - weights.keys()):
        raise BadInput(
            f"quantize(): the weights {computed} of convolutions are computed, which NNCF cannot take; modulate what a"
            " convolution reads and gives instead, or build fp16"
        )
    model = _calibrated(model, given, _left_alone(model.graph, keep))
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    stored = {name: found.pop(name) for name in weights if name in found}
    _weights_by_name(model.graph, read, found, stored)
    _signed(model.graph, found)
    _moved_as_integers(model.graph, found)
    used = {name for node in model.graph.node for name in node.input}
    declared = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(w.dtype), w.shape)
        for name, w in stored.items()
    ]
    del model.graph.initializer[:], model.graph.value_info[:], model.metadata_props[:], model.graph.metadata_props[:]
    model.graph.value_info.extend(declared)
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in found.items() if name in used
    )
    return model.SerializeToString(deterministic=True), stored


def _calibrated(model: Any, samples: list[dict[str, np.ndarray]], ignored: list[str]) -> Any:
    import nncf

    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):  # where progress belongs
        return nncf.quantize(
            model,
            nncf.Dataset(samples),
            preset=nncf.QuantizationPreset.PERFORMANCE,  # symmetric activations
            subset_size=len(samples),
            ignored_scope=nncf.IgnoredScope(names=ignored),
        )


def _left_alone(graph: Any, keep: Collection[str]) -> list[str]:
    """Names of the nodes that NNCF is not to touch: all but convolutions, and what passes values from one to another.

    A concatenation of plain inputs is left alone too: so it is rounded as a whole, with one scale, without which the
    convolution after it cannot work on integers.
    """
    plain = {"", *(value.name for value in graph.input), *(tensor.name for tensor in graph.initializer)}
    names = []
    for node in graph.node:
        if node.op_type in CONVOLUTIONS:
            alone = node.input[1] in keep
        elif plain.issuperset(node.input):
            plain.update(node.output)
            alone = True
        else:
            alone = node.op_type not in PASSED
        if alone:
            names.append(node.name)
    return names


def _weights_by_name(
    graph: Any, read: Mapping[str, str], found: dict[str, np.ndarray], stored: dict[str, np.ndarray]
) -> None:
    """Move each quantised weight and its scale from `found` to `stored`, named after the weight that was `read`."""
    producers = {node.output[0]: node for node in graph.node}
    for node in graph.node:
        given = producers.get(node.input[1]) if node.name in read else None
        if given is None:
            continue
        name = read[node.name]
        stored[name], stored[name + SCALE] = (found.pop(given.input[i]) for i in (0, 1))
        assert stored[name].dtype == np.int8 and not found[given.input[2]].any()
        del given.input[:]
        given.input.extend((name, name + SCALE))  # without a zero point: it is 0


def _signed(graph: Any, found: dict[str, np.ndarray]) -> None:
    """Round to signed integers what NNCF would to unsigned ones, which TensorRT does not have."""
    for scale, zero in {tuple(node.input[1:]) for node in graph.node if node.op_type == "QuantizeLinear"}:
        assert not found[zero].any()
        if found[zero].dtype == np.uint8:
            found[scale] = found[scale] * np.float32(255 / 127)
            found[zero] = found[zero].astype(np.int8)


def _moved_as_integers(graph: Any, found: Mapping[str, np.ndarray]) -> None:
    """Let repetition and concatenation work on integers: what was rounded after them is rounded before, what was
    restored before them is restored after. The values are the same and fewer bytes move; and OpenVINO 2026.4 computes
    a convolution wrongly (by half its result) on a concatenation of signed tensors that were restored before it.
    """
    nodes: list[Any] = []
    restored: dict[str, Any] = {}  # tensor -> the DequantizeLinear that gives it
    done = set()
    for node in graph.node:
        if node.name in done:
            continue
        nodes.append(node)
        if node.op_type == "DequantizeLinear":
            restored[node.output[0]] = node
        if node.op_type not in MOVES:
            continue
        data = range(1 if node.op_type == "Resize" else len(node.input))
        before = [restored.get(node.input[i]) for i in data]
        after = [other for other in graph.node if node.output[0] in other.input]
        if [other.op_type for other in after] == ["QuantizeLinear"]:
            for i in data:
                source = node.input[i]
                rounded = f"{source}.rounded.{node.name}"  # others may round it too, with a scale of their own
                nodes.insert(-1, _copy(after[0], f"{rounded}.rounding", source, rounded))
                node.input[i] = rounded
            node.output[0] = after[0].output[0]
            done.add(after[0].name)
        elif all(before) and len({tuple(found[name].item() for name in dq.input[1:]) for dq in before if dq}) == 1:
            for i, dq in enumerate(before):
                node.input[i] = dq.input[0]  # type: ignore[union-attr]
            result, node.output[0] = node.output[0], f"{node.output[0]}.rounded"
            nodes.append(_copy(before[0], f"{result}.restoring", node.output[0], result))
            restored[result] = nodes[-1]
    used = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    del graph.node[:]
    graph.node.extend(node for node in nodes if used.intersection(node.output))


def _copy(node: Any, name: str, source: str, target: str) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    copy.name, copy.input[0], copy.output[0] = name, source, target
    return copy
