"""The head's rotation on the canonical face, where the truth is known."""

from math import cos, sin

import numpy as np
import pytest

from fetfast.face.pose import RIGID, head_rotation
from fetfast.spec import LANDMARKS


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("angle", [-0.9, 0.0, 0.6])
def test_the_rotation_that_was_applied(axis: int, angle: float) -> None:
    points = np.random.default_rng(0).normal(size=(LANDMARKS, 3))  # those that are not used
    points[RIGID[:, 0].astype(int)] = RIGID[:, 1:4]
    a, b = (axis + 1) % 3, (axis + 2) % 3
    turn = np.eye(3)
    turn[[a, a, b, b], [a, b, a, b]] = cos(angle), -sin(angle), sin(angle), cos(angle)
    turned = (20 * points @ turn.T + (300, 200, -40)).astype(np.float32)
    found = head_rotation(turned)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, turn, atol=1e-5)


def test_never_a_mirror_image() -> None:
    flat = np.zeros((LANDMARKS, 3), np.float32)
    flat[RIGID[:, 0].astype(int), :2] = RIGID[:, 1:3] * (-1, 1)
    assert np.linalg.det(head_rotation(flat)) == pytest.approx(1, abs=1e-5)
