"""KID on features whose answer is known."""

import numpy as np
import pytest

from fetfast.evaluate.realism import kernel, shares

rng = np.random.default_rng(0)
C = 24


def people(centre, spread=1.0, count=30, each=3):
    return {str(n): rng.normal(centre, spread, (each, C)) for n in range(count)}


def kid(found, real):
    return np.mean(list(shares(found, real).values()))


def test_what_comes_from_the_same_place_is_no_distance_away():
    """Unbiased: as often below 0 as above."""
    values = [kid(people(0), rng.normal(0, 1, (40, C))) for _ in range(40)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(40) and min(values) < 0 < max(values)


def test_the_farther_the_larger():
    real = rng.normal(0, 1, (60, C))
    near, far = kid(people(0.3), real), kid(people(1.0), real)
    assert 0.05 < near < far / 4
    assert kid(people(0, 2.0), real) > 0.1, "wider is not the same either"


def test_results_of_one_person_are_not_compared_with_each_other():
    """Twelve copies of the same picture of everybody score as one of each."""
    real = rng.normal(0, 1, (60, C))
    once = people(0, each=1)
    often = {name: np.repeat(features, 12, 0) for name, features in once.items()}
    assert kid(often, real) == pytest.approx(kid(once, real))
    assert shares({"alone": once["0"]}, real) == {}


def test_the_kernel():
    assert kernel(np.full((1, 4), 2.0), np.full((2, 4), 0.5))[0] == pytest.approx([8, 8])
