"""Backends: the choice among them, and every family and stage against f64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from oracle import in_f64, inputs_of, rms

from fetfast import backends
from fetfast.backends import cache as sealed
from fetfast.backends import eager, openvino
from fetfast.errors import BadInput, BadPlan, Unavailable
from fetfast.models import FAMILIES
from fetfast.plan import Plan
from fetfast.spec import Stage, TensorSpec

SMALL = [(name, "small") for name in FAMILIES]
CPU = ("openvino", "eager")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Compiled networks of these tests go into a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("FETFAST_CACHE", str(folder))
        yield folder


@pytest.fixture
def plan() -> Plan:
    return Plan.open("flow_fp32.plan")


@pytest.fixture
def two(monkeypatch) -> None:
    """As if these were all the backends."""
    monkeypatch.setattr(backends, "BACKENDS", {name: backends.BACKENDS[name] for name in CPU})


def test_every_backend_says_whether_it_can(plan: Plan) -> None:
    reasons = backends.examine(plan, "cpu")
    assert list(reasons) == list(backends.BACKENDS)
    chosen, skipped = backends.choose(plan, device="cpu")
    assert chosen == next(name for name, reason in reasons.items() if reason is None) == "openvino"
    assert skipped == {name: reason for name, reason in reasons.items() if reason and name in skipped}


@pytest.mark.usefixtures("two")
def test_auto_takes_the_first_that_can(plan: Plan) -> None:
    assert backends.choose(plan) == ("openvino", {})
    assert backends.choose(plan, "eager") == ("eager", {})


@pytest.mark.usefixtures("two")
def test_auto_says_why_it_passed_others_over(plan: Plan, monkeypatch) -> None:
    monkeypatch.setattr(openvino, "why_not", lambda plan, device: "it rains; take a coat")
    assert backends.choose(plan) == ("eager", {"openvino": "it rains; take a coat"})
    monkeypatch.setattr(eager, "why_not", lambda plan, device: "no torch; install it")
    with pytest.raises(Unavailable, match="openvino: it rains; take a coat; eager: no torch; install it"):
        backends.choose(plan)


@pytest.mark.usefixtures("two")
def test_by_name_never_falls_back(plan: Plan, monkeypatch) -> None:
    monkeypatch.setattr(openvino, "why_not", lambda plan, device: "it rains; take a coat")
    with pytest.raises(Unavailable, match="it rains; take a coat"):
        backends.choose(plan, "openvino")
    with pytest.raises(BadInput, match="backend is 'magic', expected auto or one of openvino, eager"):
        backends.choose(plan, "magic")


@pytest.mark.parametrize(("device", "where"), [(None, "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")])
def test_eager_is_where_frames_are(plan: Plan, monkeypatch, device: str | None, where: str) -> None:
    """Whatever GPU is PyTorch's current one."""
    torch = pytest.importorskip("torch")
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(backends, "find_spec", lambda name: True)
    monkeypatch.setattr(eager, "modules", lambda plan, place: asked.append(place) or {})
    eager.load(plan, device)
    assert asked == [torch.device(where)] and backends.tensors_on("eager", device) == where


def test_weights_reach_the_gpu_in_one_copy(make_plan) -> None:
    """A change of layout there would be a kernel on this thread's stream; runners are called on others."""
    torch = pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            to = (kwargs or {}).get("device")
            if function is torch.ops.aten._to_copy.default and (args[0].device.type, to.type) == ("cpu", "meta"):
                moved.append(args[0])
                assert kwargs.get("memory_format") in (None, torch.preserve_format)
            return function(*args, **(kwargs or {}))

    moved: list = []
    plan = make_plan("unet", "small", "fp16")
    with Seen():
        placed = eager.modules(plan, torch.device("meta"))
    assert len(moved) == len(plan.weights)
    images = [x for module in placed.values() for x in module.state_dict().values() if x.ndim == 4]
    assert images and all(x.is_contiguous(memory_format=torch.channels_last) for x in images)


def test_no_torch_and_no_cuda(plan: Plan, monkeypatch) -> None:
    assert "CPU" in openvino.why_not(plan, "cuda")
    if not pytest.importorskip("torch").cuda.is_available():
        assert "CUDA" in eager.why_not(plan, "cuda:0")
    monkeypatch.setattr(eager, "find_spec", lambda name: None)
    assert "pip install torch" in eager.why_not(plan, "cpu")


@pytest.mark.parametrize(("name", "size"), SMALL)
def test_openvino_equals_eager_in_f32(make_plan, name: str, size: str) -> None:
    plan = make_plan(name, size, "fp32")
    ours, plain = (backends.load(backend, plan, "cpu") for backend in ("openvino", "eager"))
    for stage in plan.spec.stages:
        inputs = inputs_of(stage, 2)
        truth = in_f64(plan, stage, inputs)
        fast, slow = ours[stage.name](inputs), plain[stage.name](inputs)
        for tensor in stage.outputs:
            got = fast[tensor.name]
            assert got.dtype == np.float32 and got.shape == (2, *tensor.shape) and got.flags.c_contiguous
            error, allowed = (rms(a[tensor.name], truth[tensor.name]) for a in (fast, slow))
            rounding = np.finfo(np.float32).eps * np.abs(truth[tensor.name]).max()
            assert error <= 2 * allowed + 2 * rounding, tensor.name


def cells(field: np.ndarray) -> np.ndarray:
    """Means [B, C, S, S] of four sub-pixels of [B, C, 2 S, 2 S]."""
    B, C, side, _ = field.shape
    return field.reshape(B, C, side // 2, 2, side // 2, 2).mean((3, 5))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize(("name", "size"), SMALL)
def test_openvino_in_bf16_is_no_worse_than_eager_in_bf16(make_plan, name: str, size: str, precision: str) -> None:
    exact = make_plan(name, size, "fp32")
    ours = backends.load("openvino", make_plan(name, size, precision), "cpu")
    plain = backends.load("eager", make_plan(name, size, "bf16"), "cpu")
    for stage in exact.spec.stages:
        inputs = inputs_of(stage, 1)
        truth = in_f64(exact, stage, inputs)
        fast, slow = ours[stage.name](inputs), plain[stage.name](inputs)
        for key, value in truth.items():
            once_more = 2**-8 * rms(value, 0 * value)  # OpenVINO also rounds the sums of the head, which eager does not
            assert rms(fast[key], value) <= 2 * rms(slow[key], value) + once_more, key
            if stage.precise:
                scale = max(1.0, np.abs(value).max())  # noise for weights sends points far out of the crop
                assert np.abs(fast[key] - value).max() / scale * 256 < 0.001, "pixels at 256"
            if key == "flow":
                moved = np.abs(cells(value) - inputs["first_flow"]).max()
                assert moved > 4 / 256, "a correction of some pixels"
                assert np.abs(fast[key] - value).max() < moved / 64, "of the correction: a few roundings of 2^-8"


@pytest.mark.parametrize("backend", CPU)
def test_any_batch(plan: Plan, backend: str) -> None:
    run = backends.load(backend, plan, "cpu")["fuse"]
    inputs = inputs_of(plan.spec.stage("fuse"), 5)
    alone = [run({name: value[i : i + 1] for name, value in inputs.items()})["fused_points"].copy() for i in range(5)]
    for batch in (5, 1, 0, 2):
        got = run({name: value[:batch] for name, value in inputs.items()})["fused_points"]
        assert got.shape == (batch, 478, 2)
        np.testing.assert_allclose(got, np.concatenate([np.empty((0, 478, 2)), *alone[:batch]]), atol=1e-6)


@pytest.mark.parametrize("backend", CPU)
def test_inputs_of_any_layout(plan: Plan, backend: str) -> None:
    run = backends.load(backend, plan, "cpu")["fuse"]
    inputs = inputs_of(plan.spec.stage("fuse"), 2)
    wanted = run(inputs)["fused_points"].copy()
    strided = {name: np.repeat(value, 2, axis=-1)[..., ::2] for name, value in inputs.items()}
    for value in strided.values():
        value.flags.writeable = False
    assert not any(value.flags.c_contiguous for value in strided.values())
    np.testing.assert_array_equal(run(strided)["fused_points"], wanted)


def test_openvino_takes_the_compiled_network_from_its_cache(plan: Plan, cache: Path, monkeypatch) -> None:
    inputs = inputs_of(plan.spec.stage("fuse"), 1)
    wanted = openvino.load(plan)["fuse"](inputs)["fused_points"].copy()
    (entry,) = (e.path for e in sealed.entries() if (e.key["plan"], e.key["stage"]) == (plan.digest, "fuse"))

    joined = []
    whole = Plan.onnx
    monkeypatch.setattr(Plan, "onnx", lambda self, stage: joined.append(stage) or whole(self, stage))
    np.testing.assert_array_equal(openvino.load(plan)["fuse"](inputs)["fused_points"], wanted)
    assert not joined, "a cached network needs no graph"

    content = entry.read_bytes()
    for damaged in (b"", content[:1000], content[:-1], content[:500] + b"\0\1\2\3" + content[504:]):
        entry.write_bytes(damaged)
        np.testing.assert_array_equal(openvino.load(plan)["fuse"](inputs)["fused_points"], wanted)
        assert joined.pop() == "fuse" and entry.read_bytes() != damaged
    assert len([e for e in sealed.entries() if e.key["plan"] == plan.digest]) == 1


def test_openvino_makes_again_what_it_does_not_load(plan: Plan, cache: Path) -> None:
    inputs = inputs_of(plan.spec.stage("fuse"), 1)
    wanted = openvino.load(plan)["fuse"](inputs)["fused_points"].copy()
    (key,) = (e.key for e in sealed.entries() if (e.key["plan"], e.key["stage"]) == (plan.digest, "fuse"))
    sealed.write("openvino", key, b"whole, but of nothing that OpenVINO knows")
    np.testing.assert_array_equal(openvino.load(plan)["fuse"](inputs)["fused_points"], wanted)
    assert len(sealed.read("openvino", key) or b"") > 1000


def test_openvino_without_a_cache(plan: Plan, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FETFAST_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="set FETFAST_CACHE"):
        assert openvino.load(plan)["fuse"](inputs_of(plan.spec.stage("fuse"), 1))


def test_openvino_threads(plan: Plan) -> None:
    inputs = inputs_of(plan.spec.stage("fuse"), 1)
    one, two = (openvino.load(plan, threads=n)["fuse"](inputs)["fused_points"] for n in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_weights_that_do_not_fit_the_family(plan: Plan) -> None:
    weights = dict(plan.weights) | {"fuse.basis": np.zeros((2, 2), np.float32)}
    for bad in (replace(plan, weights=weights), replace(plan, weights={})):
        for backend in CPU:
            with pytest.raises(BadPlan):
                backends.load(backend, replace(bad, path=None), "cpu")


HUGE = [1 << 40] * 3


@pytest.mark.parametrize("args", [{}, {"fuse": 1 << 40, "down": HUGE, "up": HUGE}, {"fuse": "much"}], ids=str)
def test_lies_about_the_size_allocate_nothing(make_plan, args: dict) -> None:
    plan = make_plan("unet", "small", "fp32")
    with pytest.raises(BadPlan, match="does not fit its family"):
        eager.load(replace(plan, spec=replace(plan.spec, args=args)), "cpu")


def test_graph_that_openvino_cannot_run(plan: Plan) -> None:
    import onnx

    model = onnx.load_from_string(plan.graphs["fuse"])
    model.graph.node[0].op_type = "NoSuchOperator"
    broken = replace(plan, graphs={"fuse": model.SerializeToString()}, path=None)
    with pytest.raises(BadPlan, match="OpenVINO cannot take stage fuse") as raised:
        openvino.load(broken)
    assert "\n" not in str(raised.value)
    other = Stage("fuse", (TensorSpec("a", (1,)),), plan.spec.stages[0].outputs)
    with pytest.raises(BadPlan, match="inputs are not the spec's"):
        openvino.load(replace(plan, spec=replace(plan.spec, stages=(other,)), path=None))
