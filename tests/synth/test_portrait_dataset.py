"""Training pairs made from portraits by the fitted morphable model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from people import pair_of, wearing
from threadpoolctl import threadpool_limits

from fetfast import image
from fetfast.errors import BadInput
from fetfast.face import Face, Landmarker
from fetfast.ops.face_mesh import LIPS as LIP_RING
from fetfast.spec import BLENDSHAPES
from fetfast.synth import portrait_dataset, regions
from fetfast.synth.camera import rotation_matrix, rotation_vector
from fetfast.synth.expression import random_expression
from fetfast.synth.expression_groups import expression_groups, group_of
from fetfast.synth.fit import SKIN, Fit, fit, fit_file
from fetfast.synth.labels import LABELS, classify
from fetfast.synth.occlude import OCCLUDED, occlude
from fetfast.synth.portrait import Portrait, prepare
from fetfast.synth.reexpress import reexpress

SIZE = 128
LIDS = (159, 145)  # of the subject's right eye
LIPS = (13, 14)
OVER = regions.OCCLUDER
SKIN_REGION = regions.REGIONS.index("skin")


def eye_distance(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[33] - points[263]))


def gap(points: np.ndarray, between: tuple[int, int]) -> float:
    return float(np.linalg.norm(points[between[0]] - points[between[1]])) / eye_distance(points)


def test_the_held_out_rule_goes_by_the_name_alone() -> None:
    assert portrait_dataset.held_out(Path("x/001.jpg")) == portrait_dataset.held_out(Path("001.jpg"))
    kept = [n for n in range(1000) if portrait_dataset.held_out(Path(f"{n:03}.jpg"))]
    assert 150 < len(kept) < 250  # one in five: 200, standard deviation 13
    assert kept[:5] == [1, 21, 24, 26, 30]


def test_a_fit_finds_the_model_that_drew_the_landmarks(model: portrait_dataset.Model, fitted: Fit) -> None:
    kit = model.kit
    shape = kit.shape(fitted.identity, fitted.expression)[kit.landmark_vertices[:SKIN]]
    drawn = fitted.landmarks.copy()
    drawn[:SKIN] = fitted.pose.project(fitted.pose.place(shape))[:, :2]
    again = fit(kit, Face(drawn * 500, fitted.expression @ kit.to_blendshapes, 1.0))
    shape = kit.shape(again.identity, again.expression)[kit.landmark_vertices[:SKIN]]
    found = again.pose.project(again.pose.place(shape))[:, :2] @ again.M[:, :2].T + again.M[:, 2]
    error = np.linalg.norm(found / 500 - drawn[:SKIN], axis=1) / eye_distance(drawn)
    assert np.median(error) < 0.002  # priors pull a little; on photos it is 0.011


def test_fits_are_near_the_landmarks_of_photos(model: portrait_dataset.Model, fitted: Fit) -> None:
    shape = model.kit.shape(fitted.identity, fitted.expression)[model.kit.landmark_vertices[:SKIN]]
    seen = fitted.pose.project(fitted.pose.place(shape))[:, :2]
    error = np.linalg.norm(seen - fitted.landmarks[:SKIN], axis=1) / eye_distance(fitted.landmarks)
    assert np.median(error) < 0.017  # as well as the table of landmarks itself is known


def test_the_own_expression_gives_the_photo_back(
    model: portrait_dataset.Model, portrait_128: Portrait, fitted: Fit
) -> None:
    own = reexpress(model.kit, model.submesh, portrait_128, fitted.expression)
    error = own.image.astype(float) - portrait_128.real
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 42  # resampling alone
    np.testing.assert_allclose(own.points, fitted.landmarks, atol=1e-5)


def test_eyes_close_mouths_open_and_the_background_stays(
    model: portrait_dataset.Model, portrait_128: Portrait, fitted: Fit
) -> None:
    wanted = wearing(model, fitted.expression, eyeBlink=1.0, jawOpen=0.6)
    made = reexpress(model.kit, model.submesh, portrait_128, wanted)
    assert gap(made.points, LIDS) < 0.5 * gap(fitted.landmarks, LIDS)  # the mesh's two vertices do not quite touch
    assert gap(made.points, LIPS) > gap(fitted.landmarks, LIPS) + 0.1
    corner = np.s_[: SIZE // 12, : SIZE // 12]
    assert np.abs(made.image[corner].astype(int) - portrait_128.real[corner]).max() <= 4


def test_landmarks_lie_where_the_landmarker_sees_them(
    model: portrait_dataset.Model, portrait: np.ndarray, fitted: Fit
) -> None:
    big = prepare(model.kit, model.submesh, portrait, fitted, 256)
    wanted = wearing(model, 0 * fitted.expression, mouthSmile=0.8, jawOpen=0.6, browInnerUp=0.6)
    made = reexpress(model.kit, model.submesh, big, wanted)
    seen = Landmarker(threads=1).detect(made.image)[0].landmarks[:, :2] / 256
    unit = eye_distance(fitted.landmarks)
    error, still = (np.linalg.norm(seen - p, axis=1) / unit for p in (made.points, fitted.landmarks))
    assert error.mean() < 0.027  # the landmarker's own error on renders
    assert error[list(LIP_RING)].mean() < 0.4 * still[list(LIP_RING)].mean()


def test_look_alikes_are_other_faces_in_the_same_place(
    model: portrait_dataset.Model, portrait: np.ndarray, fitted: Fit
) -> None:
    big = prepare(model.kit, model.submesh, portrait, fitted, 256)
    other = portrait_dataset.varied(model.submesh, big, np.random.default_rng(1))
    made = reexpress(model.kit, model.submesh, other, fitted.expression)
    unit = eye_distance(fitted.landmarks)
    changed = np.linalg.norm(made.points - fitted.landmarks, axis=1).mean() / unit
    assert 0.02 < changed < 0.1
    assert np.abs((made.points - fitted.landmarks).mean(0)).max() / unit < 0.03
    seen = Landmarker(threads=1).detect(made.image)[0].landmarks[:, :2] / 256
    assert np.linalg.norm(seen - made.points, axis=1).mean() / unit < 0.027


def test_gaze_moves_the_iris(model: portrait_dataset.Model, portrait_128: Portrait, fitted: Fit) -> None:
    wanted = wearing(model, fitted.expression, eyeLookOut_L=0.8, eyeLookIn_L=0, eyeLookIn_R=0.8, eyeLookOut_R=0)
    points = reexpress(model.kit, model.submesh, portrait_128, wanted).points
    assert (points[[468, 473], 0] - fitted.landmarks[[468, 473], 0] > 0.008).all()  # the subject's left: our right


def test_mirrors_are_pairs_of_left_and_right(model: portrait_dataset.Model) -> None:
    for table in (model.points, model.blendshapes):
        np.testing.assert_array_equal(table[table], np.arange(len(table)))
    assert model.points[[33, 61, 13, 468, 469]].tolist() == [263, 291, 13, 473, 476]
    assert model.blendshapes[BLENDSHAPES.index("jawLeft")] == BLENDSHAPES.index("jawRight")


def test_random_expressions_stay_in_bounds(model: portrait_dataset.Model, fitted: Fit) -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([random_expression(model.kit, fitted.expression[None], rng) for _ in range(300)])
    assert drawn.min() >= 0 and drawn.max() <= 1
    blinks = drawn[:, model.kit.index("eyeBlink_L")[0]]
    assert 0.1 < (blinks > 0.3).mean() < 0.3
    both = drawn[:, model.kit.index("mouthSmile")]
    assert np.corrcoef(both.T)[0, 1] > 0.8


def test_the_same_seed_gives_the_same_bytes_in_any_order(
    model: portrait_dataset.Model, shared: Path, tmp_path: Path
) -> None:
    train_data = pytest.importorskip("fetfast.train.data")
    portraits = tmp_path / "portraits"
    portraits.mkdir()
    for name in ("001.jpg", "031.jpg", "056.jpg"):
        (portraits / name).symlink_to(shared / "portraits" / name)
    image.save(portraits / "wall.png", np.full((64, 64, 3), 128, np.uint8))  # nobody in it
    kit = shared / "ict_facekit_f16.npz"
    made = portrait_dataset.generate(kit, portraits, tmp_path / "pairs", 14, 64, seed=7, workers=2)
    assert made["pairs"] == 14 and made["portraits"] == 3
    first = train_data.Pairs.open(tmp_path / "pairs")
    found = [(file, fit_file(model.kit, file)) for file in sorted(portraits.glob("*.jpg"))]
    alone = train_data.create(tmp_path / "alone", 14, 64, first.about, train_data.OPTIONAL)
    alone["source"][:] = first.arrays["source"]
    with threadpool_limits(1):  # as the workers have it: more threads add in another order
        for person in (2, 0, 1):
            portrait_dataset.fill_rows(kit, tmp_path / "alone", found, 64, 7, person)
    second = train_data.Pairs.open(tmp_path / "alone")
    for name, rows in first.arrays.items():
        np.testing.assert_array_equal(rows, second.arrays[name], err_msg=name)
    names = first.about["portraits"]
    assert names == ["001.jpg", "031.jpg", "056.jpg"]
    assert first.about["held_out"] == [n for n, name in enumerate(names) if portrait_dataset.held_out(Path(name))]
    assert first.arrays["person"].tolist() == [n % 3 for n in range(14)]
    assert (first.arrays["target"] != first.arrays["truth"]).any((1, 2, 3)).all()
    assert len({rows.tobytes() for rows in first.arrays["truth"]}) > 10
    the_source_wears_the_same(first)


def the_source_wears_the_same(made) -> None:
    """Every source is another person, of the same half, under the truth's expression."""
    arrays, source = made.arrays, made.arrays["source"]
    other = arrays["person"][source] != arrays["person"]
    assert (other == (source != np.arange(len(source)))).all() and other.mean() > 0.5
    assert np.isin(arrays["person"], made.about["held_out"]).tolist() == np.isin(source, made.validation).tolist()
    assert sorted(source) == list(range(len(source)))  # everybody is somebody's source once
    mine, theirs = arrays["source_blendshapes"], arrays["source_blendshapes"][source]
    exact = np.abs(mine - theirs).max(1) < 1e-6
    assert exact[other].any()  # not photos, whose coefficients are read, nor wearers of glasses


def test_rows_of_a_group_share_an_expression(model: portrait_dataset.Model, fitted: Fit) -> None:
    fits = [replace(fitted, expression=np.full(53, n, np.float32)) for n in range(5)]
    photos = 0
    for first in range(0, 200, 5):
        rows = [first + 1, first + 4]
        mine, theirs = (portrait_dataset.draw_group(model.kit, fits, fitted.expression[None], rows, 9) for _ in rows)
        np.testing.assert_array_equal(mine.expression, theirs.expression)
        assert (mine.mirrored, mine.photo) == (theirs.mirrored, theirs.photo) and mine.photo in (-1, *rows)
        photos += mine.photo >= 0
        if mine.photo >= 0:
            assert (mine.expression == mine.photo % 5).all()
    assert 9 < photos < 31  # half of 40, standard deviation 3.2


def test_regions_are_those_of_the_truth(model: portrait_dataset.Model, portrait_128: Portrait, fitted: Fit) -> None:
    wanted = wearing(model, 0 * fitted.expression, jawOpen=0.8)
    made = reexpress(model.kit, model.submesh, portrait_128, wanted)
    assert made.regions.shape == (SIZE, SIZE)

    def at(*landmarks: int) -> set[int]:
        x, y = (made.points[list(landmarks)].mean(0) * SIZE).astype(int)
        return set(made.regions[y - 1 : y + 1, x - 1 : x + 1].ravel().tolist())

    assert at(13, 14) == {regions.MOUTH} and at(468) == at(473) == {regions.EYES}
    assert at(50) == at(280) == at(9) == {regions.SKIN}
    assert at(105, 52) == at(334, 282) == {regions.BROWS} and at(0, 13) == {regions.LIPS}
    assert made.regions[0, 0] == regions.BACKGROUND
    own = reexpress(model.kit, model.submesh, portrait_128, fitted.expression).regions
    assert (own != portrait_128.regions).mean() < 0.002  # the photo's, up to rounding
    assert (own != made.regions).mean() > 0.02


def test_a_truth_may_be_the_photo(model: portrait_dataset.Model, portrait_128: Portrait, fitted: Fit) -> None:
    made = next(m for m in (pair_of(model, portrait_128, n, real=True) for n in range(9)) if OVER not in m["mask"])
    np.testing.assert_array_equal(made["truth"], portrait_128.real)
    np.testing.assert_array_equal(made["driven_points"], fitted.landmarks)
    np.testing.assert_array_equal(made["source_blendshapes"], fitted.blendshapes)
    assert (made["target"] != portrait_128.real).mean() > 0.01


def test_shares_of_photos_and_of_what_lies_over_the_face(
    model: portrait_dataset.Model, portrait: np.ndarray, fitted: Fit
) -> None:
    small = prepare(model.kit, model.submesh, portrait, fitted, 32)
    made = [pair_of(model, small, n) for n in range(150)]
    photos = np.mean([np.array_equal(m["target_points"], fitted.landmarks) for m in made])
    assert abs(photos - 1 / 3) < 0.12  # of truths that are no photo; three standard deviations
    assert abs(np.mean([OVER in m["mask"] for m in made]) - OCCLUDED) < 0.08


def test_mirrored_pairs(model: portrait_dataset.Model, portrait_128: Portrait) -> None:
    made = pair_of(model, portrait_128, 3)
    there = portrait_dataset.mirrored(model, made)
    np.testing.assert_array_equal(there["truth"][:, ::-1], made["truth"])
    np.testing.assert_array_equal(there["mask"][:, ::-1], made["mask"])
    np.testing.assert_array_equal(there["light"][:, ::-1], made["light"])
    np.testing.assert_allclose(there["target_points"][33], made["target_points"][263] * (-1, 1) + (1, 0), atol=1e-6)
    left, right = (BLENDSHAPES.index(f"mouthSmile{side}") for side in ("Left", "Right"))
    assert there["source_blendshapes"][left] == made["source_blendshapes"][right]
    again = portrait_dataset.mirrored(model, there)
    for name, value in made.items():
        np.testing.assert_allclose(again[name], value, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("seed", range(6))
def test_what_covers_a_face_is_still_and_marked(portrait_128: Portrait, fitted: Fit, seed: int) -> None:
    size, photo = SIZE, portrait_128.real
    made = {
        "target": photo, "truth": 255 - photo, "target_points": fitted.landmarks,
        "mask": np.zeros((size, size), np.uint8),
    }  # fmt: skip
    bright, dim = (made | {"target": np.full_like(photo, level)} for level in (255, 190))
    for one in (bright, dim, made):
        occlude(one, np.random.default_rng(seed))
    assert (bright["target"].astype(int) >= dim["target"].astype(int) - 3).all(), "white does not run over to black"
    over = made["mask"] == OVER
    assert 0.003 < over.mean() < 0.35 and set(np.unique(made["mask"])) == {0, OVER}
    apart = np.abs(made["target"].astype(int) - made["truth"]).mean(2)
    before = np.abs(photo.astype(int) - (255 - photo)).mean(2)
    assert apart[over].mean() < 0.5 * before[over].mean()  # the half-transparent edge is in the submesh too
    assert (made["target"] == photo)[: size // 8, : size // 8].mean() > 0.5 or over[: size // 8].any()
    assert np.array_equal(photo, portrait_128.real)


def test_glasses_and_look_alikes_turn_within_bounds(model: portrait_dataset.Model, portrait_128: Portrait) -> None:
    def turn(portrait: Portrait, seed: int) -> float:
        other = portrait_dataset.varied(model.submesh, portrait, np.random.default_rng(seed))
        change = rotation_matrix(other.fit.rotation) @ rotation_matrix(portrait.fit.rotation).T
        return float(np.linalg.norm(rotation_vector(change)))

    turns = np.array([turn(portrait_128, n) for n in range(80)])
    assert turns.max() < np.hypot(*portrait_dataset.FARTHEST) and turns.mean() > 0.1
    bespectacled = np.array([turn(replace(portrait_128, glasses=True), n) for n in range(80)])
    np.testing.assert_allclose(bespectacled, turns / 2, rtol=0.02)


@pytest.mark.parametrize(("count", "people", "held_out"), [(40, 7, [1, 3, 4]), (5, 7, [0]), (6, 1, [])])
def test_expression_groups(count: int, people: int, held_out: list[int]) -> None:
    source = expression_groups(count, people, held_out, 3)
    assert sorted(source) == list(range(count))
    rows = np.arange(count)
    assert (rows // people == source // people).all()  # a person is never in a group with themselves
    assert (np.isin(rows % people, held_out) == np.isin(source % people, held_out)).all()
    rings = {tuple(group_of(source, row)) for row in rows}
    assert sorted(sum(rings, ())) == list(rows) and max(map(len, rings)) <= 3
    whole = [r for r in rings if len(r) == 1 and r[0] // people < count // people]
    assert all((np.isin(r[0] % people, held_out) and len(held_out) == 1) or people == 1 for r in whole)
    assert not np.array_equal(source, expression_groups(count, people, held_out, 4)) or people < 3 or count < 6


@pytest.mark.parametrize(("name", "amounts"), [
    ("neutral", {"eyeBlinkLeft": 1, "eyeLookUpLeft": 0.8, "mouthSmileLeft": 0.2}),
    ("happiness", {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.6, "jawOpen": 0.4}),
    ("surprise", {"browInnerUp": 0.7, "jawOpen": 0.5}),
    ("fear", {"browInnerUp": 0.7, "eyeWideLeft": 0.7, "eyeWideRight": 0.7, "mouthStretchLeft": 0.5,
              "mouthStretchRight": 0.5}),
    ("sadness", {"browInnerUp": 0.6, "mouthFrownLeft": 0.5, "mouthFrownRight": 0.4}),
    ("anger", {"browDownLeft": 0.8, "browDownRight": 0.8, "mouthPressLeft": 0.4, "mouthPressRight": 0.4}),
    ("disgust", {"noseSneerLeft": 0.6, "noseSneerRight": 0.6}),
    ("contempt", {"mouthSmileLeft": 0.6}),
    ("other", {"jawOpen": 0.9}),
])  # fmt: skip
def test_classes_of_expressions(name: str, amounts: dict[str, float]) -> None:
    shapes = np.zeros(len(BLENDSHAPES), np.float32)
    for shape, amount in amounts.items():
        shapes[BLENDSHAPES.index(shape)] = amount
    assert LABELS[classify(shapes)] == name


def test_a_folder_without_faces_is_refused(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no picture"):
        portrait_dataset.generate(shared / "ict_facekit_f16.npz", tmp_path, tmp_path / "out", 4, 64, workers=1)
