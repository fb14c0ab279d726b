"""What a plan becomes for other runtimes, and the commands that write it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from fetfast import export
from fetfast.backends import cache, eager, gpu, trt_build
from fetfast.cli import main
from fetfast.errors import BadInput, Unavailable
from fetfast.plan import Plan
from fetfast.spec import Spec

NEEDS_RTX = "tensorrt-rtx-cu13 is not installed"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETFAST_CACHE", str(tmp_path / "cache"))


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="session")
def model_config() -> Any:
    """The part of NVIDIA's model_config.proto that we write, so that its own parser reads our files, and strictly."""
    F = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    file.enum_type.add(name="DataType").value.add(name="TYPE_FP32", number=0)

    def message(name: str, within: Any = file.message_type, /, **fields: tuple[int, bool, str]) -> Any:
        made = within.add(name=name)
        for number, (field, (kind, repeated, of)) in enumerate(fields.items(), 1):
            label = F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL
            made.field.add(name=field, number=number, type=kind, label=label, type_name=of or None)
        return made

    text, number = (F.TYPE_STRING, False, ""), (F.TYPE_INT32, False, "")
    tensor = {
        "name": text,
        "data_type": (F.TYPE_ENUM, False, ".inference.DataType"),
        "dims": (F.TYPE_INT64, True, ""),
    }
    message("ModelInput", **tensor)
    message("ModelOutput", **tensor)
    message("ModelDynamicBatching")
    step = message(
        "Step",
        model_name=text,
        model_version=(F.TYPE_INT64, False, ""),
        input_map=(F.TYPE_MESSAGE, True, ".inference.Step.InputMapEntry"),
        output_map=(F.TYPE_MESSAGE, True, ".inference.Step.OutputMapEntry"),
    )
    for name in ("InputMapEntry", "OutputMapEntry"):
        message(name, step.nested_type, key=text, value=text).options.map_entry = True
    message("ModelEnsembling", step=(F.TYPE_MESSAGE, True, ".inference.Step"))
    message(
        "ModelConfig",
        name=text,
        platform=text,
        max_batch_size=number,
        input=(F.TYPE_MESSAGE, True, ".inference.ModelInput"),
        output=(F.TYPE_MESSAGE, True, ".inference.ModelOutput"),
        dynamic_batching=(F.TYPE_MESSAGE, False, ".inference.ModelDynamicBatching"),
        ensemble_scheduling=(F.TYPE_MESSAGE, False, ".inference.ModelEnsembling"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))
    return lambda folder: text_format.Parse((folder / "config.pbtxt").read_text(), kind())


def shapes(tensors: Any) -> dict[str, list[int]]:
    return {t.name: list(t.dims if hasattr(t, "dims") else t.shape) for t in tensors}


def bare(name: str, size: str) -> Plan:
    from fetfast.models import family

    return Plan(family(name).SPECS[size], "fp16", {}, {})


def test_onnx_files_run_as_they_are(make_plan: Any, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    plan = make_plan("unet", "small", "fp32")
    files = export.onnx(plan, tmp_path / "net.onnx")
    assert [file.name for file in files] == ["net.fuse.onnx", "net.unet.onnx"]
    oracle = eager.load(plan, "cpu")
    for stage, file in zip(plan.spec.stages, files, strict=True):
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        inputs = {t.name: np.random.default_rng(0).random((2, *t.shape), np.float32) for t in stage.inputs}
        names = [t.name for t in stage.outputs]
        for name, got in zip(names, session.run(names, inputs), strict=True):
            np.testing.assert_allclose(got, oracle[stage.name](inputs)[name], rtol=1e-3, atol=1e-3)
    assert export.onnx(Plan.open("flow_fp32"), tmp_path / "one.onnx") == [tmp_path / "one.onnx"]
    with pytest.raises(BadInput, match="is no folder"):
        export.onnx(plan, tmp_path / "none" / "net.onnx")


def test_raw_engines(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason=NEEDS_RTX)
    (file,) = export.engines(Plan.open("flow_fp32"), tmp_path / "net.engine", "8.6")
    assert file.read_bytes()[:4] == b"vtrt"


def test_model_repository(model_config: Any, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    plan = Plan.open("flow_fp32")
    (folder,) = export.model_repository(plan, tmp_path / "models")
    config = model_config(folder)
    assert (config.name, config.platform, config.max_batch_size) == (folder.name, "onnxruntime_onnx", 16)
    stage = plan.spec.stages[0]
    assert shapes(config.input) == shapes(stage.inputs) and shapes(config.output) == shapes(stage.outputs)
    assert config.HasField("dynamic_batching")
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    assert {i.name: i.shape[1:] for i in session.get_inputs()} == shapes(config.input)
    assert {o.name: o.shape[1:] for o in session.get_outputs()} == shapes(config.output)


def test_stages_that_feed_each_other_become_an_ensemble(
    model_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plan, "onnx", lambda self, stage: b"a network")
    plan = bare("unet", "paper")
    written = export.model_repository(plan, tmp_path)
    assert [folder.name for folder in written] == ["unet_fp16_fuse", "unet_fp16_unet", "unet_fp16"]
    config = model_config(tmp_path / "unet_fp16")
    assert config.platform == "ensemble" and not config.HasField("dynamic_batching")
    assert set(shapes(config.input)) == {"source_map", "target_map", "target"}
    assert set(shapes(config.output)) == {"flow", "mask", "color"}
    known = set(shapes(config.input))
    for step, stage in zip(config.ensemble_scheduling.step, plan.spec.stages, strict=True):
        assert (step.model_name, step.model_version) == (f"unet_fp16_{stage.name}", -1)
        assert dict(step.input_map) == {t.name: t.name for t in stage.inputs}
        assert set(step.input_map.values()) <= known
        known |= set(step.output_map.values())
    assert set(shapes(config.output)) <= known


def test_no_ensemble_where_ours_stands_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plan, "onnx", lambda self, stage: b"a network")
    plan = bare("unet", "small")
    assert not export.is_chain(plan.spec)
    assert len(export.model_repository(plan, tmp_path)) == 2
    assert not export.is_chain(Spec("flow", "small", 8, plan.spec.stages[:1], ("transfer",), {})), "one stage alone"


def test_engines_for_the_server_are_the_full_tensorrt_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "gpus", lambda: (gpu.Gpu(0, "NVIDIA GeForce RTX 4090", "8.9"),))
    with pytest.raises(Unavailable, match=r"^TensorRT is not installed; pip install tensorrt$"):
        export.model_repository(Plan.open("flow_fp32"), tmp_path, "tensorrt")
    monkeypatch.setattr(trt_build, "why_not", lambda library, *_: None)
    monkeypatch.setattr(trt_build, "fetch", lambda library, *_: library.module.encode())
    (folder,) = export.model_repository(Plan.open("flow_fp32"), tmp_path, "tensorrt")
    assert (folder / "1" / "model.plan").read_bytes() == b"tensorrt"
    assert 'platform: "tensorrt_plan"' in (folder / "config.pbtxt").read_text()


def test_the_commands(tmp_path: Path) -> None:
    done = run("export", "flow_fp32", "--onnx", tmp_path / "a.onnx", "--model-repository", tmp_path / "models")
    assert done.exit_code == 0 and done.output.split() == [
        str(tmp_path / "a.onnx"),
        str(tmp_path / "models" / "flow_fp32_fuse"),
    ]
    for arguments in ((), ("--onnx", tmp_path / "a.onnx", "--capability", "8.9")):
        assert run("export", "flow_fp32", *arguments).exit_code == 2
    for arguments in (
        ("--onnx", tmp_path / "b.onnx", "--tensorrt", tmp_path / "b.engine", "--capability", "9.9"),
        ("--onnx", tmp_path / "b.onnx", "--model-repository", tmp_path / "b", "--platform", "tensorrt"),
        ("--onnx", tmp_path / "b.onnx", "--tensorrt", tmp_path / "none" / "b.engine"),
    ):
        done = run("export", "flow_fp32", *arguments)
        assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("b*")), "what cannot be done is said before anything is written"
    key = {"name": "unet_fp16", "stage": "unet", "target": "8.9"}
    cache.write("tensorrt", key, b"x" * 2**20)
    listed = run("cache", "list")
    assert re.search(r"1.00 MiB  \d{4}-\d\d-\d\d  tensorrt  unet_fp16, unet, 8.9", listed.output)
    assert "in 1 files" in listed.output
    (row,) = json.loads(run("cache", "list", "--json").output)
    assert row["key"] == key and row["kind"] == "tensorrt" and row["bytes"] == Path(row["path"]).stat().st_size
    assert json.loads(run("doctor", "--json").output)["cache"]["compiled"]["tensorrt"]["files"] == 1
    assert run("cache", "clear", "--older-than", "1").output == "0.00 MiB freed\n"
    assert " MiB freed" in run("cache", "clear").output
    assert not [entry for entry in cache.entries() if entry.kind == "tensorrt"]


def test_build_says_first_that_no_engine_can_be_built(tmp_path: Path) -> None:
    plan = tmp_path / "flow.plan"
    done = run("build", "flow", "--precision", "fp32", "-o", plan, "--tensorrt", "--capability", "9.9")
    assert done.exit_code == 2 and not plan.exists()


def test_build_fills_the_cache(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason=NEEDS_RTX)
    plan = tmp_path / "flow.plan"
    arguments = ("build", "flow", "--precision", "fp32", "-o", plan, "--tensorrt")
    done = run(*arguments, "--capability", "8.9")
    assert done.exit_code == 0 and "engines in the cache: TensorRT for RTX, 8.9" in done.output
    (entry,) = cache.entries()
    assert entry.key["plan"] == Plan.open(plan).digest and entry.key["target"] == "8.9"
    if not gpu.gpus():
        done = run(*arguments)
        assert done.exit_code == 2 and "no NVIDIA GPU here to build for" in done.output
