"""Plans: what is written is read back, and what is no plan is refused with one line."""

from __future__ import annotations

import json
import os
import pickle
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fetfast.errors import BadInput, BadPlan
from fetfast.plan import HEADER_LIMIT, KEY, SHIPPED, Plan
from fetfast.spec import Output, Spec, Stage, Task, TensorSpec

DTYPES = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}
ONNX = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
SPEC = Spec(
    family="flow",
    size="small",
    resolution=8,
    stages=(Stage("mix", (TensorSpec("a", (3,)),), (TensorSpec("b", (2,)),)),),
    tasks={"transfer": Task((Output("target", {"flow": "b"}),))},
    args={"width": [1, 2]},
)


def value(name: str, dtype: int, shape: tuple[int | str, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def graph(precision: str = "fp32", **changes) -> onnx.ModelProto:
    """b = a @ weight + bias, at `precision` inside."""
    dtype = ONNX[precision]
    nodes = [
        helper.make_node("Cast", ["a"], ["x"], to=dtype),
        helper.make_node("MatMul", ["x", "weight"], ["y"]),
        helper.make_node("Add", ["y", "bias"], ["z"]),
        helper.make_node("Cast", ["z"], ["b"], to=TensorProto.FLOAT),
    ]
    parts = {
        "nodes": nodes,
        "name": "mix",
        "inputs": [value("a", TensorProto.FLOAT, ("B", 3))],
        "outputs": [value("b", TensorProto.FLOAT, ("B", 2))],
        "value_info": [value("weight", dtype, (3, 2)), value("bias", dtype, (2,))],
    }
    return helper.make_model(
        helper.make_graph(**(parts | changes)), opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    )


def plan(precision: str = "fp32", model: onnx.ModelProto | None = None) -> Plan:
    weights = {
        "mix.weight": np.arange(6).reshape(3, 2).astype(DTYPES[precision]),
        "mix.bias": np.ones(2, DTYPES[precision]),
    }
    graphs = {"mix": (model or graph(precision)).SerializeToString()}
    return Plan(SPEC, precision, weights, graphs, provenance={"seed": 3, "command": "fetfast train"})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "a.plan"
    plan().save(path)
    return path


def container(path: Path) -> tuple[dict, bytes]:
    """The container's parts: its JSON, and the bytes of the tensors."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def rewrite(path: Path, table: dict, data: bytes) -> None:
    head = json.dumps(table).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + data)


def edit_header(path: Path, **changes) -> None:
    table, data = container(path)
    header = json.loads(table["__metadata__"][KEY]) | changes
    table["__metadata__"][KEY] = json.dumps(header)
    rewrite(path, table, data)


@pytest.mark.parametrize("precision", DTYPES)
def test_round_trip(tmp_path: Path, precision: str) -> None:
    path = tmp_path / "a.plan"
    made = plan(precision)
    made.save(path)
    read = Plan.open(path)
    assert read.header == made.header
    assert read.spec == made.spec
    assert read.digest == made.digest
    assert read.graphs == made.graphs
    assert read.weights.keys() == made.weights.keys()
    for name, weight in made.weights.items():
        assert read.weights[name].dtype == weight.dtype
        assert read.weights[name].tobytes() == weight.tobytes()
        assert not read.weights[name].flags.writeable
    assert [p.name for p in tmp_path.iterdir()] == ["a.plan"]


def test_same_plan_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        plan().save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("precision", DTYPES)
def test_joined_graph_holds_the_weights(precision: str) -> None:
    made = plan(precision)
    model = onnx.load_from_string(made.onnx("mix"))
    onnx.checker.check_model(model, full_check=True)
    assert {i.name: onnx.numpy_helper.to_array(i).tobytes() for i in model.graph.initializer} == {
        name: weight.tobytes() for name, weight in made.stage_weights("mix").items()
    }
    if precision != "bf16":  # onnxruntime's CPU has no bf16 MatMul
        session = onnxruntime.InferenceSession(made.onnx("mix"), providers=["CPUExecutionProvider"])
        (b,) = session.run(["b"], {"a": np.float32([[1, 2, 3]])})
        assert b.tolist() == [[17, 23]]


def test_opens_what_ships_by_name() -> None:
    for file in SHIPPED.glob("*.plan"):
        assert Plan.open(file.name).digest == Plan.open(file.stem).digest == Plan.open(file).digest
        Plan.open(file.name).check()
    assert Plan.open(Plan.best()).name in {file.stem for file in SHIPPED.glob("*.plan")}


def test_missing_file_names_what_ships(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match=r"nothing\.plan.*flow_fp32\.plan"):
        Plan.open("nothing.plan")
    with pytest.raises(BadPlan, match=r"no such file"):
        Plan.open(tmp_path / "flow_fp32.plan")  # a name ships, a path does not
    with pytest.raises(BadPlan, match=r"is a folder"):
        Plan.open(tmp_path)


def test_unwritable(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"a.plan cannot be written: No such file"):
        plan().save(tmp_path / "none" / "a.plan")
    (tmp_path / "folder.plan").mkdir()
    os.mkfifo(tmp_path / "pipe.plan")
    for name in ("folder.plan", "pipe.plan", "."):  # a device that was renamed over would be gone
        with pytest.raises(BadInput, match="expected a file name"):
            plan().save(tmp_path / name)
    assert (tmp_path / "pipe.plan").is_fifo()
    assert {p.name for p in tmp_path.iterdir()} == {"folder.plan", "pipe.plan"}


def test_pipes_are_refused_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.plan")
    with pytest.raises(BadPlan, match="pipe"):
        Plan.open(tmp_path / "pipe.plan")


OTHER_FILES = {
    "engine": (b"ftrt" + bytes(100), "TensorRT engine.*give the .plan"),
    "onnx": (graph().SerializeToString(), "ONNX model.*fetfast build"),
    "pickle": (pickle.dumps([1, 2, 3]) + bytes(20), "PyTorch.*safetensors"),
    "empty": (b"", "too short"),
    "seven bytes": (b"\0" * 7, "too short"),
    "text": (b"this is a letter to a friend", "not a plan"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(64), "not a plan"),
    "zeros": (bytes(64), "not a plan"),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_other_files(tmp_path: Path, kind: str) -> None:
    content, message = OTHER_FILES[kind]
    path = tmp_path / "a.plan"
    path.write_bytes(content)
    with pytest.raises(BadPlan, match=message):
        Plan.open(path)


def test_torch_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.plan"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    with pytest.raises(BadPlan, match="PyTorch"):
        Plan.open(path)


def test_plain_weights(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "w.safetensors"
    save_file({"fuse.basis": np.zeros(3, np.float32)}, path)
    with pytest.raises(BadPlan, match="no plan; make one of them: fetfast build"):
        Plan.open(path)


def test_truncated_anywhere(saved: Path) -> None:
    content = saved.read_bytes()
    for size in range(0, len(content), 7):
        saved.write_bytes(content[:size])
        with pytest.raises(BadPlan):
            Plan.open(saved)


def test_bytes_beyond_the_end(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes() + b"more")
    with pytest.raises(BadPlan, match="damaged"):
        Plan.open(saved)


def test_oversized_header_allocates_nothing(saved: Path) -> None:
    content = saved.read_bytes()
    saved.write_bytes((HEADER_LIMIT + 1).to_bytes(8, "little") + content[8:] + bytes(2 * HEADER_LIMIT))
    tracemalloc.start()
    with pytest.raises(BadPlan, match="header is over"):
        Plan.open(saved)
    assert tracemalloc.get_traced_memory()[1] < HEADER_LIMIT
    tracemalloc.stop()


def test_tensors_overlap_or_leave_gaps(saved: Path) -> None:
    table, data = container(saved)
    for shift in (-8, 8):
        changed = json.loads(json.dumps(table))
        offsets = changed["mix.bias"]["data_offsets"]
        changed["mix.bias"]["data_offsets"] = [offsets[0] + shift, offsets[1] + shift]
        rewrite(saved, changed, data)
        with pytest.raises(BadPlan):
            Plan.open(saved)


@pytest.mark.parametrize(
    "entry",
    [
        {"shape": [1 << 40], "dtype": "F32"},
        {"shape": [1 << 62, 1 << 62], "dtype": "F32"},
        {"shape": [-2], "dtype": "F32"},
        {"shape": [float("nan")], "dtype": "F32"},
        {"shape": [2.0], "dtype": "F32"},
        {"shape": [0], "dtype": "F32", "data_offsets": [0, 0]},
        {"shape": [3], "dtype": "F32"},
        {"shape": [1], "dtype": "F64"},
        {"shape": [2], "dtype": "I32"},
        {"shape": [2], "dtype": "F99"},
        {"shape": [8], "dtype": "U8"},
        {"shape": [4], "dtype": "F16"},  # fits the bytes, not the plan's precision
        {"shape": [4], "dtype": "BF16"},
    ],
    ids=str,
)
def test_lies_about_a_tensor(saved: Path, entry: dict) -> None:
    table, data = container(saved)
    table["mix.bias"] = table["mix.bias"] | entry
    rewrite(saved, table, data)
    with pytest.raises(BadPlan):
        Plan.open(saved)


def test_missing_extra_and_misshaped_weights() -> None:
    good = plan()
    cases = {
        "weights missing.*bias": {"mix.weight": good.weights["mix.weight"]},
        "unknown.*more": {**good.weights, "mix.more": np.ones(2, np.float32)},
        r"unknown.*a\\nb\\x1b": {**good.weights, "mix.a\nb\x1b[2J": np.ones(2, np.float32)},
        "another shape: weight": {**good.weights, "mix.weight": np.ones((2, 3), np.float32)},
        "another shape: bias": {**good.weights, "mix.bias": np.ones(2, np.float16)},
    }
    for message, weights in cases.items():
        with pytest.raises(BadPlan, match=message):
            replace(good, weights=weights).onnx("mix")


def test_tensor_of_no_stage(saved: Path, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    header = container(saved)[0]["__metadata__"]
    graphs = {"graph/mix": np.frombuffer(plan().graphs["mix"], np.uint8)}
    for name, message in (("other.weight", "none of the stages"), ("graph/other", "none of the stages")):
        save_file({**plan().weights, **graphs, name: np.ones(2, np.float32)}, tmp_path / "b.plan", header)
        with pytest.raises(BadPlan, match=message):
            Plan.open(tmp_path / "b.plan")
    save_file(dict(plan().weights), tmp_path / "b.plan", header)
    with pytest.raises(BadPlan, match="graph/mix is missing"):
        Plan.open(tmp_path / "b.plan")


SPEC_JSON = SPEC.to_json()
STAGE = SPEC_JSON["stages"][0]
TASK = SPEC_JSON["tasks"]["transfer"]


def output(to: str, tensors: dict) -> dict:
    return {"spec": SPEC_JSON | {"tasks": {"transfer": {"outputs": [{"to": to, "tensors": tensors}], "bind": {}}}}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 1}, "format 1, this version reads 2"),
        ({"format": None}, "format None"),
        ({"precision": "int4"}, "precision is 'int4'"),
        ({"precision": 16}, "precision"),
        ({"crop": "tilted"}, "crops as 'tilted'"),
        ({"random_weights": "no"}, "random_weights"),
        ({"surprise": 1}, "exactly"),
        ({"spec": []}, "spec"),
        ({"spec": {}}, "spec must have exactly the keys"),
        ({"spec": SPEC_JSON | {"resolution": 0}}, "resolution is 0"),
        ({"spec": SPEC_JSON | {"resolution": True}}, "resolution is no int"),
        ({"spec": SPEC_JSON | {"resolution": 4096}}, "resolution is 4096, expected 1 ... 1024"),
        ({"spec": SPEC_JSON | {"labels": ["happy", "happy"]}}, "expected different names"),
        ({"spec": SPEC_JSON | {"labels": [1]}}, "expected different names"),
        ({"spec": SPEC_JSON | {"tasks": ["transfer"]}}, "spec.tasks is no dict"),
        ({"spec": SPEC_JSON | {"tasks": {}}}, "tasks are none"),
        ({"spec": SPEC_JSON | {"tasks": {"fly": TASK}}}, "tasks hold 'fly', expected some of transfer, swap"),
        ({"spec": SPEC_JSON | {"tasks": {"swap": TASK}}}, r"swap gives \('target',\), expected \('driver', 'target'\)"),
        ({"spec": SPEC_JSON | {"tasks": {"transfer": TASK | {"bind": {"a": 1}}}}}, "bind are"),
        ({"spec": SPEC_JSON | {"tasks": {"transfer": {"outputs": [], "bind": {}}}}}, "transfer gives"),
        (output("target", {"glue": "b"}), "expected a flow"),
        (output("target", {"flow": "b", "mask": "b"}), "expected a flow"),
        (output("wall", {"flow": "b"}), "to 'wall'"),
        (output("labels", {"image": "b"}), "expected probabilities"),
        (output("codes", {}), "expected codes by name"),
        (output("target", {"flow": 1}), "expected names"),
        ({"spec": SPEC_JSON | {"stages": [STAGE, STAGE | {"name": "again"}]}}, "each tensor from one stage"),
        ({"spec": SPEC_JSON | {"stages": []}}, "stages"),
        ({"spec": SPEC_JSON | {"stages": SPEC_JSON["stages"] * 2}}, "different names"),
        ({"spec": SPEC_JSON | {"stages": [STAGE | {"name": "../mix"}]}}, "no identifier"),
        ({"spec": SPEC_JSON | {"stages": [STAGE | {"inputs": []}]}}, "inputs and outputs"),
    ],
    ids=str,
)
def test_header(saved: Path, changes: dict, message: str) -> None:
    edit_header(saved, **changes)
    with pytest.raises(BadPlan, match=message) as raised:
        Plan.open(saved)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("shape", [[], [0], [-1], [1.5], [1 << 20], [8192] * 3, ["3"], [True], None], ids=str)
def test_shapes_of_the_spec(saved: Path, shape) -> None:
    stage = SPEC_JSON["stages"][0] | {"inputs": [{"name": "a", "shape": shape, "dtype": "float32"}]}
    edit_header(saved, spec=SPEC_JSON | {"stages": [stage]})
    with pytest.raises(BadPlan, match="shape"):
        Plan.open(saved)


NO_JSON = ["", "{", "[" * 99_999, '{"format": NaN}', "null", "[]", '"fetfast"']


@pytest.mark.parametrize("text", NO_JSON, ids=lambda text: text[:8])
def test_header_is_no_json(saved: Path, text: str) -> None:
    table, data = container(saved)
    table["__metadata__"][KEY] = text
    rewrite(saved, table, data)
    with pytest.raises(BadPlan):
        Plan.open(saved)


def subgraph() -> onnx.NodeProto:
    inner = helper.make_graph([helper.make_node("Identity", ["a"], ["c"])], "inner", [], [value("c", 1, ("B", 3))])
    return helper.make_node("If", ["weight"], ["w"], then_branch=inner, else_branch=inner)


def external() -> TensorProto:
    tensor = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    return tensor


def sparse() -> onnx.SparseTensorProto:
    """One number of a hundred million million: a few bytes here, and all memory once somebody fills it up."""
    at = TensorProto(name="at", data_type=TensorProto.INT64, dims=[1], int64_data=[0])
    return helper.make_sparse_tensor(TensorProto(name="c", data_type=1, dims=[1], float_data=[1.0]), at, [1 << 47])


def nodes(*more: onnx.NodeProto) -> dict:
    return {"nodes": [*graph().graph.node, *more]}


BAD_GRAPHS = {
    "another input": ({"inputs": [value("other", 1, ("B", 3))]}, "inputs are not the spec's"),
    "one more input": ({"inputs": [value("a", 1, ("B", 3)), value("c", 1, ("B", 3))]}, "inputs"),
    "input of another shape": ({"inputs": [value("a", 1, ("B", 4))]}, "a is not f32"),
    "input of another type": ({"inputs": [value("a", 10, ("B", 3))]}, "a is not f32"),
    "another output": ({"outputs": [value("z", 1, ("B", 2))]}, "outputs"),
    "undeclared weight": ({"value_info": [value("weight", 1, (3, 2))]}, "bias"),
    "custom operator": (nodes(helper.make_node("Run", ["a"], ["w"], domain="evil")), "operators from"),
    "reads nothing": (nodes(helper.make_node("Relu", ["nobody"], ["w"])), "reads what nothing gives"),
    "gives a name twice": (nodes(helper.make_node("Relu", ["a"], ["b"])), "twice"),
    "control flow": (nodes(subgraph()), "graph of its own"),
    "external initializer": ({"initializer": [external()]}, "another file"),
    "external constant": (nodes(helper.make_node("Constant", [], ["w"], value=external())), "another file"),
    "big constant": ({"initializer": [TensorProto(name="c", data_type=1, dims=[1 << 40])]}, "too big"),
    "huge constant": ({"initializer": [TensorProto(name="c", data_type=1, dims=[1 << 62] * 99)]}, "too big"),
    "weight inside": ({"initializer": [TensorProto(name="bias", data_type=1, dims=[2])]}, "two tensors of one name"),
    "sparse initializer": ({"sparse_initializer": [sparse()]}, "sparse tensors"),
    "sparse constant": (nodes(helper.make_node("Constant", [], ["w"], sparse_value=sparse())), "sparse tensor"),
    "no output": ({"nodes": graph().graph.node[:-1]}, "nothing gives"),
}


@pytest.mark.parametrize("kind", BAD_GRAPHS)
def test_graphs(kind: str) -> None:
    changes, message = BAD_GRAPHS[kind]
    made = plan(model=graph(**changes))
    with pytest.raises(BadPlan, match=message):
        made.onnx("mix")
    with pytest.raises(BadPlan, match=message):
        made.check()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(value: float) -> None:
    made = plan()
    weight = made.weights["mix.weight"].copy()
    weight.flat[1] = value
    spoiled = replace(made, weights={**made.weights, "mix.weight": weight})
    for use in (spoiled.check, lambda: spoiled.onnx("mix")):
        with pytest.raises(BadPlan, match=r"no numbers: weight"):
            use()


def test_graph_is_no_onnx(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match="no ONNX model"):
        replace(plan(), graphs={"mix": b"\xff\xff\xff\xff"}).save(tmp_path / "a.plan")
    assert not list(tmp_path.iterdir())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 1 << 16), byte=st.integers(0, 255))
def test_any_damage_is_badplan_or_harmless(saved: Path, at: int, byte: int) -> None:
    content = bytearray(plan()._bytes())
    content[at % len(content)] = byte
    saved.write_bytes(content)
    try:
        Plan.open(saved).onnx("mix")
    except BadPlan as error:
        assert "\n" not in str(error)
