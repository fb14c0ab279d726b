"""Whole runs: they learn, can be stopped and taken up again bit for bit, and give weights that build."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import joint_family
import noise_pairs
import numpy as np
import pytest
from click.testing import CliRunner
from noise_pairs import R
from safetensors.numpy import load_file

torch = pytest.importorskip("torch")

from fetfast import build, models  # noqa: E402
from fetfast.cli.training import train as command  # noqa: E402
from fetfast.errors import BadInput  # noqa: E402
from fetfast.models import unet  # noqa: E402
from fetfast.plan import Plan  # noqa: E402
from fetfast.spec import BLENDSHAPES  # noqa: E402
from fetfast.train import calibrate, data, loop  # noqa: E402
from fetfast.train import run as runs  # noqa: E402
from fetfast.train.recipe import Recipe  # noqa: E402
from fetfast.train.recipes import unet as unet_recipes  # noqa: E402

S = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return noise_pairs.make(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def short(monkeypatch):
    """The small U-Net at 64 x 64, and its recipes cut to a few steps."""
    monkeypatch.setitem(unet.SPECS, "small", unet.small(S))
    cut = tuple(replace(recipe, count=4, steps=6) for recipe in unet_recipes.RECIPES["small"])
    monkeypatch.setitem(unet_recipes.RECIPES, "small", cut)
    return cut


@pytest.fixture
def joint(monkeypatch):
    """The family of `joint_family.py`: one file and one row."""
    monkeypatch.setitem(models.FAMILIES, "joint", models.Family("joint_family"))
    return joint_family.JOINT


def test_training_lowers_the_loss_and_makes_weights_that_build(folder, tmp_path, short):
    output = tmp_path / "W.safetensors"
    figures = loop.train("unet", folder, output, steps=10)
    assert figures["unet"]["net"] > figures["unet"]["copy"]
    run = output.with_suffix("")
    assert {file.name for file in (run / "unet").iterdir()} >= {"log.csv", "curves.png", "sheet.png", "checkpoint.pt"}
    plan = build.build("unet", "small", "fp32", output)
    assert not plan.random_weights
    assert plan.metrics["unet"]["net"] == figures["unet"]["net"]
    assert plan.provenance["trained"]["unet"]["steps"] == 10
    assert plan.provenance["trained"]["unet"]["data"] == [data.Pairs.open(folder).digest]


def test_a_run_begins_with_what_fits_of_a_plan(folder, tmp_path, short):
    plan = Plan.open("unet_fp16")
    output = tmp_path / "W.safetensors"
    loop.train("unet", folder, output, stage="unet", steps=1, begin=plan)
    kept = load_file(output)
    assert all(np.array_equal(kept[f"fuse.{k}"], w) for k, w in plan.stage_weights("fuse").items())
    name = "down.3.conv.weight"
    assert np.abs(kept[f"unet.{name}"] - plan.weights[f"unet.{name}"]).max() < 1e-3, "one step away"
    spec = replace(unet.small(S), args={"down": [32, 48, 96, 128, 128], "up": [128, 80, 48, 8, 16]})
    module = unet.build(spec)["unet"]
    own = {name: w.clone() for name, w in module.state_dict().items()}
    runs.take(module, "unet", plan)
    begun, weights = module.state_dict(), plan.stage_weights("unet")
    changed = {name for name in own if not torch.equal(own[name], begun[name])}
    assert name in changed and "up.3.conv.weight" not in changed, "another width: stays as it was"
    assert np.array_equal(begun[name], weights[name].astype(np.float32))
    seen = weights["down.0.conv.weight"].astype(np.float32)
    for inputs in (7, 12):
        other = unet.build(unet.small(S))["unet"]
        other.down[0].conv = torch.nn.Conv2d(inputs, 32, 4, 2, 1, bias=False)
        runs.take(other, "unet", plan)
        first = other.state_dict()["down.0.conv.weight"]
        assert np.array_equal(first[:, :10], seen[:, :inputs]) and not first[:, 10:].any()
    with pytest.raises(BadInput, match="no weight of flow_fp32 fits stage unet"):
        runs.take(module, "unet", Plan.open("flow_fp32"))


def begin(recipe: Recipe, family) -> runs.Run:
    torch.manual_seed(0)
    return runs.start(recipe, family.build(family.SPECS["small"]), 0)


def everything(run: runs.Run) -> dict[str, torch.Tensor]:
    """All tensors of a run: networks with their running statistics, averages, moments of optimizers."""
    found = {}
    for kind, parts in run._parts.items():
        for name, part in parts.items():
            state = part.state_dict()
            tensors = state["state"] if kind == "optimizers" else {None: state}
            for key, values in tensors.items():
                found |= {f"{kind}.{name}.{key}.{value}": tensor for value, tensor in values.items()}
    return found


@pytest.mark.parametrize("which", ["unet", "joint"])
def test_a_run_that_was_stopped_goes_on_as_if_it_never_was(folder, tmp_path, short, joint, which):
    """Bit for bit: two discriminators, batch norms, a dropout and noise among them."""
    family, recipe = (unet, short[0]) if which == "unet" else (joint_family, joint)
    spec, pairs = family.SPECS["small"], data.Pairs.open(folder)
    whole = begin(recipe, family)
    loop.train_recipe(whole, recipe, spec, pairs, tmp_path / "whole", minutes=None, steps=6, seed=0)

    stopped, (first, *others) = begin(recipe, family), recipe.updates

    def loss(*arguments):
        if stopped.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return first.loss(*arguments)

    with pytest.raises(KeyboardInterrupt):
        stop_soon = replace(recipe, updates=(replace(first, loss=loss), *others))
        loop.train_recipe(stopped, stop_soon, spec, pairs, tmp_path / "cut", minutes=None, steps=6, seed=0)
    assert stopped.step == 5, "the discriminators have begun"
    torch.manual_seed(99)
    resumed = runs.start(recipe, family.build(spec), 5)  # another start: all of it comes from the checkpoint
    resumed.load(tmp_path / "cut" / "checkpoint.pt")
    loop.train_recipe(resumed, recipe, spec, pairs, tmp_path / "cut", minutes=None, steps=6, seed=0)
    assert resumed.step == whole.step == 6
    got, wanted, early = map(everything, (resumed, whole, stopped))
    assert got.keys() == wanted.keys() and all(torch.equal(got[name], wanted[name]) for name in wanted)
    untouched = [name for name in wanted if name.startswith("networks") and torch.equal(wanted[name], early[name])]
    assert not any(name.endswith("weight") for name in untouched), "all have learned since"
    if which == "joint":
        assert sum("exp_avg." in name + "." for name in wanted) == 19, "every weight of every network"
        assert wanted["averages.encode.None.module.norm.running_mean"].abs().max() > 0


def test_stages_are_trained_together_and_helpers_do_not_ship(folder, tmp_path, joint):
    output = tmp_path / "W.safetensors"
    figures = loop.train("joint", folder, output, stage="decode", steps=8)
    assert figures["both"]["l1"] > 0
    plan = build.build("joint", "small", "fp16", output)
    plan.check()
    assert {name.partition(".")[0] for name in plan.weights} == {"encode", "decode"}
    mean = plan.weights["encode.norm.running_mean"]
    assert mean.dtype == np.float32 and np.abs(mean).max() > 0, "running statistics are those that were averaged"
    kept = runs.start(joint, joint_family.build(plan.spec), 0)
    kept.load(tmp_path / "W" / "both" / "checkpoint.pt")
    assert np.array_equal(mean, kept.averages["encode"].module.norm.running_mean.numpy())
    assert plan.provenance["trained"]["both"]["steps"] == 8


def test_a_trained_stage_lowers_its_loss(folder, tmp_path, joint):
    """Without the adversaries: the code holds what tells pictures of even colours apart."""
    pairs = data.Pairs.open(folder)
    shape = pairs.arrays["target"].shape
    colours = np.broadcast_to(np.random.default_rng(0).integers(0, 256, (shape[0], 1, 1, 3)), shape)
    even = replace(pairs, arrays=pairs.arrays | {"target": colours.astype(np.uint8)})
    recipe = replace(joint, updates=joint.updates[:1], helpers={}, batch=even_batch)
    run, spec = begin(recipe, joint_family), joint_family.SPECS["small"]
    before = loop.measure(run, recipe, spec, even, pairs.training)["l1"]
    loop.train_recipe(run, recipe, spec, even, tmp_path, minutes=None, steps=300, seed=0)
    assert loop.measure(run, recipe, spec, even, pairs.training)["l1"] < 0.85 * before


def even_batch(pairs, rows, size, rng):
    return {
        "target": torch.from_numpy(pairs.arrays["target"][rows, :size, :size] / np.float32(127.5) - 1).movedim(3, 1)
    }


def test_figures_are_means_over_all_validation_rows(folder, joint):
    pairs = data.Pairs.open(folder)
    seen = []

    def rows_as_figures(networks, spec, batch):
        seen.append(len(batch["row"]))
        return {"row": batch["row"]}

    recipe = replace(
        joint, batch=lambda pairs, rows, size, rng: {"row": torch.from_numpy(rows).float()}, measure=rows_as_figures
    )
    run = begin(joint, joint_family)
    many = np.arange(40)
    assert loop.measure(run, recipe, joint_family.SPECS["small"], pairs, many) == {"row": 19.5}
    assert sum(seen) == 40 and max(seen) <= 16
    assert loop.spread(np.arange(100), 4).tolist() == [0, 25, 50, 75]
    assert loop.spread(np.arange(3), 48).tolist() == [0, 1, 2]


def test_minutes_end_a_run_and_the_rate_follows_the_clock(folder, tmp_path, joint, monkeypatch):
    seen = []
    times = iter(np.arange(0, 1000, 6.0))  # each look at the clock is six seconds later

    def advance(run, recipe, spec, batch, progress, seed):
        seen.append(progress)
        run.step += 1
        return {}

    monkeypatch.setattr(loop.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(loop, "advance", advance)
    monkeypatch.setattr(loop, "report", lambda *_: None)
    run = begin(joint, joint_family)
    loop.train_recipe(run, joint, joint_family.SPECS["small"], data.Pairs.open(folder), tmp_path, minutes=2, steps=1000,
                      seed=0)  # fmt: skip
    assert run.step < 15 and seen == sorted(seen) and seen[-1] > 0.8, "120 seconds are over, 1000 steps are not"
    assert seen[0] == pytest.approx(0.1, abs=0.06)


def test_the_command_trains_and_says_what_comes_next(folder, tmp_path, joint):
    output = tmp_path / "W.safetensors"
    done = CliRunner().invoke(command, ["joint", "--data", str(folder), "-o", str(output), "--steps", "1"])
    assert done.exit_code == 0, done.output
    assert "both   l1 " in done.output and "fetfast build joint --weights" in done.output and output.exists()


def test_what_is_no_set_of_pairs_is_refused(folder, tmp_path):
    with pytest.raises(BadInput, match="fetfast synth"):
        data.Pairs.open(tmp_path)
    with pytest.raises(BadInput, match="no recipe"):
        loop.train("flow", folder, tmp_path / "W.safetensors")
    arrays = data.create(tmp_path, 2, R, {"held_out": []})
    assert arrays["source_blendshapes"].shape == (2, len(BLENDSHAPES))
    np.save(tmp_path / "truth.npy", np.zeros((2, R, R), np.uint8))
    with pytest.raises(BadInput, match="truth"):
        data.Pairs.open(tmp_path)


def test_int8_is_calibrated_on_training_rows(folder, short):
    found = calibrate.samples("unet", "small", folder, count=5)
    assert found.keys() == {"unet"}, "the precise stage stays f32"
    spec = unet.SPECS["small"].stage("unet")
    assert [{name: x.shape for name, x in sample.items()} for sample in found["unet"]] == [
        {t.name: (1, *t.shape) for t in spec.inputs}
    ] * 5
    again = calibrate.samples("unet", "small", folder, count=5)
    assert all(np.array_equal(a["warped"], b["warped"]) for a, b in zip(found["unet"], again["unet"], strict=True))
    assert len(list(calibrate.samples("unet", "small", folder)["unet"])) == 8, "each training row once, none held out"
    with pytest.raises(BadInput, match="no recipe trains flow small, expected one of unet small"):
        calibrate.samples("flow", "small", folder)


def test_int8_of_a_stage_that_reads_another_one_is_calibrated_on_what_that_gives(folder, tmp_path, joint, monkeypatch):
    """By the weights that it will have: the code of the very pictures, and a plan of it."""
    output = tmp_path / "W.safetensors"
    loop.train("joint", folder, output, steps=2)
    found = calibrate.samples("joint", "small", folder, output, count=4)
    _, stages, _ = build.networks("joint", "small", output)
    with torch.no_grad():
        wanted = stages["encode"].eval()(torch.from_numpy(found["encode"][2]["target"]))["code"]
    assert len(found["decode"]) == 4 and np.array_equal(found["decode"][2]["code"], wanted.numpy())
    plan = build.build("joint", "small", "int8", output, samples=found)
    plan.check()
    assert plan.weights["encode.conv.weight"].dtype == np.int8
    blind = replace(joint, measure=lambda *_: {})
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(BadInput, match="no recipe of joint small measures stage encode"),
    ):
        patch.setitem(joint_family.RECIPES, "small", (blind,))
        calibrate.samples("joint", "small", folder)


def test_int8_is_not_calibrated_on_persons_for_validation(tmp_path):
    data.create(tmp_path, 3, 64, {"held_out": [0]})
    with pytest.raises(BadInput, match=r"all pairs in .* are for validation"):
        calibrate.samples("unet", "small", tmp_path)
