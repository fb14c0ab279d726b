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
    assert set(old.arrays) == set(ROWS) and old.held_out.tolist() == [1] and old.trained.tolist() == [0, 2]
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
    np.save(tmp_path / "readings.npy", np.zeros((N, 2, 52), np.float32))
    create(tmp_path, N, R, ABOUT, ["label"])
    assert {p.stem for p in tmp_path.glob("*.npy")} == {*ROWS, "label"}


@pytest.mark.parametrize("name", [*ROWS, *OPTIONAL])
def test_arrays_of_another_shape_are_refused(tmp_path, name):
    create(tmp_path, N, R, ABOUT, OPTIONAL)
    np.save(tmp_path / f"{name}.npy", np.zeros((N + 1, 5), np.float64))
    with pytest.raises(BadInput, match=r"\.npy is|no set of training pairs"):
        Pairs.open(tmp_path)
