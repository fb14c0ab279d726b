"""A stage as an ONNX model without its weights: checking it against spec and weights, and putting the weights in.

The graph declares each weight's type and shape in its `value_info`. Protocol Buffers merges messages that stand one
after the other, so that joining means appending one message with the initializers: no copy of the graph is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from fetfast.errors import BadPlan
from fetfast.spec import Stage

CONSTANT_LIMIT = 1 << 16  # bytes of any constant in a graph: what is bigger is a weight
DTYPES = {"float32": 1, "float16": 10, "bfloat16": 16, "int8": 3}  # ONNX's numbers


def check(graph: bytes, stage: Stage, weights: Mapping[str, np.ndarray]) -> None:
    """The graph takes and gives what the spec says, uses just the weights that are there, and nothing from outside.

    Raises BadPlan.
    """
    import onnx
    from google.protobuf.message import DecodeError

    def expect(holds: bool, message: str) -> None:
        if not holds:  # names are the file's own: no lines and no terminal's commands of theirs
            plain = message.encode("unicode_escape").decode()
            raise BadPlan(f"graph of stage {stage.name}: {plain}; build the plan again")

    def typed(value: Any, batch: int) -> tuple[int, tuple[int, ...]]:
        tensor = value.type.tensor_type
        return tensor.elem_type, tuple(d.dim_value for d in tensor.shape.dim)[batch:]

    model = onnx.ModelProto()
    try:
        model.ParseFromString(graph)
    except DecodeError as error:
        raise BadPlan(f"graph of stage {stage.name} is no ONNX model ({error})") from error
    domains = {opset.domain for opset in model.opset_import} | {node.domain for node in model.graph.node}
    expect(
        domains <= {"", "ai.onnx"} and not model.functions,
        f"operators from {sorted(map(str, domains))}, expected ONNX's own",
    )
    for title, values, tensors in (
        ("inputs", model.graph.input, stage.inputs),
        ("outputs", model.graph.output, stage.outputs),
    ):
        expect([v.name for v in values] == [t.name for t in tensors], f"its {title} are not the spec's")
        for value, tensor in zip(values, tensors, strict=True):
            expect(typed(value, 1) == (1, tensor.shape), f"{value.name} is not f32 [B, {tensor.shape}]")
    declared = {value.name: typed(value, 0) for value in model.graph.value_info}
    got = {name: (DTYPES.get(weight.dtype.name), weight.shape) for name, weight in weights.items()}
    # a name that is no UTF-8 comes as bytes
    off = sorted(str(name) for name in declared.keys() | got if declared.get(name) != got.get(name))
    expect(not off, f"weights missing, unknown or of another shape: {', '.join(off[:4])}")

    constants = list(model.graph.initializer)
    names = [*declared, *(value.name for value in model.graph.input), *(c.name for c in constants), ""]
    known = set(names)
    expect(len(known) == len(names), "two tensors of one name")
    for node in model.graph.node:
        expect(known.issuperset(node.input), f"{node.op_type} reads what nothing gives")
        expect(not known.intersection(node.output) - {""}, f"{node.op_type} gives a name twice")
        known.update(node.output)
        for attribute in node.attribute:
            expect(not attribute.HasField("g") and not attribute.graphs, f"{node.op_type} has a graph of its own")
            expect(not attribute.HasField("sparse_tensor"), f"{node.op_type} has a sparse tensor")
            constants += [attribute.t, *attribute.tensors]
    expect(known.issuperset(t.name for t in stage.outputs), "an output that nothing gives")
    expect(not model.graph.sparse_initializer, "sparse tensors")
    for constant in constants:
        expect(constant.data_location == 0 and not constant.external_data, "tensors in another file")
        small = constant.ByteSize() <= CONSTANT_LIMIT and prod(constant.dims) <= CONSTANT_LIMIT
        expect(small, f"constant {constant.name} is too big")


def join(graph: bytes, weights: Mapping[str, np.ndarray]) -> bytes:
    """The ONNX model with its weights as initializers. ModelProto: graph = 7; GraphProto: initializer = 5."""
    return graph + _message(7, b"".join(_message(5, _initializer(name, w)) for name, w in weights.items()))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _message(number: int, content: bytes) -> bytes:
    """A field of a Protocol Buffers message that holds bytes or another message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _initializer(name: str, weight: np.ndarray) -> bytes:
    """ONNX's TensorProto: dims = 1, data_type = 2, name = 8, raw_data = 9."""
    dims = b"".join(b"\x08" + _varint(size) for size in weight.shape)
    dtype = b"\x10" + _varint(DTYPES[weight.dtype.name])
    return dims + dtype + _message(8, name.encode()) + _message(9, weight.tobytes())
