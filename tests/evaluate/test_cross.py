"""Figures of expression, identity and emotion, by hand-made readings."""

import numpy as np
import pytest

from fetfast.evaluate.cross import VARIES, alike, compared, followed
from fetfast.evaluate.setup import Seen

rng = np.random.default_rng(0)
D = 5


def seen(shapes, identity=0.0, first="neutral"):
    from fetfast.evaluate.emotion import EMOTIONS

    emotions = {name: np.eye(7)[EMOTIONS.index(first)] for name in ("facex", "fer")}
    return Seen(np.asarray(shapes, np.float64), np.full(128, identity), emotions)


@pytest.fixture
def drivers():
    """Five drivers, of whose blendshapes 0 ... 9 vary."""
    shapes = np.full((D, 52), 0.2)
    shapes[:, :10] += np.linspace(0, 0.5, D)[:, None]
    return [seen(row, 1.0, "happiness" if n > 2 else "neutral") for n, row in enumerate(shapes)]


@pytest.fixture
def own():
    return seen(rng.uniform(0, 1, 52))


def figures(own, drivers, results):
    return {name: top / below for name, top, below in compared(own, drivers, results)}


def test_the_drivers_themselves_close_the_gap_and_the_target_closes_nothing(own, drivers):
    found = figures(own, drivers, drivers)
    assert found["gap closed (landmarker)"] == 1 and found["corr within (landmarker)"] == pytest.approx(1)
    assert found["facex agrees"] == found["fer agrees"] == 1 and found["nearer to the target"] == 0
    still = figures(own, drivers, [own] * D)
    assert still["gap closed (landmarker)"] == 0 and still["corr within (landmarker)"] == pytest.approx(0)
    assert still["facex agrees"] == 0.6 and still["nearer to the target"] == 1


def test_half_the_way_closes_half_and_only_what_varies_counts(own, drivers):
    shapes = [(own.blendshapes + driver.blendshapes) / 2 for driver in drivers]
    for row in shapes:
        row[10:] = 9
    found = figures(own, drivers, [seen(row) for row in shapes])
    assert found["gap closed (landmarker)"] == pytest.approx(0.5)
    assert found["corr within (landmarker)"] == pytest.approx(1)


def test_the_wrong_way_is_below_nothing(own, drivers):
    results = [seen(2 * own.blendshapes - driver.blendshapes) for driver in drivers]
    found = figures(own, drivers, results)
    assert found["gap closed (landmarker)"] == pytest.approx(-1)
    assert found["corr within (landmarker)"] == pytest.approx(-1)


def test_a_lost_face_counts_as_the_target_unchanged(own, drivers):
    lost = [seen(np.full(52, np.nan)), *drivers[1:]]
    gap = [np.abs(own.blendshapes - d.blendshapes)[:10].sum() for d in drivers]
    assert figures(own, drivers, lost)["gap closed (landmarker)"] == pytest.approx(1 - gap[0] / sum(gap))


def test_a_driver_who_is_not_found_asks_for_nothing(own, drivers):
    lost = [*drivers[:-1], seen(np.full(52, np.nan), 1.0)]
    found = figures(own, lost, drivers)
    assert found["gap closed (landmarker)"] == 1 and found["corr within (landmarker)"] == pytest.approx(1)
    nobody = figures(own, [lost[-1]] * 2, drivers[:2])
    assert not any("landmarker" in name for name in nobody) and nobody["nearer to the target"] == 0


def test_identity_distances(own, drivers):
    results = [seen(own.blendshapes, value) for value in (0.25, 0.25, 0.25, 0.25, 0.75)]
    found = figures(own, drivers, results)
    unit = np.sqrt(128)
    assert found["identity, distance to the target"] == pytest.approx(0.35 * unit)
    assert found["identity, distance to the driver"] == pytest.approx(0.65 * unit)
    assert found["nearer to the target"] == 0.8


def test_drivers_that_do_not_vary_have_no_gap(own, drivers):
    found = figures(own, drivers[:1], drivers[:1])
    assert not any("landmarker" in name for name in found) and found["facex agrees"] == 1
    assert VARIES > 0


def test_slopes_and_correlations():
    driver = rng.normal(size=(50, 4))
    results = 0.5 * driver + 3
    results[:, 3], results[:, 2] = 1, -driver[:, 2]
    found = {name: top / below for name, top, below in followed(results, driver)}
    assert found["lids, slope"] == pytest.approx(0.5) and found["lids, corr"] == pytest.approx(1)
    assert found["mouth width, slope"] == pytest.approx(-1) and found["mouth width, corr"] == pytest.approx(-1)
    assert found["mouth corners, slope"] == 0 and found["mouth corners, corr"] == 0


def test_emotions_that_are_alike(own, drivers):
    assert alike(own, drivers[0]) == 1 and alike(own, drivers[-1]) == 0
    half = seen(own.blendshapes)
    half.emotions["fer"] = (own.emotions["fer"] + drivers[-1].emotions["fer"]) / 2
    assert alike(half, own) == pytest.approx(0.75)
