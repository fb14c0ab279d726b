"""The morphable model's teeth, the table of where they stand, and the teeth of pairs."""

from dataclasses import replace

import numpy as np
import pytest
from people import wearing

from fetfast.ops.teeth import LOWER, POINTS, UPPER
from fetfast.ops.teeth import weights as teeth_of
from fetfast.train.facekit import Facekit
from fetfast.train.synth import jaws, pairs
from fetfast.train.synth.expression import SMILE, SMILES, random_expression
from fetfast.train.synth.mask import FACE, TEETH
from fetfast.train.synth.portrait import Portrait
from fetfast.train.synth.rendered import NOBODY, random_pose
from fetfast.train.synth.repose import repose
from fetfast.train.teeth import SKIN


@pytest.fixture(scope="module")
def kit(model: pairs.Model) -> Facekit:
    return model.kit


def test_thirty_two_teeth(kit: Facekit) -> None:
    found = jaws.separate(kit)
    assert len(found) == 32 and sum(map(len, found)) == kit.parts("Teeth").sum()


@pytest.mark.parametrize(("upper", "count"), [(True, UPPER), (False, LOWER)])
def test_points_between_teeth(kit: Facekit, upper: bool, count: int) -> None:
    rows = jaws.row(kit, upper)
    assert rows.shape == (2 * (count + 1), 2)
    x, y, z = kit.neutral[rows].mean(1).T
    bite, gums = slice(0, count + 1), slice(count + 1, None)
    up = 1 if upper else -1
    assert (np.diff(x[bite]) > 0.2).all(), "centimetres, from the subject's right to the left"
    assert np.allclose(x[bite], -x[bite][::-1], atol=0.1) and abs(x[bite][count // 2]) < 0.05
    assert (up * (y[gums] - y[bite]) > 0.5).all() and (z > 7.5).all()
    assert (jaws.is_upper(kit)[rows] == upper).all()


def test_the_table_that_ships_finds_the_model_s_teeth(kit: Facekit) -> None:
    """On faces it was not made of, within half a tooth."""
    corners = jaws.corners(kit)
    rng = np.random.default_rng(5)
    off = []
    for _ in range(25):
        identity = rng.normal(0, 0.8, len(kit.identities))
        target, driven = (kit.shape(identity, random_expression(kit, NOBODY, rng)) for _ in range(2))
        pose = random_pose(kit, target, rng)
        landmarks = np.zeros((2, 478, 2), np.float32)
        for points, shape in zip(landmarks, (driven, target), strict=True):
            points[:SKIN] = pose.project(pose.place(shape[kit.landmark_vertices[:SKIN]]))[:, :2]
        there = pose.project(pose.place(driven[corners.ravel()]))[:, :2].reshape(POINTS, 2, 2).mean(1)
        off.append(teeth_of() @ landmarks.reshape(-1, 2) - there)
    error = 128 * np.sqrt(np.square(off).mean((0, 2)))  # pixels of a crop at 128; a front tooth has 3 or 4
    assert error[: 2 * UPPER + 2].max() < 1.0 and error.max() < 1.3
    sums = teeth_of().reshape(POINTS, 2, -1).sum(2)
    assert np.allclose(sums, (1, 0), atol=2e-5)  # f32, 478 of them


def test_teeth_go_with_their_own_jaw_and_skin_with_none(model: pairs.Model) -> None:
    mask = model.mask
    assert not mask.with_teeth[mask.kind == FACE].any()
    front = (mask.kind == TEETH) & (mask.neutral[:, 2] > 8.5)
    assert np.allclose(mask.with_teeth[front].sum(1), 1, atol=1e-4) and front.sum() > 1000
    assert mask.with_teeth.max() <= 1.0001 and mask.with_teeth.min() >= 0
    points, up = np.arange(POINTS), 2 * (UPPER + 1)
    for point in points:
        other = slice(up, None) if point < up else slice(0, up)
        assert not mask.with_teeth[mask.teeth[point], other].any()


def test_teeth_of_a_pair_stand_where_they_are_drawn(model: pairs.Model, portrait_128: Portrait) -> None:
    """Nearly: the shift is a mean over neighbours. Without it they are as far off as the table from this face's."""
    mask = model.mask
    expression = wearing(model, portrait_128.fit.expression, mouthSmile=0.8, mouthUpperUp=0.6, jawOpen=0.2)

    def miss(mask) -> float:
        made = repose(model.kit, mask, portrait_128, expression, portrait_128.fit.landmarks)
        there = made.drawn.screen[mask.teeth, :2].mean(1)
        wanted = teeth_of() @ np.concatenate((made.points, portrait_128.fit.landmarks))
        return 128 * float(np.linalg.norm(wanted - there, axis=1)[: 2 * UPPER + 2].mean())

    free = miss(replace(mask, with_teeth=0 * mask.with_teeth))
    assert miss(mask) < 0.3 < 0.5 * free + 0.15, (miss(mask), free)


def test_a_tooth_is_darker_towards_its_neighbours(model: pairs.Model, portrait_128: Portrait) -> None:
    mask = model.mask
    front = (mask.kind == TEETH) & (mask.neutral[:, 2] > 10) & (np.abs(mask.neutral[:, 0]) < 1.5)
    paint = portrait_128.paint.mean(1)
    middle, edge = paint[front & (mask.flanks < 0.4)], paint[front & (mask.flanks > 0.9)]
    assert len(middle) > 30 and len(edge) > 30
    assert np.median(edge) < 0.8 * np.median(middle)


def test_shades_differ_where_the_photo_shows_no_teeth(model: pairs.Model, portrait_128: Portrait) -> None:
    mask, teeth = model.mask, model.mask.kind == TEETH
    assert not portrait_128.trust[teeth].any(), "this portrait's lips are closed"
    dull = pairs.shaded(mask, portrait_128, 0.5)
    assert np.allclose(dull.paint[teeth], portrait_128.paint[teeth] / 2)
    assert np.array_equal(dull.paint[~teeth], portrait_128.paint[~teeth])
    trust = portrait_128.trust.copy()
    trust[np.flatnonzero(teeth)[0]] = 1
    smiling = replace(portrait_128, trust=trust)
    assert pairs.shaded(mask, smiling, 0.5) is smiling


def test_a_fifth_of_the_expressions_are_smiles_that_show_teeth(kit: Facekit) -> None:
    rng = np.random.default_rng(0)
    made = np.stack([random_expression(kit, NOBODY, rng) for _ in range(600)])
    like = np.ones(len(made), bool)
    for stem, (low, high) in SMILE.items():
        amount = made[:, kit.index(stem)]
        like &= ((amount >= 0.8 * low) & (amount <= high)).all(1)
    others = [n for n, name in enumerate(kit.expression_names) if name.split("_")[0] not in SMILE and "eye" not in name]
    like &= (made[:, others] == 0).all(1)
    assert abs(like.mean() - SMILES) < 0.05
