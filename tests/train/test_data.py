"""Sets of pairs on disk: what is optional in them, and what a new set leaves of an old one."""

import numpy as np
import pytest

pytest.importorskip("torch")

from fetfast.errors import BadInput
from fetfast.train.data import OPTIONAL, ROWS, Pairs, create

N, R = 3, 8
ABOUT = {"held_out": [1]}


def test_sets_without_the_optional_arrays_open_as_before(tmp_path):
    create(tmp_path / "old", N, R, ABOUT)["person"][:] = range(N)
    old = Pairs.open(tmp_path / "old")
    assert set(old.arrays) == set(ROWS) and old.validation.tolist() == [1] and old.training.tolist() == [0, 2]
    new = create(tmp_path / "new", N, R, ABOUT, OPTIONAL)
    new["person"][:] = range(N)
    assert new["mask"].shape == (N, R, R) and new["label"].dtype == np.uint8 and new["source"].dtype == np.int32
    assert set(Pairs.open(tmp_path / "new").arrays) == {*ROWS, *OPTIONAL}


def test_the_digest_tells_sets_apart_by_all_they_hold(tmp_path):
    arrays = create(tmp_path, N, R, ABOUT, OPTIONAL)
    first = Pairs.open(tmp_path).digest
    arrays["mask"][2, 3, 4] = 1
    assert Pairs.open(tmp_path).digest != first
    for name in OPTIONAL:
        (tmp_path / f"{name}.npy").unlink()
    without = Pairs.open(tmp_path).digest
    create(tmp_path / "old", N, R, ABOUT)
    assert without == Pairs.open(tmp_path / "old").digest != first


def test_a_new_set_keeps_nothing_of_an_old_one(tmp_path):
    create(tmp_path, N, R, ABOUT, OPTIONAL)
    (tmp_path / "readings.npz").write_bytes(b"of an old set")
    create(tmp_path, N, R, ABOUT, ["label"])
    assert {p.stem for p in tmp_path.glob("*.npy")} == {*ROWS, "label"}


@pytest.mark.parametrize("shape", [(), (N,), (N + 1, 5)])
@pytest.mark.parametrize("name", [*ROWS, *OPTIONAL])
def test_arrays_of_another_shape_are_refused(tmp_path, name, shape):
    create(tmp_path, N, R, ABOUT, OPTIONAL)
    np.save(tmp_path / f"{name}.npy", np.zeros(shape, np.float64))
    with pytest.raises(BadInput, match=r"\.npy is|no set of training pairs"):
        Pairs.open(tmp_path)


def test_opening_is_how_far_the_lips_part_and_never_how_far_they_close(tmp_path):
    arrays = create(tmp_path, N, R, ABOUT)
    gaps = {"target": (0.0, 0.04, 0.0), "driven": (0.015, 0.0, 0.5)}  # parts halfway, closes, parts wide
    for end, values in gaps.items():
        arrays[f"{end}_points"][:, 14, 1] = values
    assert np.allclose(Pairs.open(tmp_path).opening, [0.5, 0, 1])


def test_blinking_is_how_far_either_lid_moves_either_way(tmp_path):
    arrays = create(tmp_path, N, R, ABOUT)
    arrays["target_points"][:, 145, 1] = (0.0, 0.03, 0.0)  # one eye opens halfway, shuts, stays
    arrays["driven_points"][:, 145, 1] = (0.015, 0.0, 0.0)
    arrays["driven_points"][:, 374, 1] = (0.0, 0.0, 0.5)  # the other one opens wide
    assert np.allclose(Pairs.open(tmp_path).blinking, [0.5, 1, 1])


def test_degraded_pairs_stay_the_pictures_they_were():
    from fetfast.train.batches import _degraded

    y, x = np.mgrid[:64, :64]
    photo = np.stack([4 * x, 4 * y, 255 - 4 * x], -1).astype(np.uint8)
    changed = 0
    for seed in range(20):
        a, b = _degraded(photo, photo, np.random.default_rng(seed))
        assert a.shape == b.shape == photo.shape and a.dtype == b.dtype == np.uint8
        assert all(np.abs(p.astype(int) - photo).mean() < 6 for p in (a, b)), "softer or blocky, and in its place"
        changed += (a != photo).any()
    assert 4 <= changed <= 16
