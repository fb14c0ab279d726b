"""A family, a task, a backend is one file and one row. Four families that are thrown away show it, each a file of
`tests/families/`: two pictures swapped; labels from a picture of another size; codes; a generator with modulated
weights. Nothing of fetfast knows them but a row of FAMILIES, put in here."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import clips
import numpy as np
import pytest
from click.testing import CliRunner
from oracle import in_f64, inputs_of, rms
from safetensors.numpy import load_file

from fetfast import BadInput, Engine, Unavailable, assets, build, image
from fetfast.backends import BACKENDS, eager, openvino, trt_build
from fetfast.cli import main
from fetfast.models import FAMILIES, Family
from fetfast.plan import Plan

sys.path.insert(0, str(Path(__file__).parent / "train"))
import noise_pairs

ROOT = Path(__file__).parents[1]
SMILE, CALM = str(ROOT / "demo" / "smile.png"), str(ROOT / "demo" / "surprise.png")
NAMES = ("swapper", "recognizer", "codec", "modulated")
PRECISIONS = ("fp32", "fp16")


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All that is added: a row for each family, and one for a backend."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "families"))
    for name in NAMES:
        monkeypatch.setitem(FAMILIES, name, Family(name))
    monkeypatch.setitem(BACKENDS, "ort", "ort_backend")


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_pairs.make(tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory):
    """plan(family, precision): its file, built once."""
    folder = tmp_path_factory.mktemp("plans")

    def make(name: str, precision: str = "fp32") -> Path:
        file = folder / f"{name}_{precision}.plan"
        if not file.exists():
            build.build(name, precision=precision, seed=1).save(file)
        return file

    return make


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return image.load(assets.path("astronaut.png"))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_every_backend_gives_the_same(plan, name: str, precision: str) -> None:
    """As the modules in f64 do: fp32 to rounding, fp16 to twice what plain PyTorch in fp16 is off."""
    opened = Plan.open(plan(name, precision))
    ort = __import__("ort_backend")
    loaded = {"eager": eager.load(opened, "cpu"), "openvino": openvino.load(opened), "ort": ort.load(opened)}
    for stage in opened.spec.stages:
        inputs = inputs_of(stage, 1)
        wanted = in_f64(opened, stage, inputs)
        for tensor in stage.outputs:
            off = {
                b: rms(runners[stage.name](inputs)[tensor.name], wanted[tensor.name]) for b, runners in loaded.items()
            }
            rounding = 1e-5 if precision == "fp32" else 2e-2
            assert max(off.values()) <= max(2 * off["eager"], rounding), (tensor.name, off)
            assert np.std(wanted[tensor.name]) > 10 * off["eager"], "the test's own ground: there is something to see"


@pytest.mark.parametrize("name", NAMES)
def test_tensorrt_builds_it(plan, name: str) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed")
    opened = Plan.open(plan(name, "fp16"))
    for stage in opened.spec.stages:
        assert trt_build.build(trt_build.LIBRARIES["tensorrt_rtx"], opened, stage, "8.9").startswith(b"vtrt")


@pytest.mark.parametrize("backend", ["openvino", "ort"])
def test_a_swap_changes_both_pictures(plan, portrait, backend) -> None:
    engine, smile = Engine(plan("swapper"), backend), image.load(SMILE)
    driver, target = engine.swap(SMILE, portrait)
    for frame, after in ((smile, driver), (portrait, target)):
        changed = (frame != after).any(-1)
        corners = engine.prepare(frame).matrices[0] @ [[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]]
        (x0, y0), (x1, y1) = corners.min(1).astype(int).clip(0), corners.max(1).astype(int) + 2
        assert changed.mean() > 0.02 and changed.sum() == changed[y0:y1, x0:x1].sum()
    back = engine.swap(portrait, SMILE)
    np.testing.assert_array_equal(back[0], target)
    np.testing.assert_array_equal(back[1], driver)
    both = engine.swap([SMILE, SMILE], portrait)
    assert isinstance(both[0], list) and np.array_equal(both[1][1], target)
    with pytest.raises(BadInput, match="one face of either"):
        engine.swap(SMILE, portrait, face="all")


def test_labels_come_with_their_probabilities(plan, portrait) -> None:
    file = plan("recognizer")
    engine = Engine(file)
    found = engine.recognize(portrait)
    assert list(found) == ["calm", "happy", "sad"] and sum(found.values()) == pytest.approx(1, abs=1e-5)
    # by hand: the stages on the face's own crops, at the sizes that they state
    from fetfast.ops.crop import crop

    M = engine.prepare(portrait).matrices[0]
    runners = eager.load(Plan.open(file), "cpu")
    features = runners["coarse"]({"target": crop(portrait, M, 64)[None]})["features"].copy()
    wanted = runners["net"]({"target": crop(portrait, M, 224)[None], "features": features})["probabilities"][0]
    np.testing.assert_allclose(list(found.values()), wanted, atol=1e-5)
    listed = engine.recognize([portrait, SMILE])
    assert len(listed) == 2 and listed[0] == found and listed[1] != found
    assert len(engine.recognize(np.concatenate([portrait, portrait[:, ::-1]], 1), face="all")) == 2


def test_codes_go_out_and_come_in_again(plan, portrait) -> None:
    engine = Engine(plan("codec"))
    codes, smile = engine.encode(portrait), engine.encode(SMILE)
    assert {name: code.shape for name, code in codes.items()} == {"identity": (6,), "expression": (6,)}
    assert not np.allclose(codes["expression"], smile["expression"])
    picture = engine.decode(codes)
    assert picture.shape == (32, 32, 3) and picture.dtype == np.uint8
    mixed = engine.decode([codes, {"identity": codes["identity"], "expression": smile["expression"]}])
    np.testing.assert_array_equal(mixed[0], picture)
    assert (mixed[1] != picture).any()
    # transfer is that mixture, put into the target's frame
    moved = engine.transfer(SMILE, portrait)
    M = engine.prepare(portrait).matrices[0]
    middle = M @ (0.5, 0.5, 1)
    x, y = (int(v) for v in middle)
    np.testing.assert_allclose(
        moved[y - 1 : y + 1, x - 1 : x + 1].mean((0, 1)), mixed[1][15:17, 15:17].mean((0, 1)), atol=4
    )
    for bad, message in (({}, "expected"), ({**codes, "more": codes["identity"]}, "expected"), (3, "dict"),
                         ({**codes, "identity": np.full(6, np.nan)}, "finite")):  # fmt: skip
        with pytest.raises(BadInput, match=message):
            engine.decode(bad)


def test_a_label_is_an_expression_to_edit_with(plan, portrait) -> None:
    engine = Engine(plan("codec"))
    happy, half = engine.edit(portrait, "happy"), engine.edit(portrait, "happy", intensity=0.5)
    still, sad = engine.edit(portrait, "happy", intensity=0), engine.edit(portrait, "sad")
    np.testing.assert_array_equal(still, engine.transfer(portrait, portrait))  # its own code, unchanged
    assert all((a != b).any() for a, b in ((happy, still), (happy, sad), (half, happy)))
    with pytest.raises(BadInput, match="'angry', expected one of happy, sad"):
        engine.edit(portrait, "angry")


def test_a_task_that_the_plan_does_not_do(plan, portrait) -> None:
    engine = Engine(plan("modulated"))
    for call in (engine.recognize, engine.encode, lambda p: engine.edit(p, "happy"), lambda p: engine.swap(p, p)):
        with pytest.raises(Unavailable, match="modulated_fp32 does transfer, not"):
            call(portrait)
    with pytest.raises(Unavailable, match=r"not transfer; plans that do and ship: unet_fp16\.plan"):
        Engine(plan("recognizer")).transfer(SMILE, portrait)
    with pytest.raises(BadInput, match="transfer takes src and tgt; src missing"):
        engine.run("transfer", tgt=portrait)
    with pytest.raises(BadInput, match="expected one of transfer, swap"):
        engine.run("fly", tgt=portrait)


def test_a_driver_of_a_generator_needs_no_picture(plan, portrait) -> None:
    engine = Engine(plan("modulated"))
    face = engine.landmarker.detect(image.load(SMILE))[0]
    np.testing.assert_array_equal(engine.transfer(face, portrait), engine.transfer(SMILE, portrait))
    frames = list(engine.stream([SMILE, CALM], portrait))
    assert (frames[0] != frames[1]).any()


def test_a_plan_runs_without_its_family(plan, portrait, monkeypatch: pytest.MonkeyPatch) -> None:
    file = plan("modulated")
    wanted = Engine(file, "openvino").transfer(SMILE, portrait)
    monkeypatch.delitem(FAMILIES, "modulated")
    monkeypatch.delitem(sys.modules, "modulated")
    engine = Engine(file)
    np.testing.assert_array_equal(engine.transfer(SMILE, portrait), wanted)
    assert engine.backend == "openvino"
    with pytest.raises(Unavailable, match="family 'modulated' is none of this version's"):
        Engine(file, "eager")


@pytest.mark.parametrize("name", NAMES)
def test_training_by_the_command(noise, tmp_path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Stopped in the middle and taken up again it gives the same weights bit for bit, other ones than at the start, and
    a plan is built of them whose stages give what the trained networks do."""
    recipe = __import__(name).RECIPES["small"][0]
    first, *others = recipe.updates
    steps = 0

    def loss(*given):
        nonlocal steps
        steps += 1
        if steps == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return first.loss(*given)

    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    assert run("train", name, "--data", noise, "-o", whole).exit_code == 0
    with monkeypatch.context() as patch:
        stopping = replace(recipe, updates=(replace(first, loss=loss), *others))
        patch.setitem(sys.modules[name].RECIPES, "small", (stopping,))
        assert run("train", name, "--data", noise, "-o", cut).exit_code != 0 and not cut.exists()
    done = run("train", name, "--data", noise, "-o", cut)
    assert done.exit_code == 0 and steps == 3, done.output
    wanted, got = load_file(whole), load_file(cut)
    assert wanted.keys() == got.keys() and all(np.array_equal(wanted[key], got[key]) for key in wanted)
    built = tmp_path / "trained.plan"
    assert run("build", name, "--weights", whole, "--precision", "fp32", "-o", built).exit_code == 0
    trained = Plan.open(built)
    assert {k: v.tobytes() for k, v in trained.weights.items()} == {k: wanted[k].tobytes() for k in trained.weights}
    assert trained.provenance["trained"][recipe.name]["steps"] == recipe.steps
    torch = sys.modules["torch"]
    torch.manual_seed(0)  # as training begins
    modules = __import__(name).build(trained.spec)
    start = {f"{stage}.{key}": value for stage, m in modules.items() for key, value in m.state_dict().items()}
    assert not any(np.array_equal(start[key], wanted[key]) for stage in recipe.stages for key in wanted
                   if key.startswith(stage) and key.endswith("weight") and wanted[key].ndim > 1)  # fmt: skip
    runners, oracle = openvino.load(trained), eager.load(trained, "cpu")
    for stage in trained.spec.stages:
        inputs = inputs_of(stage, 1)
        for tensor, value in oracle[stage.name](inputs).items():
            np.testing.assert_allclose(runners[stage.name](inputs)[tensor], value, atol=2e-5)


def run(*arguments: object):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_the_commands(plan, portrait, tmp_path) -> None:
    tgt = tmp_path / "tgt.png"
    image.save(tgt, portrait, mark=False)
    outputs = tmp_path / "a.png", tmp_path / "b.png"
    done = run("swap", SMILE, tgt, "-o", *outputs, "--plan", plan("swapper"))
    assert done.exit_code == 0, done.output
    assert all(image.is_marked(file) for file in outputs)
    assert [image.load(file).shape for file in outputs] == [image.load(SMILE).shape, portrait.shape]

    done = run("edit", tgt, "sad", "-o", tmp_path / "sad.png", "--plan", plan("codec"), "--intensity", "0.7")
    assert done.exit_code == 0 and image.is_marked(tmp_path / "sad.png"), done.output

    recognizer, faceless = plan("recognizer"), tmp_path / "faceless.png"
    image.save(faceless, np.zeros((64, 64, 3), np.uint8))
    done = run("recognize", tgt, SMILE, "--plan", recognizer)
    assert done.exit_code == 0, done.output
    header, *rows = csv.reader(done.output.splitlines())
    assert header == ["file", "time", "label", "calm", "happy", "sad"] and [row[0] for row in rows] == [str(tgt), SMILE]
    found = Engine(recognizer).recognize(portrait)
    assert rows[0][2] == max(found, key=found.__getitem__)
    assert [float(p) for p in rows[0][3:]] == pytest.approx(list(found.values()), abs=1e-4)

    done = run("recognize", tmp_path, "--plan", recognizer, "-o", tmp_path / "found.json")
    assert done.exit_code == 1 and "faceless.png" in done.output and "no face" in done.output
    listed = json.loads((tmp_path / "found.json").read_text())
    assert {Path(row["file"]).name for row in listed} >= {"tgt.png"} and listed[0]["time"] is None

    done = run("info", plan("codec"))
    assert done.exit_code == 0 and "transfer, edit, encode, decode" in done.output and "happy, sad" in done.output
    for command in (("recognize", tgt), ("swap", tgt, tgt, "-o", *outputs)):
        done = run(*command)  # with no plan given, and none of that kind that ships
        assert done.exit_code == 2 and "no plan that ships does" in done.output, done.output


def test_a_video_is_recognized_frame_by_frame(plan, portrait, tmp_path) -> None:
    clip = clips.raw(tmp_path / "clip.mp4", frames=4, rate=10, picture=portrait)
    done = run("recognize", clip, "--every", 2, "--plan", plan("recognizer"), "-o", tmp_path / "found.csv")
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader((tmp_path / "found.csv").open()))
    assert [float(row["time"]) for row in rows] == pytest.approx([0, 0.2])
