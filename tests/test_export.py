"""Export: the graph of every family and stage is the module, at every precision."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from oracle import in_f64, inputs_of, rms
from safetensors.numpy import save_file

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from fetfast import backends, export  # noqa: E402
from fetfast.errors import BadInput, Unavailable  # noqa: E402
from fetfast.models import FAMILIES, family  # noqa: E402
from fetfast.models.layers import InstanceNorm, cast  # noqa: E402
from fetfast.spec import Stage  # noqa: E402

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
    plan = export.build("unet", "small", "fp32")
    assert not plan.weights["unet.head.weight"][:2].any()
    plan.check()


def test_seed_and_header(tmp_path: Path) -> None:
    a, b, c = (export.build("flow", "small", "fp32", seed=seed) for seed in (5, 5, 6))
    assert a.digest == b.digest != c.digest
    assert a.header["random_weights"] and a.header["provenance"] == {"seed": 5}


def test_weights_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights = {name: w + np.float32(1) for name, w in export.build("flow", "small", "fp32").weights.items()}
    save_file(weights, path, {"fetfast": '{"provenance": {"seed": 7}, "metrics": {"psnr": 30.5}}'})
    plan = export.build("flow", "small", "fp32", path)
    assert not plan.random_weights
    assert plan.header["provenance"] == {"seed": 7} and plan.header["metrics"] == {"psnr": 30.5}
    assert {k: w.tobytes() for k, w in plan.weights.items()} == {k: w.tobytes() for k, w in weights.items()}


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights = dict(export.build("flow", "small", "fp32").weights)
    for changed in (
        {"fuse.basis": weights["fuse.basis"]},
        weights | {"fuse.more": np.zeros(2, np.float32)},
        weights | {"fuse.basis": np.zeros((2, 2), np.float32)},
    ):
        save_file(changed, path)
        with pytest.raises(BadInput, match="misses, or has beyond"):
            export.build("flow", "small", "fp32", path)
    for about in ("[]", '{"metrics": 3}', '{"metrics": {"psnr": NaN}}', "{"):
        save_file(weights, path, {"fetfast": about})
        with pytest.raises(BadInput):
            export.build("flow", "small", "fp32", path)
    for content in (b"", b"PK\x03\x04 a checkpoint"):
        path.write_bytes(content)
        with pytest.raises(BadInput, match="cannot be read as safetensors"):
            export.build("flow", "small", "fp32", path)
    with pytest.raises(BadInput, match="cannot be read"):
        export.build("flow", "small", "fp32", tmp_path / "none.safetensors")


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
        export.build(*arguments)


def test_says_what_is_missing(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="pip install torch onnxscript"):
        importlib.reload(export)


class Folds(torch.nn.Module):
    """Reads a weight only through a cast, which the exporter does once and for all."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float16))

    def forward(self, a: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"b": a * self.weight.float()}


def test_a_folded_weight_is_refused() -> None:
    spec = family("flow").SPECS["small"]
    tensors = [replace(spec.stages[0].inputs[0], name=name, shape=(2,)) for name in "ab"]
    stage = Stage("fuse", (tensors[0],), (tensors[1],))
    with pytest.raises(BadInput, match=r"does not read .*weight"):
        export.export(replace(spec, stages=(stage,)), {"fuse": Folds()}, "fp16")


def test_cast_leaves_norms_in_f32() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), InstanceNorm(4))
    cast(net, torch.float16)
    assert [p.dtype for p in net.parameters()] == [torch.float16] * 2 + [torch.float32] * 2
    x = 300 * torch.randn(1, 4, 8, 8)  # squares overflow f16
    y = net[1](x.half())
    assert y.dtype == torch.float16 and torch.isfinite(y).all()
