"""Training: what it minimises, what it feeds, and that a run can be stopped and taken up again."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fetfast import export  # noqa: E402
from fetfast.errors import BadInput  # noqa: E402
from fetfast.face import Face  # noqa: E402
from fetfast.models import unet  # noqa: E402
from fetfast.ops.paste import paste  # noqa: E402
from fetfast.ops.topology import CHAINS  # noqa: E402
from fetfast.plan import Plan  # noqa: E402
from fetfast.spec import BLENDSHAPES  # noqa: E402
from fetfast.step import Step, Target, Wiring  # noqa: E402
from fetfast.train import calibrate, data, loop  # noqa: E402
from fetfast.train import run as runs  # noqa: E402
from fetfast.train.losses import faces, flows, pictures  # noqa: E402
from fetfast.train.recipes import recipes  # noqa: E402
from fetfast.train.recipes import unet as unet_recipes  # noqa: E402

R, S, N = 128, 64, 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pairs of three persons, the last held out: smooth noise, and the same noise moved by a few pixels."""
    from scipy.ndimage import gaussian_filter

    folder = tmp_path_factory.mktemp("pairs")
    arrays = data.create(folder, N, R, {"held_out": [2]})
    rng = np.random.default_rng(0)
    model = np.linalg.pinv(Plan.open("flow_fp32").weights["fuse.camera"])  # [478, 3] cm, about the middle
    face = 0.5 + model[:, :2] * (0.03, -0.03)
    for i in range(N):
        photo = gaussian_filter(rng.normal(0, 1, (R, R, 3)), (4, 4, 0))
        arrays["target"][i] = np.clip(128 + 500 * photo, 0, 255)
        arrays["truth"][i] = np.roll(arrays["target"][i], 5, axis=1)
        arrays["target_points"][i] = face
        arrays["driven_points"][i] = face + np.array([5 / R, 0])
        arrays["target_blendshapes"][i] = rng.random(52)
        arrays["source_blendshapes"][i] = arrays["target_blendshapes"][i]
        arrays["person"][i] = i % 3
    return folder


@pytest.fixture
def short(monkeypatch):
    """The small U-Net at 64 x 64, and its recipes cut to a few steps."""
    monkeypatch.setitem(unet.SPECS, "small", unet.small(S))
    cut = tuple(replace(recipe, count=4, steps=6) for recipe in recipes("unet", "small"))
    monkeypatch.setitem(unet_recipes.RECIPES, "small", cut)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield cut
    torch.set_num_threads(threads)


def test_a_flow_of_whole_pixels_moves_whole_pixels():
    image = torch.rand(1, 3, S, S)
    flow = torch.zeros(1, 2, S, S)
    flow[:, 0] = 2 / S
    assert torch.allclose(flows.warp(image, flow)[..., :-2], image[..., 2:], atol=1e-5)
    assert torch.allclose(flows.warp(image, 0 * flow), image, atol=1e-5)


def test_training_composes_as_paste_does():
    """Whole pixels, so that cubic and bilinear agree; away from the border, where paste fades in."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (2 * S, 2 * S, 3), dtype=np.uint8)
    smooth = np.linspace(0, 1, S, dtype=np.float32) * np.ones((S, 1), np.float32)
    parts = {
        "flow": np.stack([smooth * 0 + 3 / (2 * S), smooth * 0 - 2 / (2 * S)]),
        "light": 0.4 * smooth[None] - 0.2,
        "mask": 0.8 * smooth.T[None],
        "color": np.stack([smooth - 0.5, 0.5 - smooth, smooth.T - 0.5]),
    }
    wanted = paste(frame, np.array([[2 * S, 0, 0], [0, 2 * S, 0]], np.float32), **parts)
    picture = torch.from_numpy(frame.transpose(2, 0, 1)[None] / np.float32(127.5) - 1)
    lit, result = flows.composite(picture, {name: torch.from_numpy(part[None]) for name, part in parts.items()})
    edge = slice(12, -12)
    got = (result[0].permute(1, 2, 0).numpy() * 127.5 + 127.5).clip(0, 255)[edge, edge]
    assert np.abs(got - wanted[edge, edge]).max() <= 0.51
    bare = flows.composite(picture, {name: torch.from_numpy(parts[name][None]) for name in ("flow", "mask", "color")})[
        0
    ]
    assert (lit - bare).abs().max() > 0.1, "the light is seen"
    assert torch.allclose(flows.coarse(picture, S), torch.nn.functional.avg_pool2d(picture, 2))


def test_between_lips_is_the_polygon_of_the_inner_lips():
    ring = list(CHAINS["lips"][1])[:-1]
    points = torch.zeros(1, 478, 2)
    angle = torch.linspace(0, 2 * torch.pi, len(ring) + 1)[:-1]
    points[0, ring] = torch.stack((0.5 + 0.2 * angle.cos(), 0.6 + 0.1 * angle.sin()), 1)
    inside = faces.between_lips(points, 128)[0, 0]
    assert inside[77, 64] == 1 and inside[50, 64] == 0 and inside[77, 20] == 0
    area = 0.5 * len(ring) * torch.sin(torch.tensor(2 * torch.pi / len(ring))) * 0.2 * 0.1  # of that polygon
    assert abs(inside.sum() / 128**2 - area) < 0.03 * area


def test_ssim_and_psnr_are_the_ones_that_everyone_means():
    metrics = pytest.importorskip("skimage.metrics")
    a, b = (np.random.default_rng(seed).random((S, S, 3)) for seed in (0, 1))
    b = 0.8 * a + 0.2 * b
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    wanted = metrics.structural_similarity(a, b, channel_axis=-1, full=True, **options)[1]
    x, y = (torch.from_numpy(2 * image - 1).permute(2, 0, 1)[None] for image in (a, b))
    got = pictures.ssim_map(x, y)[0].permute(1, 2, 0).numpy()
    with torch.autocast("cpu", torch.bfloat16):  # as in training
        half = pictures.ssim_map(x.float(), y.float())[0].permute(1, 2, 0).numpy()
    assert np.allclose(half, got, atol=1e-4)
    assert np.allclose(got[5:-5, 5:-5], wanted[5:-5, 5:-5], atol=1e-6)
    everything = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]], dtype=x.dtype)
    wanted = metrics.peak_signal_noise_ratio(a, b, data_range=1.0)
    assert pictures.psnr(x, y, everything).item() == pytest.approx(wanted, abs=1e-4)


def test_the_mouth_counts_most_and_the_background_least():
    points = torch.full((1, 478, 2), 0.5)
    points[:, :, 0] = torch.linspace(0.3, 0.7, 478)
    points[:, :, 1] = torch.linspace(0.3, 0.7, 478)
    mouth = list(faces.PARTS[0][0])
    points[:, mouth] = torch.tensor([0.5, 0.62]) + 0.05 * (torch.rand(1, len(mouth), 2) - 0.5)
    parts = faces.parts(points, faces.between_lips(points, 64))
    weight = faces.importance(points, parts)[0, 0]
    assert weight.amax() == weight[34:48, 24:40].amax() >= faces.PARTS[0][1]
    assert weight[0, 0] == pytest.approx(faces.BACKGROUND, abs=0.02)


def test_no_loss_where_nothing_is_wrong():
    picture, weight = torch.rand(2, 3, S, S), torch.rand(2, 1, S, S)
    for loss in (pictures.l1, pictures.ssim, pictures.gradients):
        assert loss(picture, picture, weight).item() == pytest.approx(0, abs=1e-5)
        assert loss(picture, picture.flip(-1), weight).item() > 0.01


def test_what_is_too_dark_counts_more_where_it_shall():
    dark, light, even = torch.full((1, 3, 4, 4), -0.5), torch.full((1, 3, 4, 4), 0.5), torch.ones(1, 1, 4, 4)
    assert pictures.l1(dark, light, even, 2.0).item() == pytest.approx(3)
    assert pictures.l1(light, dark, even, 2.0).item() == pictures.l1(dark, light, even).item() == pytest.approx(1)


def test_networks_are_fed_in_training_what_they_are_fed_in_use(folder):
    pairs = data.Pairs.open(folder)
    batch = data.pictures(pairs, np.array([1]), S, None)
    frame = np.array(pairs.arrays["target"][1])
    M = np.array([[[R, 0, 0], [0, R, 0]]], np.float32)
    landmarks = np.c_[pairs.arrays["target_points"][1] * R, np.zeros(478)].astype(np.float32)
    face = Face(landmarks, np.zeros(52, np.float32), 1.0)
    step = Step(Wiring(unet.small(S), "transfer"), {}, face, None, Target(frame, [face], M))
    step.tensors["driven_points"] = pairs.arrays["driven_points"][1:2]
    for name, wanted in step.inputs(unet.small(S).stage("unet")).items():
        assert np.allclose(batch[name].numpy(), wanted, atol=1e-5), name


def test_the_true_flow_is_seen_from_any_crop():
    flow = np.empty((32, 32, 2), np.float16)
    flow[...] = (0.05, -0.02)
    flow[:8] = np.nan
    whole = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    for M, wanted in (
        (whole, (0.05, -0.02)),
        (np.array([[-1, 0, 1], [0, 1, 0]], np.float32), (-0.05, -0.02)),  # mirrored
        (np.array([[0.5, 0, 0.25], [0, 0.5, 0.5]], np.float32), (0.1, -0.04)),  # half as large a part
        (np.array([[0, -1, 1], [1, 0, 0]], np.float32), (-0.02, -0.05)),  # turned
    ):
        seen = data._seen_from(flow, M, 64)
        known = np.isfinite(seen).all(0)
        assert np.allclose(seen[:, known].T, wanted, atol=1e-4)
    assert 0.7 < np.isfinite(data._seen_from(flow, whole, 64)).mean() < 0.75
    truth = torch.tensor([0.1, float("nan")]).expand(1, 2, 2).reshape(1, 2, 1, 2)
    guess = torch.zeros(1, 2, 1, 2, requires_grad=True)
    missed = flows.motion(guess, truth, 8 * torch.ones(1, 1, 1, 2))
    missed.sum().backward()
    assert missed.item() == pytest.approx(2 * 12.8**2, rel=1e-4)
    assert guess.grad is not None and guess.grad[..., 0].abs().min() > 0 and not guess.grad[..., 1].any()


def test_the_light_is_charged_by_its_square_where_it_is_known():
    truth = torch.tensor([0.1, float("nan"), -0.1, 0.0]).reshape(1, 1, 2, 2)
    light = torch.tensor([0.3, 0.9, -0.1, 0.1]).reshape(1, 1, 2, 2).requires_grad_()
    weight = torch.tensor([2.0, 5.0, 1.0, 1.0]).reshape(1, 1, 2, 2)
    missed = flows.relighting(light, truth, weight)
    missed.backward()
    assert missed.item() == pytest.approx((2 * 2.0**2 + 1 * 1.0**2) / 4, rel=1e-4)  # tenths
    assert light.grad is not None and light.grad.isfinite().all() and light.grad[0, 0, 0, 1] == 0


def test_light_on_a_recoloured_picture(folder):
    """Light is a gain: what it makes of a pixel before colours change, it makes of it after."""
    pairs = data.Pairs.open(folder)
    dark = np.full((R // 2, R // 2), -0.3, np.float16)
    arrays = pairs.arrays | {"light": np.broadcast_to(dark, (len(pairs.arrays["person"]), *dark.shape))}
    arrays["truth"] = np.array(pairs.arrays["target"])
    arrays["driven_points"] = np.array(pairs.arrays["target_points"])  # nothing moves
    for name in ("target", "truth"):
        arrays[name] = np.full_like(arrays[name], 180)
    arrays["truth"][:] = int(180 * 0.7)
    changed = 0
    for seed in range(4):
        made = data.pictures(replace(pairs, arrays=arrays), np.array([0]), S, np.random.default_rng(seed))
        lit = (made["warped"] + 1) * (1 + made["light"]) - 1
        assert (lit - made["truth"]).mean(1).abs().max() < 0.02
        changed += (made["light"] + 0.3).abs().max() > 0.01
    assert changed > 1


def test_chance_moves_target_and_truth_alike(folder):
    pairs = data.Pairs.open(folder)
    batch = data.pictures(pairs, np.zeros(8, np.int64), S, np.random.default_rng(3))
    inside = torch.zeros(8, 1, S, S)
    inside[..., 16:-16, 16:-16] = 1
    moved = pictures.l1(batch["warped"], batch["truth"], inside)
    assert moved < 0.5 * pictures.l1(batch["target"], batch["truth"], inside)


def test_batches_depend_on_seed_and_step_alone_and_never_hold_the_held_out(folder):
    pairs = data.Pairs.open(folder)
    seen = []

    def make(pairs, rows, size, rng):
        seen.append(rows)
        return {"rows": torch.from_numpy(rows), "draw": torch.tensor(rng.random())}

    def take(first, count, seed=0):
        source = data.batches(pairs, make, S, 5, seed, first)
        return [next(source)["draw"].item() for _ in range(count)]

    whole = take(0, 6)
    assert take(3, 3) == whole[3:]
    assert take(0, 3, seed=1) != whole[:3]
    assert set(pairs.arrays["person"][np.concatenate(seen)]) == {0, 1}


def test_training_lowers_the_loss_and_makes_weights_that_build(folder, tmp_path, short):
    output = tmp_path / "W.safetensors"
    figures = loop.train("unet", folder, output, steps=30)
    assert figures["fuse"]["fused"] < figures["fuse"]["still"]
    assert figures["unet"]["net"] > figures["unet"]["copy"]
    run = output.with_suffix("")
    assert {file.name for file in (run / "unet").iterdir()} >= {"log.csv", "curves.png", "sheet.png", "checkpoint.pt"}
    plan = export.build("unet", "small", "fp32", output)
    assert not plan.random_weights
    assert plan.metrics["unet"]["net"] == figures["unet"]["net"]
    assert plan.provenance["trained"]["unet"]["steps"] == 30
    assert plan.provenance["trained"]["unet"]["data"] == [data.Pairs.open(folder).digest]


def test_a_run_begins_with_what_fits_of_a_plan(folder, tmp_path, short):
    plan = export.build("unet", "small", "fp16", seed=7)
    output = tmp_path / "W.safetensors"
    loop.train("unet", folder, output, stage="unet", steps=1, begin=plan)
    kept = export.build("unet", "small", "fp16", output)
    assert all(np.array_equal(kept.stage_weights("fuse")[k], w) for k, w in plan.stage_weights("fuse").items())
    spec = replace(unet.small(S), args={"fuse": 64, "down": [32, 48, 96, 128, 128], "up": [128, 80, 48, 8, 16]})
    module = unet.build(spec)["unet"]
    own = {name: w.clone() for name, w in module.state_dict().items()}
    runs.take(module, "unet", plan)
    begun, weights = module.state_dict(), plan.stage_weights("unet")
    changed = {name for name in own if not torch.equal(own[name], begun[name])}
    assert "down.3.conv.weight" in changed and "up.3.conv.weight" not in changed, "another width: stays as it was"
    assert np.array_equal(begun["down.3.conv.weight"], weights["down.3.conv.weight"].astype(np.float32))
    seen = weights["down.0.conv.weight"].astype(np.float32)
    for inputs in (7, 12):
        other = unet.build(unet.small(S))["unet"]
        other.down[0].conv = torch.nn.Conv2d(inputs, 32, 4, 2, 1, bias=False)
        runs.take(other, "unet", plan)
        first = other.state_dict()["down.0.conv.weight"]
        assert np.array_equal(first[:, :10], seen[:, :inputs]) and not first[:, 10:].any()
    with pytest.raises(BadInput, match="no weight of flow_fp32 fits stage unet"):
        runs.take(module, "unet", Plan.open("flow_fp32"))


def test_a_run_that_was_stopped_goes_on_as_if_it_never_was(folder, tmp_path, short):
    spec, pairs = unet.small(S), data.Pairs.open(folder)
    recipe = short[1]

    def begin():
        torch.manual_seed(0)
        return runs.start(recipe, unet.build(spec), 0)

    whole = begin()
    loop.train_recipe(whole, recipe, spec, pairs, tmp_path / "whole", minutes=None, steps=6, seed=0)

    stopped, taken = begin(), []

    def batch(*arguments):
        taken.append(1)
        if len(taken) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return recipe.batch(*arguments)

    with pytest.raises(KeyboardInterrupt):
        stop_soon = replace(recipe, batch=batch)
        loop.train_recipe(stopped, stop_soon, spec, pairs, tmp_path / "cut", minutes=None, steps=6, seed=0)
    assert 0 < stopped.step < 6
    resumed = begin()
    resumed.load(tmp_path / "cut" / "checkpoint.pt")
    loop.train_recipe(resumed, recipe, spec, pairs, tmp_path / "cut", minutes=None, steps=6, seed=0)
    assert resumed.step == whole.step == 6
    for parts in ("networks", "averages"):
        for name in getattr(whole, parts):
            got, wanted = (getattr(run, parts)[name].state_dict() for run in (resumed, whole))
            assert all(torch.equal(got[key], wanted[key]) for key in wanted), name


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


def test_int8_is_not_calibrated_on_those_held_out(tmp_path):
    data.create(tmp_path, 3, 64, {"held_out": [0]})
    with pytest.raises(BadInput, match=r"all pairs in .* are for validation"):
        calibrate.samples("unet", "small", tmp_path)
