"""The morphable model's teeth, the table of where they stand, and the teeth of pairs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from people import pair_of, wearing

from fetfast.ops.teeth import LOWER, POINTS, UPPER
from fetfast.ops.teeth import weights as teeth_of
from fetfast.synth import portrait_dataset, teeth, teeth_geometry
from fetfast.synth.expression import CLENCHED, SMILE, SMILES, random_expression
from fetfast.synth.face_submesh import FACE, MOUTH, TEETH
from fetfast.synth.facekit import Facekit
from fetfast.synth.portrait import Portrait
from fetfast.synth.raster import vertex_normals
from fetfast.synth.reexpress import reexpress
from fetfast.synth.rendered_dataset import NOBODY, SPREAD, random_pose
from fetfast.synth.teeth import SEEDS, SKIN, TURNED


@pytest.fixture(scope="module")
def kit(model: portrait_dataset.Model) -> Facekit:
    return model.kit


def test_thirty_two_teeth(kit: Facekit) -> None:
    found = teeth_geometry.separate(kit)
    assert len(found) == 32 and sum(map(len, found)) == kit.parts("Teeth").sum()


@pytest.mark.parametrize(("upper", "count"), [(True, UPPER), (False, LOWER)])
def test_points_between_teeth(kit: Facekit, upper: bool, count: int) -> None:
    rows = teeth_geometry.row(kit, upper)
    assert rows.shape == (2 * (count + 1), 2)
    x, y, z = kit.neutral[rows].mean(1).T
    bite, gums = slice(0, count + 1), slice(count + 1, None)
    up = 1 if upper else -1
    assert (np.diff(x[bite]) > 0.2).all(), "centimetres, from the subject's right to the left"
    assert np.allclose(x[bite], -x[bite][::-1], atol=0.1) and abs(x[bite][count // 2]) < 0.05
    assert (up * (y[gums] - y[bite]) > 0.5).all() and (z > 7.5).all()


def test_sixteen_teeth_stand_in_each_jaw(kit: Facekit) -> None:
    """By what stays as the jaw opens, and by their heights: the rows overlap, teeth as a whole do not."""
    upper = teeth_geometry.is_upper(kit)
    heights = {True: [], False: []}
    for tooth in teeth_geometry.separate(kit):
        assert len(set(upper[tooth])) == 1, "a tooth as a whole"
        heights[bool(upper[tooth][0])].append(kit.neutral[tooth, 1].mean())
    assert len(heights[True]) == len(heights[False]) == 16 and min(heights[True]) > max(heights[False])


def test_the_table_that_ships_finds_the_model_s_teeth(kit: Facekit) -> None:
    """On faces it was not made of, the head turned a little meanwhile, within half a tooth."""
    corners = teeth_geometry.corners(kit)
    rng = np.random.default_rng(SEEDS)
    off, unaware = [], []
    for _ in range(25):
        identity = rng.normal(0, SPREAD, len(kit.identities))
        expressions = [random_expression(kit, NOBODY, rng) for _ in range(2)]
        expressions[1][kit.index("jawOpen")] = rng.uniform(0.5, 1)  # jaws that open, whatever else is drawn
        target, driven = (kit.shape(identity, expression) for expression in expressions)
        pose = random_pose(kit, target, rng)
        turned = pose.turned(*rng.normal(0, TURNED, 2))
        landmarks = np.zeros((2, 478, 2), np.float32)
        for points, shape, view in zip(landmarks, (driven, target), (turned, pose), strict=True):
            points[:SKIN] = view.project(view.place(shape[kit.landmark_vertices[:SKIN]]))[:, :2]
        there = turned.project(turned.place(driven[corners.ravel()]))[:, :2].reshape(POINTS, 2, 2).mean(1)
        off.append(teeth_of() @ landmarks.reshape(-1, 2) - there)
        unaware.append(teeth_of() @ landmarks[[0, 0]].reshape(-1, 2) - there)
    error, without = (128 * np.sqrt(np.square(o).mean((0, 2))) for o in (off, unaware))
    assert error.max() < 1.0, "pixels of a crop at 128; a front tooth has 3 or 4"
    assert without[2 * (UPPER + 1) :].mean() > 1.2 * error[2 * (UPPER + 1) :].mean(), "the target tells of the jaw"


def test_a_table_is_made_of_faces(kit: Facekit, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teeth, "FACES", 40)
    seen = teeth.faces(shared / "ict_facekit_f16.npz", 0)
    table = teeth.weights(np.concatenate([seen, teeth.mirrored(kit, seen)]))
    assert table.shape == (POINTS, 2 * 478) and not table.reshape(POINTS, 2, 478)[..., SKIN:].any()
    target, driven = (np.pad(seen[0, n, :SKIN], ((0, 10), (0, 0))) for n in range(2))
    found = table @ np.concatenate((driven, target))
    assert 128 * np.linalg.norm(found - seen[0, 1, SKIN:], axis=1).mean() < 1


def test_photographed_teeth_end_where_they_are_drawn(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def below() -> float:
        low, count = teeth.measure(shared / "portraits")
        assert count > 5
        return low

    drawn = teeth.teeth
    assert abs(below()) < 0.006
    monkeypatch.setattr(teeth, "teeth", lambda *points: (drawn(*points)[0] - (0, 0.0135), None))
    assert below() > 0.01, "those of the model as it comes"


def test_the_table_is_whole_and_knows_no_sides(model: portrait_dataset.Model) -> None:
    table = teeth_of()
    assert np.allclose(table.reshape(POINTS, 2, -1).sum(2), (1, 0), atol=2e-5)  # f32, 478 of them
    rows = np.split(np.arange(POINTS), np.cumsum([UPPER + 1, UPPER + 1, LOWER + 1]))
    other = np.concatenate([row[::-1] for row in rows])
    mirrored = table[other][:, np.concatenate([model.points, 478 + model.points])]
    assert np.abs(mirrored - table).max() < 1e-3 < table.max()


def test_teeth_go_with_their_own_jaw_and_skin_with_none(model: portrait_dataset.Model) -> None:
    submesh = model.submesh
    with_teeth = np.zeros((len(submesh.kind), POINTS), np.float32)
    with_teeth[submesh.jaws] = submesh.with_teeth
    assert not with_teeth[submesh.kind == FACE].any()
    front = (submesh.kind == TEETH) & (submesh.neutral[:, 2] > 8.5)
    assert np.allclose(with_teeth[front].sum(1), 1, atol=1e-4) and front.sum() > 1000
    assert with_teeth.max() <= 1.0001 and with_teeth.min() >= 0
    gums = (submesh.kind == MOUTH) & (with_teeth.sum(1) > 0.8)
    assert 100 < gums.sum() < 0.5 * (submesh.kind == MOUTH).sum(), "those next to the front teeth, not the tongue"
    points, up = np.arange(POINTS), 2 * (UPPER + 1)
    for point in points:
        other = slice(up, None) if point < up else slice(0, up)
        assert not with_teeth[submesh.teeth[point], other].any()


def test_teeth_of_a_pair_stand_where_they_are_drawn(model: portrait_dataset.Model, portrait_128: Portrait) -> None:
    """Nearly: the shift is a mean over neighbours. Without it they are as far off as the table from this face's."""
    submesh, before = model.submesh, portrait_128.fit.landmarks
    expression = wearing(model, portrait_128.fit.expression, mouthSmile=0.8, mouthUpperUp=0.6, jawOpen=0.6)

    def miss(submesh, target_points) -> float:
        made = reexpress(model.kit, submesh, portrait_128, expression, target_points)
        there = made.raster.screen[submesh.teeth, :2].mean(1)
        drawn = teeth_of() @ np.concatenate((made.points, before))
        return 128 * float(np.linalg.norm(drawn - there, axis=1).mean())

    assert miss(submesh, before) < 0.1
    assert miss(submesh, None) > 0.2, "as a target they stand elsewhere"
    assert miss(replace(submesh, with_teeth=0 * submesh.with_teeth), before) > 0.5


def test_teeth_of_the_photo_stand_where_they_are_drawn(model: portrait_dataset.Model, portrait_128: Portrait) -> None:
    wanted = teeth_of() @ np.concatenate((portrait_128.fit.landmarks,) * 2)
    there = portrait_128.screen[model.submesh.teeth, :2].mean(1)
    assert 128 * np.linalg.norm(wanted - there, axis=1).mean() < 0.1


def test_a_pair_s_truth_knows_its_target_and_its_teeth_their_shade(
    model: portrait_dataset.Model, portrait_128: Portrait, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, enamel = [], model.submesh.kind == TEETH

    def spy(kit, submesh, portrait, expression, target_points=None):
        given.append((portrait.paint[enamel].mean(), target_points))
        return reexpress(kit, submesh, portrait, expression, target_points)

    monkeypatch.setattr(portrait_dataset, "reexpress", spy)
    made = [pair_of(model, portrait_128, seed) for seed in range(4)]
    truths = [points for _, points in given if points is not None]
    assert len(truths) == len(made) and all(
        np.array_equal(points, pair["target_points"]) for points, pair in zip(truths, made, strict=True)
    )
    shades = {round(float(shade)) for shade, _ in given}
    assert len(shades) == len(made), "one for both ends of a pair"


def test_a_tooth_is_darker_towards_its_neighbours(model: portrait_dataset.Model, portrait_128: Portrait) -> None:
    """Where it faces the camera, too."""
    submesh, normals = model.submesh, vertex_normals(model.submesh.neutral, model.submesh.triangles)
    front = (submesh.kind == TEETH) & (submesh.neutral[:, 2] > 9.5) & (normals[:, 2] > 0.6)
    paint = portrait_128.paint.mean(1)
    middle, edge = paint[front & (submesh.flanks < 0.4)], paint[front & (submesh.flanks > 0.9)]
    assert len(middle) > 30 and len(edge) > 30, "front teeth"
    assert np.median(edge) < 0.93 * np.median(middle)


def test_shades_differ_where_the_photo_shows_no_teeth(model: portrait_dataset.Model, portrait_128: Portrait) -> None:
    submesh, enamel = model.submesh, model.submesh.kind == TEETH
    assert not portrait_128.trust[enamel].any(), "this portrait's lips are closed"
    dull = portrait_dataset.shaded(submesh, portrait_128, 0.5)
    assert np.allclose(dull.paint[enamel], portrait_128.paint[enamel] / 2)
    assert np.array_equal(dull.paint[~enamel], portrait_128.paint[~enamel])
    trust = portrait_128.trust.copy()
    trust[np.flatnonzero(enamel)[0]] = 1
    smiling = replace(portrait_128, trust=trust)
    assert portrait_dataset.shaded(submesh, smiling, 0.5) is smiling


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
    for stem, (_, high) in SMILE.items():
        assert made[like][:, kit.index(stem)].max() > 0.8 * high, stem
    clenched = (made[like][:, kit.index("jawOpen")] == 0).mean()
    assert abs(clenched - CLENCHED) < 0.15
