"""TensorRT: real engines by TensorRT for RTX, which builds without a GPU; the runner and the full TensorRT's way by
stand-ins that compute."""

import re
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import pytest
import standins

from fetfast import build
from fetfast.backends import cache, eager, gpu, tensorrt, trt_build
from fetfast.backends.trt_build import BATCHES, LIBRARIES
from fetfast.errors import BadInput, BadPlan, Unavailable
from fetfast.models import FAMILIES, family
from fetfast.plan import Plan
from fetfast.spec import Spec, Stage, TensorSpec

RTX, FULL = LIBRARIES["tensorrt_rtx"], LIBRARIES["tensorrt"]
ADA = gpu.Gpu(0, "NVIDIA GeForce RTX 4090", "8.9")
HOPPER = gpu.Gpu(0, "NVIDIA H100 80GB HBM3", "9.0")
ENGINE_TYPES = {"float32": "Float", "float16": "Half", "bfloat16": "BFloat16"}
CONVOLUTIONS = ("correlation", "deconv", "runtime_fusion")  # the last: one with what follows it
NEEDS_RTX = "tensorrt-rtx-cu13 is not installed"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETFAST_CACHE", str(tmp_path / "cache"))


# ---- Real engines, for GPUs that are not here


def built(plan: Plan, stage: Stage, capability: str) -> tuple[bytes, str]:
    """The engine, and all that the builder said of it: without a GPU an engine cannot be loaded into the inspector,
    but the builder prints the same layers, types and bindings when it is done."""
    pytest.importorskip("tensorrt_rtx", reason=NEEDS_RTX)
    heard: list[str] = []
    return trt_build.build(RTX, plan, stage, capability, heard.append), "\n".join(heard)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name, size", [(n, size) for n in FAMILIES for size in family(n).SPECS])
def test_every_stage_builds_in_the_plan_s_precision(name: str, size: str, precision: str, make_plan: Any) -> None:
    plan = make_plan(name, size, precision)
    for stage in plan.spec.stages:
        engine, report = built(plan, stage, "8.9")
        assert engine.startswith(b"vtrt")
        assert bindings(report) == {
            t.name: (mode, "Float", [-1, *t.shape])
            for mode, tensors in (("Input", stage.inputs), ("Output", stage.outputs))
            for t in tensors
        }
        for tensor in stage.inputs:
            least, best, most = ([batch, *tensor.shape] for batch in BATCHES)
            assert f"MinShape: {flat(least)}, OptShape: {flat(best)}, MaxShape: {flat(most)}" in report
        convolutions = [types[0] for kind, types, _ in layers(report) if kind in CONVOLUTIONS]
        assert Counter(convolutions) == Counter(weight_types(plan, stage))
        for kind, types, line in layers(report):
            if kind == "runtime_function" and "_Inor_" in line:
                assert set(types) == {"Float"}, line
            if stage.precise:
                assert kind != "gemm" and not {"Half", "BFloat16"} & set(types), line
        weights, activations = (
            int(next(iter(re.findall(rf"Total {what} Memory: (\d+) bytes", report))))
            for what in ("Weights", "Activation")
        )
        assert 0.9 < weights / sum(w.nbytes for w in plan.stage_weights(stage.name).values()) < 1.3
        assert activations < BATCHES[-1] * 100 * 2**20


@pytest.mark.parametrize("capability", RTX.capabilities)
def test_builds_for_every_architecture(capability: str, make_plan: Any) -> None:
    plan = make_plan("unet", "small", "fp16")
    engines = {stage.name: built(plan, stage, capability)[0] for stage in plan.spec.stages}
    architectures = {"7.5": 1, "8.0": 2, "8.6": 4, "8.9": 8, "12.0": 16, "12.1": 32}  # bits in the engine's header
    assert {engine[32] for engine in engines.values()} == {architectures[capability]}


def test_what_the_builder_refuses_comes_as_one_error(make_plan: Any) -> None:
    plan = make_plan("unet", "small", "bf16")
    with pytest.raises(Unavailable, match=r"cannot build stage unet of unet_bf16: .*sm75.*b16"):
        built(plan, plan.spec.stage("unet"), "7.5")


def test_a_raw_engine_is_no_plan_and_the_error_says_what_it_is(tmp_path: Any) -> None:
    plan = Plan.open("flow_fp32")
    file = tmp_path / "engine.plan"
    file.write_bytes(built(plan, plan.spec.stages[0], "8.9")[0])
    with pytest.raises(BadPlan, match=r"is a raw TensorRT engine, bound to one machine; give the \.plan"):
        Plan.open(file)


def test_builds_where_torch_is_absent() -> None:
    pytest.importorskip("tensorrt_rtx", reason=NEEDS_RTX)
    code = """
        import sys
        sys.modules["torch"] = None
        from fetfast.backends import tensorrt, trt_build
        from fetfast.plan import Plan
        plan = Plan.open("flow_fp32")
        rtx = trt_build.LIBRARIES["tensorrt_rtx"]
        engine = trt_build.fetch(rtx, plan, plan.spec.stages[0], "8.9")
        assert bytes(engine[:4]) == b"vtrt" and tensorrt.why_not(plan, "cuda") is not None
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "fetfast: building flow_fp32, fuse, " in done.stderr


def test_runs_where_torch_is_absent() -> None:
    code = """
        import sys
        sys.modules["torch"] = None
        sys.path.insert(0, sys.argv[1])
        import standins
        sys.modules |= standins.cupy() | {"tensorrt": standins.tensorrt("tensorrt", "11.4.0.1")}
        import numpy as np
        from fetfast import backends
        from fetfast.backends import gpu
        from fetfast.plan import Plan
        gpu.gpus = lambda: (gpu.Gpu(0, "NVIDIA H100 80GB HBM3", "9.0"),)
        plan = Plan.open("flow_fp32")
        assert backends.choose(plan, "auto", "cuda") == ("tensorrt", {})
        (stage,) = plan.spec.stages
        inputs = {t.name: np.ones((2, *t.shape), np.float32) for t in stage.inputs}
        got = backends.load("tensorrt", plan, "cuda:0")["fuse"](inputs)
        cpu = backends.load("openvino", plan)["fuse"](inputs)
        assert np.abs(got["fused_points"] - cpu["fused_points"]).max() < 1e-4
        assert got["fused_points"].shape == (2, 478, 2)
    """
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), here], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_products_said_otherwise_are_the_same_function(make_plan: Any) -> None:
    """Sums of products against matrix products: both f32, so as far apart as each is from f64."""
    onnxruntime = pytest.importorskip("onnxruntime")
    plan = make_plan("unet", "small", "fp32")
    stage = plan.spec.stage("fuse")
    adapted = trt_build.adapt(RTX, plan, stage)
    assert adapted.graphs != plan.graphs and trt_build.adapt(FULL, plan, stage) is plan
    inputs = {t.name: np.random.default_rng(0).random((3, *t.shape), np.float32) for t in stage.inputs}
    got, wanted = (
        onnxruntime.InferenceSession(p.onnx("fuse"), providers=["CPUExecutionProvider"]).run(None, inputs)
        for p in (adapted, plan)
    )
    for a, b in zip(got, wanted, strict=True):
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


def test_deconvolution_said_otherwise_is_the_same_function() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    torch = pytest.importorskip("torch")
    graph = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 20]>
        net (float[B, 4, 8, 8] x) => (float[B, 3, 16, 16] y) <bfloat16[4, 3, 4, 4] w, bfloat16[3] b> {
            narrow = Cast<to = 16>(x)
            up = ConvTranspose<strides = [2, 2], pads = [1, 1, 1, 1]>(narrow, w, b)
            y = Cast<to = 1>(up)
        }""")
    stage = Stage("net", (TensorSpec("x", (4, 8, 8)),), (TensorSpec("y", (3, 16, 16)),))
    spec = Spec("unet", "small", 8, (stage,), ("transfer",), {})
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(shape).astype(ml_dtypes.bfloat16) for shape in ((2, 4, 8, 8), (4, 3, 4, 4), (3,)))
    plan = Plan(spec, "bf16", {"net.w": w, "net.b": b}, {"net": graph.SerializeToString()})
    adapted = trt_build.adapt(RTX, plan, stage)
    assert "ConvTranspose" in str(adapted.graphs["net"]) and trt_build.adapt(FULL, plan, stage) is plan
    session = onnxruntime.InferenceSession(adapted.onnx("net"), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"x": x.astype(np.float32)})
    exact = torch.nn.functional.conv_transpose2d(
        *(torch.from_numpy(a.astype(np.float64)) for a in (x, w, b)), stride=2, padding=1
    ).numpy()
    assert np.abs(got - exact).max() <= 2**-8 * np.abs(exact).max(), "rounded to bf16 once, at the end"


def bindings(report: str) -> dict[str, tuple[str, str, list[int]]]:
    found = re.findall(r"^ Name: (\w+), IOMode: (\w+), DataType: (\w+), Dimensions: (\[[-\d,]+\])", report, re.M)
    return {name: (mode, dtype, [int(n) for n in dims[1:-1].split(",")]) for name, mode, dtype, dims in found}


def layers(report: str) -> list[tuple[str, list[str], str]]:
    """Kind, the types of inputs and outputs, and the whole line of each layer of the engine."""
    lines = [line for line in report.splitlines() if re.match(r"(Layers:\s*)?Name: .*LayerType: ", line)]
    assert lines
    found = []
    for line in lines:
        tensors = re.sub(r"Constants: \[.*?\], Outputs", "Outputs", line)
        kind = next(iter(re.findall(r"LayerType: (\w+)", line)))
        found.append((kind, re.findall(r"Datatype: (\w+)", tensors), line))
    return found


def weight_types(plan: Plan, stage: Stage) -> list[str]:
    """The type of each convolution's weights, as TensorRT calls it."""
    nodes = onnx.ModelProto.FromString(plan.graphs[stage.name]).graph.node
    weights = plan.stage_weights(stage.name)
    return [ENGINE_TYPES[weights[n.input[1]].dtype.name] for n in nodes if n.op_type in ("Conv", "ConvTranspose")]


def flat(shape: list[int]) -> str:
    return str(shape).replace(" ", "")


# ---- The runner, and the full TensorRT, on stand-ins


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """A machine with a GPU, CuPy and one of the libraries, all of them stand-ins; gives the library's module."""

    def make(name: str = "tensorrt", version: str = "10.13.2.6", card: gpu.Gpu = HOPPER) -> ModuleType:
        library = standins.tensorrt(name, version)
        other = "tensorrt_rtx" if name == "tensorrt" else "tensorrt"
        for key, value in {**standins.cupy(), name: library, other: None}.items():
            monkeypatch.setitem(sys.modules, key, value)
        monkeypatch.setattr(gpu, "gpus", lambda: (card,))
        monkeypatch.setattr(tensorrt, "driver_version", lambda: "13.0")
        return library

    return make


@pytest.mark.parametrize("library, card", [("tensorrt", HOPPER), ("tensorrt_rtx", ADA)])
@pytest.mark.parametrize("batch", [0, 1, 3, 16, 21])
def test_runner_gives_what_eager_gives(library: str, card: gpu.Gpu, batch: int, machine: Any, make_plan: Any) -> None:
    machine(library, card=card)
    plan = make_plan("flow", "small", "fp32")
    assert tensorrt.why_not(plan, None) is None
    runners, oracle = tensorrt.load(plan), eager.load(plan, "cpu")
    rng = np.random.default_rng(batch)
    stage = plan.spec.stage("fuse")
    for _ in range(2):  # the second call replays the graph, with other inputs
        inputs = {t.name: rng.random((batch, *t.shape), np.float32) for t in stage.inputs}
        got, wanted = runners["fuse"](inputs), oracle["fuse"](inputs)
        assert got.keys() == wanted.keys()
        for name in wanted:
            assert got[name].shape == wanted[name].shape and got[name].dtype == np.float32
            np.testing.assert_allclose(got[name], wanted[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 3, 21])
def test_tensors_stay_where_they_are(batch: int, machine: Any, make_plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given PyTorch's tensors the runner gives such, and its pinned memory is not touched."""
    torch = pytest.importorskip("torch")
    from hostmemory import HostMemory

    class OnStream(HostMemory):
        stream = standins.Stream(non_blocking=True).ptr

        def pinned(self, shape: tuple[int, ...]) -> Any:
            raise AssertionError("went by the host")

    machine()
    monkeypatch.setattr(tensorrt, "memory", lambda card: OnStream())
    plan = make_plan("flow", "small", "fp32")
    inputs = {t.name: torch.rand(batch, *t.shape) for t in plan.spec.stage("fuse").inputs}
    got = tensorrt.load(plan)["fuse"](inputs)["fused_points"]
    wanted = eager.load(plan, "cpu")["fuse"](inputs)["fused_points"]
    assert isinstance(got, torch.Tensor) and got.shape == wanted.shape
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_inputs_and_outputs_are_bound_by_name(machine: Any, make_plan: Any) -> None:
    """Two inputs of one shape, and outputs that differ only in name, given in any order."""
    machine()
    plan = make_plan("unet", "small", "fp16")
    stage = plan.spec.stage("unet")
    rng = np.random.default_rng(0)
    inputs = {t.name: rng.random((1, *t.shape), np.float32) for t in stage.inputs}
    runner = tensorrt.load(plan)["unet"]
    first = {name: array.copy() for name, array in runner(inputs).items()}
    again = runner(dict(reversed(inputs.items())))
    wanted = eager.load(make_plan("unet", "small", "fp32"), "cpu")["unet"](inputs)
    for name, array in wanted.items():
        np.testing.assert_array_equal(first[name], again[name])
        assert np.abs(first[name] - array).max() < 0.1 * max(np.ptp(array), 0.1)


@pytest.mark.parametrize("name, card", [("tensorrt", HOPPER), ("tensorrt_rtx", ADA)])
def test_how_each_library_is_told_to_build(name: str, card: gpu.Gpu, machine: Any, make_plan: Any) -> None:
    module, library = machine(name, card=card), LIBRARIES[name]
    plan = make_plan("unet", "small", "fp16")
    tensorrt.load(plan)
    for stage, told in zip(plan.spec.stages, module.built, strict=True):
        assert told["profile"] == {t.name: tuple((b, *t.shape) for b in BATCHES) for t in stage.inputs}
        assert ("TF32" in told["flags"]) is not stage.precise
        assert set(library.flags) <= set(told["flags"])
        assert told["capability"] == ("89" if name == "tensorrt_rtx" else None)
        assert told["timing"] is (name == "tensorrt")  # which would make TensorRT for RTX look for a GPU
    kinds = {entry.kind for entry in cache.entries()}
    assert kinds == {"tensorrt", "timing" if name == "tensorrt" else "runtime"}


def test_second_load_builds_nothing(machine: Any, capfd: pytest.CaptureFixture[str]) -> None:
    module, plan = machine("tensorrt_rtx", "1.7.1.116", ADA), Plan.open("flow_fp32")
    tensorrt.load(plan)
    assert capfd.readouterr().err.count("fetfast: building flow_fp32, fuse, fp32, 1-4-16, TensorRT for RTX") == 1
    tensorrt.load(plan)
    assert len(module.built) == 1 and capfd.readouterr().err == ""


@pytest.mark.parametrize("what", ["plan", "precision", "version", "target", "batches", "library"])
def test_whatever_does_not_match_is_built_again_and_said(
    what: str, machine: Any, make_plan: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    machine("tensorrt_rtx", "1.7.1.116", ADA)
    plan = make_plan("flow", "small", "fp32")
    tensorrt.load(plan)
    capfd.readouterr()
    module = machine(*{
        "version": ("tensorrt_rtx", "1.8.0.1", ADA),
        "target": ("tensorrt_rtx", "1.7.1.116", gpu.Gpu(0, "NVIDIA GeForce RTX 3090", "8.6")),
        "library": ("tensorrt", "10.13.2.6", ADA),
    }.get(what, ("tensorrt_rtx", "1.7.1.116", ADA)))  # fmt: skip
    if what == "plan":
        plan = build.build("flow", "small", "fp32", seed=1)
    if what == "precision":
        monkeypatch.setattr(trt_build, "key", lambda *given, real=trt_build.key: real(*given) | {"precision": "fp16"})
    if what == "batches":
        monkeypatch.setattr(trt_build, "BATCHES", (1, 2, 16))
        monkeypatch.setattr(tensorrt, "BATCHES", (1, 2, 16))
    tensorrt.load(plan)
    assert len(module.built) == 1
    line = next(line for line in capfd.readouterr().err.splitlines() if "building" in line)
    assert re.search(rf"the cached one is for .*{what} ", line)


def test_an_engine_that_does_not_load_is_dropped_and_built_again_once(machine: Any) -> None:
    module, plan = machine(card=HOPPER), Plan.open("flow_fp32")
    stage = plan.spec.stages[0]
    about = trt_build.key(FULL, plan, stage, trt_build.target(FULL, HOPPER, HOPPER.capability))
    cache.write("tensorrt", about, b"whole, but of another library")
    tensorrt.load(plan)
    assert len(module.built) == 1
    module.Runtime.deserialize_cuda_engine = lambda self, engine: None
    with pytest.raises(Unavailable, match="does not load the engine that it built"):
        tensorrt.load(plan)
    assert len(module.built) == 2


def test_why_not_says_what_is_missing(machine: Any, make_plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan.open("flow_fp32")
    assert "not on cpu" in str(tensorrt.why_not(plan, "cpu"))
    if not gpu.gpus():
        assert "NVIDIA driver" in str(tensorrt.why_not(plan, None))
    machine("tensorrt_rtx", "1.7.1.116", HOPPER)
    assert "TensorRT for RTX has no compute capability 9.0" in str(tensorrt.why_not(plan, None))
    assert "TensorRT is not installed" in str(tensorrt.why_not(plan, None))
    assert "expected one at index 3" in str(tensorrt.why_not(plan, "cuda:3"))
    machine("tensorrt", "10.9.0.34")
    assert "TensorRT is 10.9.0.34, expected 10.13 or newer" in str(tensorrt.why_not(plan, None))
    machine("tensorrt_rtx", "1.7.1.116", gpu.Gpu(0, "NVIDIA GeForce RTX 2080", "7.5"))
    assert "has no bf16; take the plan in fp16" in str(tensorrt.why_not(make_plan("unet", "small", "bf16"), None))
    machine()
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: None)
    assert "neither CuPy nor PyTorch" in str(tensorrt.why_not(plan, None))


def test_rtx_may_be_tried_on_a_gpu_that_is_not_on_its_list(machine: Any) -> None:
    module = machine("tensorrt_rtx", "1.7.1.116", HOPPER)
    runners = tensorrt.load(Plan.open("flow_fp32"), library=RTX)
    assert set(runners) == {"fuse"} and module.built[0]["capability"] is None
    assert cache.entries()[0].key["target"] == "portable"


def test_what_is_built_for_what(machine: Any) -> None:
    machine("tensorrt_rtx", "1.7.1.116")
    assert trt_build.choose("fp16", None, "7.5") == (RTX, "7.5")
    assert trt_build.choose("fp16", ADA) == (RTX, "8.9")
    assert trt_build.choose("fp16", ADA, "12.0") == (RTX, "12.0")
    with pytest.raises(Unavailable, match=r"no compute capability 9\.9, only 7\.5, 8\.0"):
        trt_build.choose("fp16", ADA, "9.9")
    with pytest.raises(BadInput, match=r"capability is 'ada', expected a compute capability such as 8\.9"):
        trt_build.choose("fp16", ADA, "ada")
    with pytest.raises(Unavailable, match="no NVIDIA GPU here to build for; name one"):
        trt_build.choose("fp16", None)
    machine("tensorrt")
    assert trt_build.choose("fp16", HOPPER) == (FULL, "NVIDIA H100 80GB HBM3 (9.0)")
    for card in (None, ADA):
        with pytest.raises(Unavailable, match="TensorRT builds only on the GPU that will run it"):
            trt_build.choose("fp16", card, "9.0")


def test_the_stand_ins_have_no_member_that_tensorrt_has_not() -> None:
    real = pytest.importorskip("tensorrt_rtx", reason=NEEDS_RTX)
    standin = standins.tensorrt("tensorrt_rtx", real.__version__)
    classes = {name: value for name, value in vars(standin).items() if isinstance(value, type)}
    assert len(classes) > 15
    for name, value in classes.items():
        members = [member for member in vars(value) if not member.startswith("_")]
        assert not [member for member in members if not hasattr(getattr(real, name), member)], name
    settable = ("profiling_verbosity", "num_compute_capabilities")
    assert all(hasattr(real.IBuilderConfig, name) for name in settable)
    assert hasattr(real.IRuntimeConfig, "dynamic_shapes_kernel_specialization_strategy")


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:-1"])
def test_devices_that_do_not_exist_as_such(device: str) -> None:
    with pytest.raises(BadInput, match="expected cuda or cuda:N"):
        gpu.find(device)
