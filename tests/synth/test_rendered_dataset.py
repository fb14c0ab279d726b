"""Training pairs of nobody: renders of the morphable model."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from threadpoolctl import threadpool_limits

pytest.importorskip("numba")
train_data = pytest.importorskip("fetfast.train.data")

from fetfast.cli.training import synth  # noqa: E402
from fetfast.errors import MissingAsset  # noqa: E402
from fetfast.face import Landmarker, crop_matrix  # noqa: E402
from fetfast.synth import regions, rendered_dataset  # noqa: E402
from fetfast.synth.labels import classify  # noqa: E402

COUNT, SIZE = 16, 96
KNOWN = ("source", "mask", "label")  # of the optional arrays: no photo moves, so there is no flow


@pytest.fixture(scope="module")
def facekit(shared: Path) -> Path:
    return shared / "ict_facekit_f16.npz"


@pytest.fixture(scope="module")
def made(facekit: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("pairs")
    command = ["--facekit", str(facekit), "-o", str(folder), "--count", str(COUNT), "--size", str(SIZE)]
    result = CliRunner().invoke(synth, [*command, "--seed", "5", "--workers", "2"])
    assert result.exit_code == 0 and f"{COUNT} pairs of 2 identities" in result.output, result.output
    assert "pairs/s per core" in result.output
    return train_data.Pairs.open(folder)


def test_the_same_seed_gives_the_same_bytes_in_any_order(made, facekit: Path, tmp_path: Path) -> None:
    alone = train_data.create(tmp_path, COUNT, SIZE, made.about, KNOWN)
    alone["source"][:] = made.arrays["source"]
    with threadpool_limits(1):
        for number in (1, 0):
            rendered_dataset.fill_rows(facekit, tmp_path, SIZE, 5, 2, number)
    assert set(made.arrays) == {*train_data.ROWS, *KNOWN}
    for name, rows in train_data.Pairs.open(tmp_path).arrays.items():
        np.testing.assert_array_equal(rows, made.arrays[name], err_msg=name)


def test_a_pair_is_one_person_and_the_source_another(made) -> None:
    arrays = made.arrays
    assert arrays["person"].tolist() == [n % 2 for n in range(COUNT)]
    kept = [n for n in (0, 1) if rendered_dataset.held_out(Path(f"identity {n}"))]
    assert made.about["held_out"] == kept and made.about["identities"] == 2
    if len(kept) != 1:
        assert (arrays["person"][arrays["source"]] == 1 - arrays["person"]).all()
    theirs = arrays["source_blendshapes"][arrays["source"]]
    np.testing.assert_array_equal(arrays["source_blendshapes"], theirs)
    assert arrays["label"].tolist() == [classify(shapes) for shapes in arrays["source_blendshapes"]]
    # Nobody's hair, skin, pose or background moves: what changes is the face.
    target, truth = (arrays[name].astype(int) for name in ("target", "truth"))
    changed = np.abs(target - truth).max(3) > 24
    mouth = np.isin(arrays["mask"], (regions.LIPS, regions.MOUTH))
    assert changed[arrays["mask"] == regions.BACKGROUND].mean() < 0.03  # where a chin was
    assert changed[mouth].mean() > 0.15


def test_the_picture_is_the_crop_of_its_landmarks(made) -> None:
    for points in made.arrays["target_points"]:
        # Irises and lids may move the eyes' corners a little, as they do in use.
        np.testing.assert_allclose(crop_matrix(points * 1000) / 1000, [[1, 0, 0], [0, 1, 0]], atol=2e-4)


def test_landmarks_lie_where_the_landmarker_sees_them(facekit: Path) -> None:
    kit, charts = rendered_dataset.open_model(facekit)
    landmarker, errors = Landmarker(threads=1), []
    for number in range(6):
        rng = np.random.default_rng([7, number])
        expression = np.zeros(53, np.float32)
        expression[kit.index("mouthSmile", "browInnerUp")] = 0.6
        made = rendered_dataset.pair(kit, charts, rendered_dataset.person(kit, 7, number), expression, 192, rng)
        for face in landmarker.detect(made["truth"])[:1]:
            points = made["driven_points"]
            away = np.linalg.norm(face.landmarks[:, :2] / 192 - points, axis=1)
            errors.append(away.mean() / np.linalg.norm(points[33] - points[263]))
    assert len(errors) >= 5 and np.median(errors) < 0.045  # 2.7 % of the outer-eye distance on frontal renders


def test_masks_know_lips_eyes_and_hair(made) -> None:
    arrays = made.arrays
    assert arrays["mask"].max() < len(made.about["regions"]) == len(regions.REGIONS)
    lips = []
    for mask, points in zip(arrays["mask"], arrays["driven_points"], strict=True):
        x, y = (points[[0, 17]].mean(0) * SIZE).astype(int)
        lips.append(np.isin(mask[y - 3 : y + 4, x], (regions.LIPS, regions.MOUTH, regions.OCCLUDER)).mean())
        assert mask[0, 0] in (regions.BACKGROUND, regions.HAIR, regions.SKIN, regions.OCCLUDER)
        for region in (regions.SKIN, regions.BROWS, regions.LIPS):
            assert (mask == region).any()
    assert np.mean(lips) > 0.8


def test_people_differ_and_are_the_same_again(facekit: Path) -> None:
    kit, _ = rendered_dataset.open_model(facekit)
    one, again, other = (rendered_dataset.person(kit, 1, n) for n in (3, 3, 4))
    np.testing.assert_array_equal(one.shape, again.shape)
    assert np.array_equal(one.appearance.skin, again.appearance.skin) and one.appearance.seed == again.appearance.seed
    assert np.abs(one.shape - other.shape).mean() > 0.1 and not np.array_equal(
        one.appearance.skin, other.appearance.skin
    )


def test_gaze_moves_the_iris_landmarks(facekit: Path) -> None:
    kit, _ = rendered_dataset.open_model(facekit)
    pose = rendered_dataset.random_pose(kit, kit.neutral, np.random.default_rng(0))
    straight = rendered_dataset.landmarks(kit, kit.neutral, np.zeros((2, 2)), pose)
    looking = rendered_dataset.landmarks(kit, kit.neutral, np.full((2, 2), (0.3, 0.0)), pose)
    assert (looking[468:, 0] - straight[468:, 0] > 0.005).all()
    np.testing.assert_array_equal(looking[:468], straight[:468])


def test_what_synth_asks_for(shared: Path, tmp_path: Path) -> None:
    for arguments in (["--portraits", str(tmp_path)], [], ["--facekit", "x", "--videos", "y"]):
        result = CliRunner().invoke(synth, [*arguments, "-o", str(tmp_path / "out")])
        assert result.exit_code == 2 and "give --facekit" in result.output
    with pytest.raises(MissingAsset):
        rendered_dataset.generate(tmp_path / "absent.npz", tmp_path / "out", 4)
    assert not (tmp_path / "out").exists()
