"""What networks are fed in training: what they are fed in use, varied alike in pictures, points, flow and light."""

from __future__ import annotations

from dataclasses import replace
from math import cos, sin

import noise_pairs
import numpy as np
import pytest
from noise_pairs import SHIFT, N, R

torch = pytest.importorskip("torch")

from fetfast.face import Face  # noqa: E402
from fetfast.models import unet  # noqa: E402
from fetfast.step import Step, Target, Wiring  # noqa: E402
from fetfast.train import batches, data, retarget  # noqa: E402
from fetfast.train.losses import flows  # noqa: E402

S = 64
IMAGES = ("target", "warped", "picture", "truth", "truth_fine")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> data.Pairs:
    return data.Pairs.open(noise_pairs.make(tmp_path_factory.mktemp("pairs")))


def changed(pairs: data.Pairs, **arrays: np.ndarray) -> data.Pairs:
    full = {name: np.broadcast_to(array, (N, *np.shape(array)[1:])) for name, array in arrays.items()}
    return replace(pairs, arrays=pairs.arrays | full)


@pytest.fixture
def clean(monkeypatch) -> None:
    """No blur, no JPEG, no noise in landmarks."""
    for name in ("SOFT", "BLOCKS", "NOISE"):
        monkeypatch.setattr(batches, name, 0.0)


def test_networks_are_fed_in_training_what_they_are_fed_in_use(pairs):
    batch = batches.pictures(pairs, np.array([1]), S, None)
    frame = np.array(pairs.arrays["target"][1])
    M = np.array([[[R, 0, 0], [0, R, 0]]], np.float32)
    landmarks = np.c_[pairs.arrays["target_points"][1] * R, np.zeros(478)].astype(np.float32)
    face = Face(landmarks, np.zeros(52, np.float32), 1.0)
    step = Step(Wiring(unet.small(S), "transfer"), {}, face, None, Target(frame, [face], M))
    step.tensors["driven_points"] = pairs.arrays["driven_points"][1:2]
    for name, wanted in step.inputs(unet.small(S).stage("unet")).items():
        assert np.allclose(batch[name].numpy(), wanted, atol=1e-5), name


def test_pictures_as_they_are(pairs):
    batch = batches.pictures(pairs, np.array([4]), S, None)
    for name, array in (("picture", "target"), ("truth_fine", "truth")):  # at R pixels: the very pixels
        wanted = pairs.arrays[array][4].transpose(2, 0, 1) / 127.5 - 1
        assert np.abs(batch[name][0].numpy() - wanted).max() < 1e-5, name
    halves = torch.nn.functional.avg_pool2d(batch["truth_fine"], 2)
    assert (batch["truth"] - halves).abs().mean() < 0.02
    assert torch.equal(batch["driven_points"][0], torch.from_numpy(np.array(pairs.arrays["driven_points"][4])))


def test_the_true_flow_makes_the_truth_of_the_target_however_a_pair_is_moved(pairs, clean):
    """Mirrored, turned, scaled and shifted: the flow and the light of the batch still make one of the other."""
    rows = np.array([0, 1, 3, 4, 6, 7, 9, 10])
    mirrored = 0
    for seed in range(3):
        batch = batches.pictures(pairs, rows, S, np.random.default_rng(seed))
        lit = (flows.warp(batch["target"], batch["flow"]) + 1) * (1 + batch["light"]) - 1
        inside = (..., slice(12, -12), slice(12, -12))
        off, still = ((x - batch["truth"])[inside].abs().mean() for x in (lit, batch["target"]))
        assert off < 0.1 * still
        lengths = batch["flow"].square().sum(1).sqrt().mean((1, 2)) * R  # in pixels of the set, turned and scaled
        assert ((lengths - SHIFT).abs() < 1.5).all() and lengths.std() > 0.05
        mirrored += int((batch["flow"][:, 0].mean((1, 2)) > 0).sum())
    assert 6 <= mirrored <= 18, "of 24, about half"


def test_landmarks_go_where_the_picture_goes(pairs, clean):
    """A white dot painted at a landmark is found at that landmark of the batch."""
    points = np.full((1, 478, 2), 0.5, np.float32)
    points[0, 100] = 0.4, 0.35
    centre = (np.arange(R) + 0.5) / R
    away = (centre - 0.4) ** 2 + (centre[:, None] - 0.35) ** 2
    photo = np.repeat((250 * np.exp(-away / (2 * 0.02**2)))[..., None], 3, -1).astype(np.uint8)[None]
    dots = changed(pairs, target=photo, truth=photo, target_points=points, driven_points=points)
    seen = []
    for seed in range(12):
        batch = batches.pictures(dots, np.array([0]), S, np.random.default_rng(seed))
        for name in ("target", "truth"):
            dot = batch[name][0].mean(0).double()
            dot = (dot - dot.median()).clamp(min=0)
            at = (torch.arange(S) + 0.5) / S
            found = torch.stack(((dot * at).sum(), (dot * at[:, None]).sum())) / dot.sum()
            assert torch.allclose(found, batch["driven_points"][0, 100].double(), atol=0.004), name
        seen.append(found)
    assert torch.stack(seen).std(0).min() > 0.01, "it does move"


def test_the_noise_of_landmarks_is_the_same_in_target_and_driven(pairs, monkeypatch):
    """Where no landmark moves nothing is asked for, however noisy they are; the noise is 0.0015 crop sides."""
    monkeypatch.setattr(batches, "_moved", lambda M, rng: M)
    still = changed(pairs, driven_points=pairs.arrays["target_points"])
    off = []
    for seed in range(4):
        batch = batches.pictures(still, np.array([0]), S, np.random.default_rng(seed))
        assert not batch["first_flow"].any() and torch.equal(batch["target_map"], batch["driven_map"])
        where = batch["driven_points"][0].numpy()
        plain = noise_pairs.face()
        mirrored = plain * (-1, 1) + (1, 0)
        off.append(min((where - p for p in (plain, mirrored)), key=lambda d: np.abs(d).mean()))
    assert np.std(off) == pytest.approx(0.0015, rel=0.05) and abs(np.mean(off)) < 0.0001


def test_chance_recolours_all_pictures_of_a_pair_alike(pairs, clean):
    grey = np.full((1, R, R, 3), (100, 140, 180), np.uint8)
    same = changed(pairs, target=grey, truth=grey)
    gains = []
    for seed in range(60):
        batch = batches.pictures(same, np.array([0]), S, np.random.default_rng(seed))
        middle = {name: batch[name][0, :, 20:-20, 20:-20].flatten(1) for name in IMAGES}
        colour = middle["target"][:, :1]
        assert all(torch.allclose(picture, colour, atol=1e-4) for picture in middle.values())
        gains.append(colour[:, 0])
    spread = torch.stack(gains).std(0)
    assert (spread > 0.04).all(), "brightness and contrast vary"
    hues = torch.stack(gains)[:, 0] / torch.stack(gains)[:, 2]
    assert hues.std() > 0.02, "and each channel on its own"


def test_light_on_a_recoloured_picture(pairs, clean):
    """Light is a gain: what it makes of a pixel before colours change, it makes of it after."""
    photo = np.full((1, R, R, 3), 180, np.uint8)
    dark = np.full((1, R // 2, R // 2), -0.3, np.float16)
    still = changed(
        pairs, target=photo, truth=np.uint8(0.7 * photo), light=dark, driven_points=pairs.arrays["target_points"]
    )
    varied = 0
    for seed in range(4):
        made = batches.pictures(still, np.array([0]), S, np.random.default_rng(seed))
        lit = (made["warped"] + 1) * (1 + made["light"]) - 1
        assert (lit - made["truth"]).mean(1).abs().max() < 0.02
        varied += (made["light"] + 0.3).abs().max() > 0.01
    assert varied > 1


def test_soft_pairs_are_soft_on_both_sides_and_only_targets_are_jpegs(monkeypatch):
    y, x = np.mgrid[:R, :R]
    photo = np.stack([(x * 37 + y * 91) % 256, 2 * x % 256, 2 * y % 256], -1).astype(np.uint8)
    monkeypatch.setattr(batches, "BLOCKS", 0.0)
    monkeypatch.setattr(batches, "SOFT", 1.0)
    a, b = batches._degraded(photo, photo, np.random.default_rng(0))
    sharp, soft = (np.abs(np.diff(p.astype(float), axis=1)).mean() for p in (photo, a))
    assert np.array_equal(a, b) and soft < 0.8 * sharp and abs(a.mean() - photo.mean()) < 2
    monkeypatch.setattr(batches, "SOFT", 0.0)
    monkeypatch.setattr(batches, "BLOCKS", 1.0)
    a, b = batches._degraded(photo, photo, np.random.default_rng(0))
    assert np.array_equal(b, photo) and not np.array_equal(a, photo) and np.abs(a.astype(float) - photo).mean() < 30


def test_a_quarter_is_soft_and_three_tenths_are_jpegs():
    photo = (np.random.default_rng(0).random((16, 16, 3)) * 255).astype(np.uint8)
    rng = np.random.default_rng(1)
    made = [batches._degraded(photo, photo, rng) for _ in range(1000)]
    soft = [not np.array_equal(truth, photo) for _, truth in made]
    blocks = [not np.array_equal(target, truth) for target, truth in made]
    assert np.mean(soft) == pytest.approx(0.25, abs=0.04) and np.mean(blocks) == pytest.approx(0.3, abs=0.04)


def test_crops_turn_by_a_few_degrees_about_their_middle():
    whole = np.array([[R, 0, 0], [0, R, 0]], np.float32)
    rng = np.random.default_rng(0)
    moved = np.stack([batches._moved(whole, rng) for _ in range(4000)]) / R
    angle, scale = np.arctan2(moved[:, 1, 0], moved[:, 0, 0]), np.hypot(moved[:, 1, 0], moved[:, 0, 0])
    middle = moved @ np.array([0.5, 0.5, 1.0])
    assert np.allclose(moved[:, 0, 0], moved[:, 1, 1]) and np.allclose(moved[:, 0, 1], -moved[:, 1, 0])
    assert (angle.std(), np.log(scale).std()) == (pytest.approx(0.04, rel=0.05), pytest.approx(0.05, rel=0.05))
    assert (abs(angle.mean()), np.log(scale).mean()) == (pytest.approx(0, abs=0.003), pytest.approx(-0.03, abs=0.003))
    assert np.allclose(middle.mean(0), 0.5, atol=0.002) and np.allclose(middle.std(0), 0.015, rtol=0.05)


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
        (np.array([[cos(0.3), -sin(0.3), 0.2], [sin(0.3), cos(0.3), -0.1]], np.float32),
         (0.05 * cos(0.3) - 0.02 * sin(0.3), -0.05 * sin(0.3) - 0.02 * cos(0.3))),
    ):  # fmt: skip
        seen = batches._seen_from(flow, M, 64)
        known = np.isfinite(seen).all(0)
        assert np.allclose(seen[:, known].T, wanted, atol=1e-4)
    assert 0.7 < np.isfinite(batches._seen_from(flow, whole, 64)).mean() < 0.75


def test_what_is_read_off_pairs_is_what_the_landmarker_reads(tmp_path):
    """The astronaut, cropped as training pairs are, against the landmarker's own reading of the whole photo."""
    from fetfast import assets, image
    from fetfast.face import Landmarker, crop_matrix, to_crop
    from fetfast.ops.crop import crop, to_picture

    photo = image.load(assets.path("astronaut.png"))
    (face,) = Landmarker().detect(photo)
    M = crop_matrix(face.landmarks)
    arrays = data.create(tmp_path, 1, 256, {"held_out": []})
    for name in ("target", "truth"):
        arrays[name][0] = to_picture(crop(photo, M, 256))
    for name in ("target_points", "driven_points"):
        arrays[name][0] = to_crop(face.landmarks[:, :2], M)
    arrays["truth"][0] = 128  # shows nobody
    points, blendshapes = retarget.readings(data.Pairs.open(tmp_path))
    assert np.abs(blendshapes[0, 0] - face.blendshapes).mean() < 0.02 and face.blendshapes.max() > 0.3
    assert np.abs(points[0, 0] - arrays["target_points"][0]).mean() < 0.005
    assert np.isnan(points[0, 1]).all() and np.isnan(blendshapes[0, 1]).all()
    kept = retarget.readings(data.Pairs.open(tmp_path))
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(kept, (points, blendshapes), strict=True))


# How pairs are drawn.


def drawn(pairs: data.Pairs, first: int, count: int, seed: int = 0, size: int = 5) -> tuple[list[float], np.ndarray]:
    """A random number of each batch, and all rows."""
    rows = []

    def make(pairs, chosen, side, rng):
        rows.append(chosen)
        return {"draw": torch.tensor(rng.random())}

    source = batches.batches(pairs, make, S, size, seed, first)
    draws = [next(source)["draw"].item() for _ in range(count)]
    source.close()
    return draws, np.concatenate(rows)


def test_batches_depend_on_seed_and_step_alone_and_never_hold_the_persons_for_validation(pairs):
    whole, rows = drawn(pairs, 0, 6)
    assert drawn(pairs, 3, 3)[0] == whole[3:]
    assert drawn(pairs, 0, 3, seed=1)[0] != whole[:3] and len(set(whole)) == 6
    assert set(pairs.arrays["person"][rows]) == {0, 1}


def test_mouths_that_open_are_seen_five_times_as_often_and_lids_that_move_four_times(pairs):
    target, driven = (np.array(pairs.arrays[f"{end}_points"]) for end in ("target", "driven"))
    for points in (target, driven):
        points[:] = noise_pairs.face()
        points[:, [14, 145, 374]] = points[:, [13, 159, 386]]  # lips and lids shut
    driven[0, 14, 1] += 0.03
    driven[1, 145, 1] += 0.03
    driven[3, [14, 374], 1] += 0.015  # half of both
    made = changed(pairs, target_points=target, driven_points=driven)
    rows = drawn(made, 0, 60, size=100)[1]
    counts = np.bincount(rows, minlength=N) / len(rows)
    chance = np.array([5, 4, 0, 1 + 2 + 1.5, 1, 0, 1, 1, 0, 1, 1, 0])
    assert np.allclose(counts, chance / chance.sum(), atol=0.015) and not counts[chance == 0].any()
