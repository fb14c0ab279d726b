"""Export: the graph of every family and stage is the module, at every precision."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from oracle import in_f64, inputs_of, rms
from safetensors.numpy import save_file

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from fetfast import backends, build, quantize  # noqa: E402
from fetfast.backends import openvino, trt_build  # noqa: E402
from fetfast.errors import BadInput, Unavailable  # noqa: E402
from fetfast.models import FAMILIES, family  # noqa: E402
from fetfast.models.layers import BatchNorm, InstanceNorm, cast  # noqa: E402
from fetfast.plan import Plan  # noqa: E402
from fetfast.spec import Stage, TensorSpec  # noqa: E402

SMALL = [(name, "small") for name in FAMILIES]
ALL = [(name, size, precision) for name, size in SMALL for precision in ("fp32", "fp16", "bf16")]
PAPER = [(name, "paper", "fp16") for name in FAMILIES if "paper" in family(name).SPECS]


@pytest.mark.parametrize(("name", "size", "precision"), ALL + PAPER)
def test_graph_and_weights(make_plan, name: str, size: str, precision: str) -> None:
    plan = make_plan(name, size, precision)
    plan.check()
    for stage in plan.spec.stages:
        model = onnx.load_from_string(plan.onnx(stage.name))
        joined = {i.name: i for i in model.graph.initializer}
        weights = plan.stage_weights(stage.name)
        assert weights.keys() <= joined.keys()
        for key, weight in weights.items():
            assert onnx.numpy_helper.to_array(joined[key]).tobytes() == weight.tobytes(), key
        assert [d.dim_param for v in model.graph.input for d in v.type.tensor_type.shape.dim[:1]] == ["batch"] * len(
            stage.inputs
        )
        module = family(name).build(plan.spec)[stage.name]
        assert weights.keys() == module.state_dict().keys()
        kinds = {weight.dtype.name for weight in weights.values()}
        short = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[precision]
        assert kinds <= ({"float32"} if stage.precise else {"float32", short})
        assert stage.precise or short in kinds
    stored = sum(w.nbytes for w in plan.weights.values())
    assert len(plan._bytes()) < 1.1 * stored + 100_000, "weights must stand in the file once"


@pytest.mark.parametrize(("precision", "batch"), [("fp32", 3), ("fp16", 1)])
@pytest.mark.parametrize(("name", "size"), SMALL)
def test_onnxruntime_equals_eager(make_plan, name: str, size: str, precision: str, batch: int) -> None:
    plan = make_plan(name, size, precision)
    eager = backends.load("eager", plan, "cpu")
    for stage in plan.spec.stages:
        session = onnxruntime.InferenceSession(plan.onnx(stage.name), providers=["CPUExecutionProvider"])
        inputs = inputs_of(stage, batch)
        ours = dict(zip([t.name for t in stage.outputs], session.run(None, inputs), strict=True))
        plain = eager[stage.name](inputs)
        truth = in_f64(plan, stage, inputs)
        for key, value in truth.items():
            assert ours[key].dtype == np.float32 and ours[key].shape == value.shape
            rounding = np.finfo(np.float32).eps * np.abs(value).max()
            assert rms(ours[key], value) <= 2 * rms(plain[key], value) + 2 * rounding, key


def test_equal_weights_keep_their_names() -> None:
    """A new module's norms are equal, and its biases 0: the exporter would merge the ones and drop the others."""
    plan = build.build("unet", "small", "fp32")
    assert not plan.weights["unet.head.weight"][:2].any()
    plan.check()


def test_seed_and_header(tmp_path: Path) -> None:
    a, b, c = (build.build("flow", "small", "fp32", seed=seed) for seed in (5, 5, 6))
    assert a.digest == b.digest != c.digest
    assert a.header["random_weights"] and a.header["provenance"] == {"seed": 5}


def test_weights_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights = {name: w + np.float32(1) for name, w in build.build("flow", "small", "fp32").weights.items()}
    save_file(weights, path, {"fetfast": '{"provenance": {"seed": 7}, "metrics": {"psnr": 30.5}}'})
    plan = build.build("flow", "small", "fp32", path)
    assert not plan.random_weights
    assert plan.header["provenance"] == {"seed": 7} and plan.header["metrics"] == {"psnr": 30.5}
    assert {k: w.tobytes() for k, w in plan.weights.items()} == {k: w.tobytes() for k, w in weights.items()}


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights = dict(build.build("flow", "small", "fp32").weights)
    for changed in (
        {"fuse.basis": weights["fuse.basis"]},
        weights | {"fuse.more": np.zeros(2, np.float32)},
        weights | {"fuse.basis": np.zeros((2, 2), np.float32)},
    ):
        save_file(changed, path)
        with pytest.raises(BadInput, match="misses, or has beyond"):
            build.build("flow", "small", "fp32", path)
    for about in ("[]", '{"metrics": 3}', '{"metrics": {"psnr": NaN}}', "{"):
        save_file(weights, path, {"fetfast": about})
        with pytest.raises(BadInput):
            build.build("flow", "small", "fp32", path)
    for content in (b"", b"PK\x03\x04 a checkpoint"):
        path.write_bytes(content)
        with pytest.raises(BadInput, match="cannot be read as safetensors"):
            build.build("flow", "small", "fp32", path)
    with pytest.raises(BadInput, match="cannot be read"):
        build.build("flow", "small", "fp32", tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody", "small", "fp32"), "family is 'nobody', expected one of flow, unet"),
        (("unet", "huge", "fp32"), "size is 'huge', expected one of paper, small"),
        (("flow", "small", "int4"), "precision is 'int4', expected one of fp32, fp16, bf16, int8"),
    ],
)
def test_bad_arguments(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        build.build(*arguments)


def test_says_what_is_missing(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="pip install torch onnxscript"):
        importlib.reload(build)


class Tempting(torch.nn.Module):
    """All that an exporter's optimizer would fold or merge: a batch norm after a convolution, a modulated convolution
    (Karras et al. 2020) that divides by the squares of its weights, one whose weights are computed, equal weights,
    zeros, a weight read by a cast."""

    def __init__(self) -> None:
        super().__init__()
        self.computed = True
        self.first = torch.nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = BatchNorm(4)
        self.equal = torch.nn.ModuleList(InstanceNorm(4) for _ in range(2))
        self.style = torch.nn.Linear(5, 4)
        self.modulated = torch.nn.Parameter(torch.randn(4, 4, 3, 3))
        self.last = torch.nn.Conv2d(4, 3, 1)
        self.gain = torch.nn.Parameter(torch.ones(3, 1, 1))
        torch.nn.init.zeros_(self.last.weight)

    def forward(self, picture: torch.Tensor, code: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.relu(self.norm(self.first(picture.to(self.first.weight.dtype))))
        for norm in self.equal:
            x = norm(x)
        style = self.style(code.to(x.dtype)) + 1
        strength = (self.modulated * self.modulated).sum((2, 3))  # [out, in]
        x = torch.nn.functional.conv2d(x * style[:, :, None, None], self.modulated, padding=1)
        x = x * (style * style @ strength.T + 1e-4).rsqrt()[:, :, None, None]
        if self.computed:
            unit = self.modulated * (self.modulated * self.modulated).sum((1, 2, 3), keepdim=True).rsqrt()
            x = torch.nn.functional.conv2d(x, unit, padding=1)
        return {"result": picture + self.gain.float() * self.last(x).float().tanh()}


TEMPTING = Stage(
    "net",
    (TensorSpec("picture", (3, 16, 16)), TensorSpec("code", (5,))),
    (TensorSpec("result", (3, 16, 16)),),
)


@pytest.fixture(scope="module")
def tempting() -> Callable[[str], tuple[torch.nn.Module, Plan]]:
    """Exported as it is when new, and then with trained weights under the graph of the new one."""
    torch.manual_seed(0)
    new = Tempting().eval()
    trained = deepcopy(new)
    for tensor in trained.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.3 * torch.rand(tensor.shape))
    spec = replace(family("flow").SPECS["small"], stages=(TEMPTING,), tasks={})

    @cache
    def make(precision: str) -> tuple[torch.nn.Module, Plan]:
        new.computed = trained.computed = precision != "int8"
        plans = [
            build.plan_of(spec, {"net": net}, precision, samples=quantize.random_samples(spec))
            for net in (new, trained)
        ]
        if precision != "int8":
            assert plans[0].graphs == plans[1].graphs, "a graph knows no values of weights"
        return deepcopy(trained), plans[1]

    return make


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_nothing_of_the_weights_is_folded_into_the_graph(tempting, precision: str) -> None:
    module, plan = tempting(precision)
    plan.check()
    names = {name for name, tensor in module.state_dict().items() if tensor.is_floating_point()}
    held = plan.stage_weights("net")
    assert {name.removesuffix(quantize.SCALE) for name in held} == names
    if precision != "int8":
        cast_ = cast(deepcopy(module), build.TORCH_DTYPES[precision]).state_dict()
        assert all(build._numpy(cast_[name]).tobytes() == held[name].tobytes() for name in names)
        assert all(held[name].dtype == np.float32 for name in names if name.startswith(("norm.", "equal.")))
    constants = [c for c in onnx.ModelProto.FromString(plan.graphs["net"]).graph.initializer]
    assert precision == "int8" or all(prod(c.dims) <= 4 for c in constants), "axes and shapes alone"


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 4e-3), ("int8", 4e-2)])
def test_the_runtimes_compute_with_the_weights_as_they_are(tempting, tmp_path, monkeypatch, precision, tolerance):
    monkeypatch.setenv("FETFAST_CACHE", str(tmp_path))
    module, plan = tempting(precision)
    inputs = {name: 2 * x - 1 for name, x in inputs_of(TEMPTING, 1).items()}
    with torch.no_grad():
        wanted = module(**{name: torch.from_numpy(x) for name, x in inputs.items()})["result"].numpy()
    session = onnxruntime.InferenceSession(plan.onnx("net"), providers=["CPUExecutionProvider"])
    compiled = openvino.compile_model(partial(openvino.read, plan, "net"), {"plan": plan.digest}, f32=True)
    for result in (session.run(None, inputs)[0], compiled(inputs)["result"]):
        assert rms(result, wanted) < tolerance * np.std(wanted - inputs["picture"])


def test_tensorrt_builds_batch_norm_and_modulated_weights(tempting) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed")
    for precision in ("fp16", "int8"):
        rtx, plan = trt_build.LIBRARIES["tensorrt_rtx"], tempting(precision)[1]
        assert trt_build.build(rtx, plan, TEMPTING, "8.9", print).startswith(b"vtrt")


def test_int8_of_computed_weights_is_refused() -> None:
    spec = replace(family("flow").SPECS["small"], stages=(TEMPTING,), tasks={})
    with pytest.raises(BadInput, match=r"weights \['.*'\] of convolutions are computed, which NNCF cannot take"):
        build.plan_of(spec, {"net": Tempting()}, "int8", samples=quantize.random_samples(spec))


def test_a_weight_that_is_not_read_is_refused() -> None:
    spec = family("flow").SPECS["small"]
    fuse = family("flow").build(spec)["fuse"]
    fuse.unused = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(BadInput, match=r"does not read, or reads as whole numbers, \['net.unused'\]"):
        build.plan_of(spec, {"fuse": fuse}, "fp16")


def test_a_plain_batch_norm_is_refused_where_it_would_compute_in_halves() -> None:
    net = torch.nn.Sequential(torch.nn.BatchNorm2d(4))
    with pytest.raises(BadInput, match=r"0 is a BatchNorm2d, which computes in torch\.float16; take"):
        cast(net, torch.float16)
    cast(net, torch.float32)


def test_batch_norm_computes_in_f32() -> None:
    norm = BatchNorm(2).eval()
    norm.running_mean.copy_(torch.tensor([60_000.0, -3.0]))
    norm.running_var.copy_(torch.tensor([1e-6, 1e6]))  # a half has 1e-6 with two digits, and no 1e6
    norm.eps = 0.0
    x = torch.tensor([60_032.0, 997.0]).half().reshape(1, 2, 1, 1)
    y = cast(torch.nn.Sequential(norm), torch.float16)(x)
    assert y.dtype == torch.float16 and y.flatten().tolist() == pytest.approx([32_000, 1], rel=1e-3)


def test_cast_leaves_norms_in_f32() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), InstanceNorm(4))
    cast(net, torch.float16)
    assert [p.dtype for p in net.parameters()] == [torch.float16] * 2 + [torch.float32] * 2
    x = 300 * torch.randn(1, 4, 8, 8)  # squares overflow f16
    y = net[1](x.half())
    assert y.dtype == torch.float16 and torch.isfinite(y).all()
