"""The table of where teeth stand, and the teeth of the morphable model that it is made of."""

from pathlib import Path

import numpy as np
import pytest

from fetfast.ops import teeth as shown
from fetfast.ops.teeth import LOWER, POINTS, UPPER
from fetfast.train import teeth
from fetfast.train.facekit import Facekit
from fetfast.train.synth.expression import random_expression
from fetfast.train.synth.rendered import NOBODY, random_pose


@pytest.fixture(scope="module")
def kit(data: Path) -> Facekit:
    return Facekit.open(data / "ict_facekit_f16.npz")


def test_thirty_two_teeth(kit: Facekit) -> None:
    found = teeth.separate(kit)
    assert len(found) == 32 and sum(map(len, found)) == kit.parts("Teeth").sum()


@pytest.mark.parametrize(("upper", "count"), [(True, UPPER), (False, LOWER)])
def test_points_between_teeth(kit: Facekit, upper: bool, count: int) -> None:
    rows = teeth.row(kit, upper)
    assert rows.shape == (2 * (count + 1), 2)
    x, y, z = kit.neutral[rows].mean(1).T
    bite, gums = slice(0, count + 1), slice(count + 1, None)
    up = 1 if upper else -1
    assert (np.diff(x[bite]) > 0.2).all(), "centimetres, from the subject's right to the left"
    assert np.allclose(x[bite], -x[bite][::-1], atol=0.1) and abs(x[bite][count // 2]) < 0.05
    assert (up * (y[gums] - y[bite]) > 0.5).all() and (z > 7.5).all()


def test_the_table_that_ships_finds_the_model_s_teeth(kit: Facekit) -> None:
    """On faces it was not made of, within half a tooth."""
    corners = np.concatenate([teeth.row(kit, upper) for upper in (True, False)])
    rng = np.random.default_rng(5)
    off = []
    for _ in range(25):
        shape = kit.shape(rng.normal(0, 0.8, len(kit.identities)), random_expression(kit, NOBODY, rng))
        pose = random_pose(kit, shape, rng)
        landmarks = np.zeros((478, 2), np.float32)
        landmarks[: teeth.SKIN] = pose.project(pose.place(shape[kit.landmark_vertices[: teeth.SKIN]]))[:, :2]
        there = pose.project(pose.place(shape[corners.ravel()]))[:, :2].reshape(POINTS, 2, 2).mean(1)
        off.append(shown._weights() @ landmarks - there)
    error = 128 * np.sqrt(np.square(off).mean((0, 2)))  # pixels of a crop at 128; a front tooth has 3 or 4
    assert error[: 2 * UPPER + 2].max() < 1.3 and error.max() < 1.9
    assert np.allclose(shown._weights().sum(1), 1, atol=2e-5)  # f32, 478 of them
