"""int8 plans: what is rounded, that rounding is all that changes, and who runs them."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from oracle import inputs_of, rms

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("nncf")

from fetfast import backends, build, quantize  # noqa: E402
from fetfast.backends import openvino, trt_build  # noqa: E402
from fetfast.cli.plans import build as plans_command  # noqa: E402
from fetfast.errors import BadInput, BadPlan, Unavailable  # noqa: E402
from fetfast.models import unet  # noqa: E402
from fetfast.plan import Plan  # noqa: E402

WARP = replace(unet.small(64), args={"down": [8] * 5, "up": [8] * 5})  # upsampling, skips, an f32 head
PIX2PIX = replace(unet.rgb(128), args={"unet": [8] * 7})  # transposed convolutions, ReLU
SPECS = {"warp": WARP, "pix2pix": PIX2PIX}


@cache
def built(name: str, precision: str) -> Plan:
    spec = SPECS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        modules = unet.build(spec)
        for tensor in modules["unet"].state_dict().values():
            tensor.add_(0.02 * torch.randn(tensor.shape))
    return build.plan_of(spec, modules, precision, samples=quantize.random_samples(spec))


@pytest.fixture(scope="module", params=SPECS)
def plans(request: pytest.FixtureRequest) -> dict[str, Plan]:
    return {precision: built(request.param, precision) for precision in ("fp32", "int8")}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return built("warp", "int8")


def nodes(plan: Plan) -> list[onnx.NodeProto]:
    return list(onnx.ModelProto.FromString(plan.graphs["unet"]).graph.node)


def onnxruntime_s(plan: Plan, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(plan.onnx("unet"), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def test_weights_are_rounded_to_the_nearest_step(plans: dict[str, Plan]) -> None:
    full, plan = plans["fp32"].weights, plans["int8"].weights
    rounded = {name for name, weight in plan.items() if weight.dtype == np.int8}
    assert rounded == {name for name, w in full.items() if w.ndim == 4 and "head" not in name}
    assert plan.keys() == full.keys() | {name + quantize.SCALE for name in rounded}
    transposed = {n.input[1] for n in nodes(plans["fp32"]) if n.op_type == "ConvTranspose"}
    for name in rounded:
        outputs = (1, -1, 1, 1) if name.removeprefix("unet.") in transposed else (-1, 1, 1, 1)
        step = plan[name + quantize.SCALE].reshape(outputs)
        assert np.abs(step * plan[name] - full[name]).max() <= 0.501 * step.max()
        assert (np.abs(step * plan[name] - full[name]) <= 0.501 * step).all(), name
    for name in full.keys() - rounded:
        corrected = name.endswith("bias") and "norm" not in name  # by NNCF, for the mean of what rounding does
        assert corrected or np.array_equal(plan[name], full[name]), name


def test_convolutions_but_the_head_read_integers(plans: dict[str, Plan]) -> None:
    plan = plans["int8"]
    gives = {name: node for node in nodes(plan) for name in node.output}
    seen = 0
    for node in nodes(plan):
        if node.op_type in ("Conv", "ConvTranspose") and node.input[1] != "head.weight":
            assert [gives[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
            seen += 1
    assert seen == sum(w.dtype == np.int8 for w in plan.weights.values())


def test_repetition_and_concatenation_move_integers(plan: Plan) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.ModelProto.FromString(plan.onnx("unet")))
    types = {value.name: value.type.tensor_type for value in model.graph.value_info}
    # but for what is no repetition (the wider motion; flow, light and hue, which are joined for it) and no picture (the
    # tone's few numbers)
    linear = [n for n in model.graph.node for a in n.attribute if a.name == "mode" and a.s == b"linear"]
    mixed = {name for n in linear for name in (n.input[0], n.output[0])}
    made = [n.output[0] for n in model.graph.node if n.op_type in quantize.MOVES]
    moved = [types[name].elem_type for name in made if name not in mixed and len(types[name].shape.dim) == 4]
    assert len(linear) == 3 and moved == [onnx.TensorProto.INT8] * 12
    # inputs of the encoder and of the last layer, norms
    assert sum(node.op_type == "QuantizeLinear" for node in nodes(plan)) == 5 + 7 + 9


def test_rounding_costs_a_few_steps(plans: dict[str, Plan]) -> None:
    """Measured on what it was calibrated on: the same noise."""
    stage = plans["int8"].spec.stage("unet")
    (sample, *_) = quantize.random_samples(plans["int8"].spec)["unet"]
    full, ours = (onnxruntime_s(plans[precision], dict(sample)) for precision in ("fp32", "int8"))
    for tensor in stage.outputs:
        truth = full[tensor.name]
        assert rms(ours[tensor.name], truth) <= 0.1 * np.sqrt(np.mean(truth.astype(np.float64) ** 2)), tensor.name


def test_openvino_computes_what_onnxruntime_does(
    plans: dict[str, Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With f32 between the integers, its error is at most twice onnxruntime's."""
    monkeypatch.setenv("FETFAST_CACHE", str(tmp_path))
    plan = plans["int8"]
    stage = plan.spec.stage("unet")
    inputs = inputs_of(stage, 1)
    truth = onnxruntime_s(plans["fp32"], inputs)
    reference = onnxruntime_s(plan, inputs)
    ours = openvino.compile_model(partial(openvino.read, plan, "unet"), {"plan": plan.digest}, f32=True)(inputs)
    for name, value in truth.items():
        assert rms(ours[name], value) <= 2 * rms(reference[name], value) + 1e-6, name


def test_who_runs_it(plan: Plan) -> None:
    why = backends.examine(plan, "cpu")
    assert why["openvino"] is None
    assert "plain PyTorch does not run quantised plans; take backend openvino" in str(why["eager"])
    assert "fused kernels do not run quantised plans" in str(why["triton"])
    with pytest.raises(Unavailable, match="quantised"):
        backends.choose(plan, "eager")


def test_tensorrt_builds_it_with_int8_convolutions(plan: Plan) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed")
    heard: list[str] = []
    rtx = trt_build.LIBRARIES["tensorrt_rtx"]
    assert trt_build.build(rtx, plan, plan.spec.stage("unet"), "8.9", heard.append).startswith(b"vtrt")
    lines = [line for text in heard for line in text.splitlines() if "LayerType: correlation" in line]
    assert sum("Datatype: Int8" in line.partition("Outputs")[0] for line in lines) == 10


def test_round_trip_and_what_is_refused(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "a.plan"
    plan.save(path)
    read = Plan.open(path)
    read.check()
    assert read.precision == "int8" and read.digest == plan.digest
    name = next(name for name, weight in plan.weights.items() if weight.dtype == np.int8)
    for wrong, weights in (
        (replace(plan, precision="fp16"), plan.weights),
        (plan, plan.weights | {name: plan.weights[name].astype(np.float16)}),
        (plan, plan.weights | {name: plan.weights[name].view(np.uint8)}),
        (plan, plan.weights | {"fuse.basis": plan.weights["fuse.basis"].astype(np.int8)}),
    ):
        path.write_bytes(replace(wrong, weights=weights)._bytes())
        with pytest.raises(BadPlan, match=r"expected (F16 or F32|F32 or I8|F32|F32, .*, I8, no size of 0)$"):
            Plan.open(path)
    path.write_bytes(replace(plan, weights=plan.weights | {name: plan.weights[name].astype(np.float32)})._bytes())
    with pytest.raises(BadPlan, match="weights missing, unknown or of another shape"):
        Plan.open(path).check()


def test_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="int8 needs samples of stage unet"):
        build.plan_of(WARP, {}, "int8")
    full = built("warp", "fp32")
    given = full.graphs["unet"], full.stage_weights("unet")
    with pytest.raises(BadInput, match="nothing to calibrate on"):
        quantize.quantize(*given, [], ())
    monkeypatch.setattr(quantize, "find_spec", lambda name: None if name == "nncf" else importlib.util.find_spec(name))
    with pytest.raises(Unavailable, match="int8 needs nncf; pip install nncf"):
        quantize.quantize(*given, quantize.random_samples(WARP)["unet"], ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "int8", "--weights", "w.safetensors"], "int8 needs --data"),
        (["--precision", "fp16", "--data", "pairs"], "--data goes with --precision int8"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], message: str) -> None:
    done = CliRunner().invoke(plans_command, ["unet", "-o", "a.plan", *options])
    assert done.exit_code == 2 and message in done.output
