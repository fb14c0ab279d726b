"""Training pairs made from portraits by the fitted morphable model."""

from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from fetfast import image
from fetfast.errors import BadInput
from fetfast.face import Face, Landmarker
from fetfast.ops.topology import LIPS as LIP_RING
from fetfast.spec import BLENDSHAPES
from fetfast.train.synth import pairs
from fetfast.train.synth.expression import random_expression
from fetfast.train.synth.fit import SKIN, Fit, fit, fit_file
from fetfast.train.synth.portrait import Portrait, prepare
from fetfast.train.synth.repose import repose

SIZE = 128
LIDS = (159, 145)  # of the subject's right eye
LIPS = (13, 14)


@pytest.fixture(scope="module")
def model(data: Path) -> pairs.Model:
    return pairs.open_model(data / "ict_facekit_f16.npz")


@pytest.fixture(scope="module")
def fitted(model: pairs.Model, data: Path) -> Fit:
    return fit_file(model.kit, data / "portraits" / "001.jpg")


@pytest.fixture(scope="module")
def portrait_128(model: pairs.Model, portrait: np.ndarray, fitted: Fit) -> Portrait:
    return prepare(model.kit, model.mask, portrait, fitted, SIZE)


def wearing(model: pairs.Model, start: np.ndarray, **amounts: float) -> np.ndarray:
    expression = start.copy()
    for mode, amount in amounts.items():
        expression[model.kit.index(mode)] = amount
    return expression


def eye_distance(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[33] - points[263]))


def gap(points: np.ndarray, between: tuple[int, int]) -> float:
    return float(np.linalg.norm(points[between[0]] - points[between[1]])) / eye_distance(points)


def test_the_held_out_rule_goes_by_the_name_alone() -> None:
    assert pairs.held_out(Path("x/001.jpg")) == pairs.held_out(Path("001.jpg"))
    kept = [n for n in range(1000) if pairs.held_out(Path(f"{n:03}.jpg"))]
    assert 150 < len(kept) < 250  # one in five: 200, standard deviation 13
    assert kept[:5] == [1, 21, 24, 26, 30]


def test_a_fit_finds_the_model_that_drew_the_landmarks(model: pairs.Model, fitted: Fit) -> None:
    kit = model.kit
    shape = kit.shape(fitted.identity, fitted.expression)[kit.landmark_vertices[:SKIN]]
    drawn = fitted.landmarks.copy()
    drawn[:SKIN] = fitted.pose.project(fitted.pose.place(shape))[:, :2]
    again = fit(kit, Face(drawn * 500, fitted.expression @ kit.to_blendshapes, 1.0))
    shape = kit.shape(again.identity, again.expression)[kit.landmark_vertices[:SKIN]]
    found = again.pose.project(again.pose.place(shape))[:, :2] @ again.M[:, :2].T + again.M[:, 2]
    error = np.linalg.norm(found / 500 - drawn[:SKIN], axis=1) / eye_distance(drawn)
    assert np.median(error) < 0.002  # priors pull a little; on photos it is 0.011


def test_fits_are_near_the_landmarks_of_photos(model: pairs.Model, fitted: Fit) -> None:
    shape = model.kit.shape(fitted.identity, fitted.expression)[model.kit.landmark_vertices[:SKIN]]
    seen = fitted.pose.project(fitted.pose.place(shape))[:, :2]
    error = np.linalg.norm(seen - fitted.landmarks[:SKIN], axis=1) / eye_distance(fitted.landmarks)
    assert np.median(error) < 0.017  # as well as the table of landmarks itself is known


def test_the_own_expression_gives_the_photo_back(model: pairs.Model, portrait_128: Portrait, fitted: Fit) -> None:
    own = repose(model.kit, model.mask, portrait_128, fitted.expression)
    error = own.image.astype(float) - portrait_128.real
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 42  # resampling alone
    np.testing.assert_allclose(own.points, fitted.landmarks, atol=1e-5)


def test_eyes_close_mouths_open_and_the_background_stays(
    model: pairs.Model, portrait_128: Portrait, fitted: Fit
) -> None:
    wanted = wearing(model, fitted.expression, eyeBlink=1.0, jawOpen=0.6)
    made = repose(model.kit, model.mask, portrait_128, wanted)
    assert gap(made.points, LIDS) < 0.5 * gap(fitted.landmarks, LIDS)  # the mesh's two vertices do not quite touch
    assert gap(made.points, LIPS) > gap(fitted.landmarks, LIPS) + 0.1
    corner = np.s_[: SIZE // 12, : SIZE // 12]
    assert np.abs(made.image[corner].astype(int) - portrait_128.real[corner]).max() <= 4


def test_landmarks_lie_where_the_landmarker_sees_them(model: pairs.Model, portrait: np.ndarray, fitted: Fit) -> None:
    big = prepare(model.kit, model.mask, portrait, fitted, 256)
    wanted = wearing(model, 0 * fitted.expression, mouthSmile=0.8, jawOpen=0.6, browInnerUp=0.6)
    made = repose(model.kit, model.mask, big, wanted)
    seen = Landmarker(threads=1).detect(made.image)[0].landmarks[:, :2] / 256
    unit = eye_distance(fitted.landmarks)
    error, still = (np.linalg.norm(seen - p, axis=1) / unit for p in (made.points, fitted.landmarks))
    assert error.mean() < 0.027  # the landmarker's own error on renders
    assert error[list(LIP_RING)].mean() < 0.4 * still[list(LIP_RING)].mean()


def test_look_alikes_are_other_faces_in_the_same_place(model: pairs.Model, portrait: np.ndarray, fitted: Fit) -> None:
    big = prepare(model.kit, model.mask, portrait, fitted, 256)
    other = pairs.varied(model.mask, big, np.random.default_rng(1))
    made = repose(model.kit, model.mask, other, fitted.expression)
    unit = eye_distance(fitted.landmarks)
    changed = np.linalg.norm(made.points - fitted.landmarks, axis=1).mean() / unit
    assert 0.02 < changed < 0.1
    assert np.abs((made.points - fitted.landmarks).mean(0)).max() / unit < 0.03
    seen = Landmarker(threads=1).detect(made.image)[0].landmarks[:, :2] / 256
    assert np.linalg.norm(seen - made.points, axis=1).mean() / unit < 0.027


def test_gaze_moves_the_iris(model: pairs.Model, portrait_128: Portrait, fitted: Fit) -> None:
    wanted = wearing(model, fitted.expression, eyeLookOut_L=0.8, eyeLookIn_L=0, eyeLookIn_R=0.8, eyeLookOut_R=0)
    points = repose(model.kit, model.mask, portrait_128, wanted).points
    assert (points[[468, 473], 0] - fitted.landmarks[[468, 473], 0] > 0.008).all()  # the subject's left: our right


def test_mirrors_are_pairs_of_left_and_right(model: pairs.Model) -> None:
    for table in (model.points, model.blendshapes):
        np.testing.assert_array_equal(table[table], np.arange(len(table)))
    assert model.points[[33, 61, 13, 468, 469]].tolist() == [263, 291, 13, 473, 476]
    assert model.blendshapes[BLENDSHAPES.index("jawLeft")] == BLENDSHAPES.index("jawRight")


def test_random_expressions_stay_in_bounds(model: pairs.Model, fitted: Fit) -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([random_expression(model.kit, fitted.expression[None], rng) for _ in range(300)])
    assert drawn.min() >= 0 and drawn.max() <= 1
    blinks = drawn[:, model.kit.index("eyeBlink_L")[0]]
    assert 0.1 < (blinks > 0.3).mean() < 0.3
    both = drawn[:, model.kit.index("mouthSmile")]
    assert np.corrcoef(both.T)[0, 1] > 0.8


def test_the_same_seed_gives_the_same_bytes_in_any_order(model: pairs.Model, data: Path, tmp_path: Path) -> None:
    train_data = pytest.importorskip("fetfast.train.data")
    portraits = tmp_path / "portraits"
    portraits.mkdir()
    for name in ("001.jpg", "020.jpg", "031.jpg"):
        (portraits / name).symlink_to(data / "portraits" / name)
    image.save(portraits / "wall.png", np.full((64, 64, 3), 128, np.uint8))  # nobody in it
    kit = data / "ict_facekit_f16.npz"
    made = pairs.generate(kit, portraits, tmp_path / "pairs", 14, 64, seed=7, workers=2)
    assert made["pairs"] == 14 and made["portraits"] == 3
    first = train_data.Pairs.open(tmp_path / "pairs")
    found = [(file, fit_file(model.kit, file)) for file in sorted(portraits.glob("*.jpg"))]
    train_data.create(tmp_path / "alone", 14, 64, first.about)
    with threadpool_limits(1):  # as the workers have it: more threads add in another order
        for person in (2, 0, 1):
            pairs.fill_rows(kit, tmp_path / "alone", found, 64, 7, person)
    second = train_data.Pairs.open(tmp_path / "alone")
    for name, rows in first.arrays.items():
        np.testing.assert_array_equal(rows, second.arrays[name], err_msg=name)
    names = first.about["portraits"]
    assert names == ["001.jpg", "020.jpg", "031.jpg"]
    assert first.about["held_out"] == [n for n, name in enumerate(names) if pairs.held_out(Path(name))]
    assert first.arrays["person"].tolist() == [n % 3 for n in range(14)]
    assert (first.arrays["target"] != first.arrays["truth"]).any((1, 2, 3)).all()
    assert len({rows.tobytes() for rows in first.arrays["truth"]}) > 10


def test_a_folder_without_faces_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no picture"):
        pairs.generate(data / "ict_facekit_f16.npz", tmp_path, tmp_path / "out", 4, 64, workers=1)
