"""Where the teeth's lines lie: between the lips, in order, the same for arrays and tensors."""

from pathlib import Path

import numpy as np
import pytest

from fetfast import image
from fetfast.errors import BadInput
from fetfast.face import Landmarker, crop_matrix, to_crop
from fetfast.ops.heatmap import contours
from fetfast.ops.teeth import LOWER, LOWER_LIP, POINTS, UPPER, UPPER_LIP, teeth

DEMO = Path(__file__).parents[2] / "demo"
BITE, GUMS = slice(0, UPPER + 1), slice(UPPER + 1, 2 * (UPPER + 1))
LOWER_BITE = slice(2 * (UPPER + 1), 2 * (UPPER + 1) + LOWER + 1)


@pytest.fixture(scope="module")
def surprise():
    """Landmarks f32 [1, 478, 2] of a made-up face, the mouth open; crop units."""
    landmarks = Landmarker(threads=1).detect(image.load(DEMO / "surprise.png"))[0].landmarks
    return to_crop(landmarks[:, :2], crop_matrix(landmarks)).astype(np.float32)[None]


def shut(points):
    """The same lips, the lower on the upper."""
    out = points.copy()
    out[:, LOWER_LIP] = out[:, UPPER_LIP]
    return out


def lip(points, which, x):
    return np.interp(x, points[0, which, 0], points[0, which, 1])


def test_teeth_stand_in_order_between_the_lips(surprise):
    points, edges = teeth(surprise, surprise)
    assert points.shape == (1, POINTS, 2) and points.dtype == np.float32
    assert edges.dtype == np.int32 and edges.min() == 0 and edges.max() == POINTS - 1
    x, y = points[0].T
    for row in (BITE, GUMS, LOWER_BITE):
        assert (np.diff(x[row]) >= 0).all(), "from the subject's right to the left"
    assert (y >= lip(surprise, UPPER_LIP, x) - 1e-5).all() and (y <= lip(surprise, LOWER_LIP, x) + 1e-5).all()
    corners = surprise[0, [LOWER_LIP[0], LOWER_LIP[-1]], 0]
    assert x.min() >= corners.min() and x.max() <= corners.max()
    middle = slice(3, 8)
    assert (y[GUMS][middle] < y[BITE][middle]).all() and (y[BITE][middle] < y[LOWER_BITE][2:7]).all()
    assert 0.02 < x[BITE][7] - x[BITE][3] < 0.2  # four front teeth: some three centimetres of twenty-five


def test_behind_closed_lips_no_tooth_shows(surprise):
    closed = shut(surprise)
    points, edges = teeth(surprise, closed)
    np.testing.assert_allclose(points[0, :, 1], lip(closed, UPPER_LIP, points[0, :, 0]), atol=1e-5)
    drawn, open_ = (contours(teeth(surprise, p)[0], 128, edges=edges).sum() for p in (closed, surprise))
    assert drawn < 0.6 * open_


def test_they_appear_by_and_by(surprise):
    """No step as the lips part: half as far between two mouths, the teeth are nearly half as far too."""
    closed = shut(surprise)
    series = np.concatenate([closed + t * (surprise - closed) for t in np.linspace(0, 1, 41, dtype=np.float32)])
    steps = np.abs(np.diff(teeth(np.repeat(closed, 41, 0), series)[0], axis=0)).max((1, 2))
    whole = np.abs(teeth(closed, surprise)[0] - teeth(closed, closed)[0]).max()
    assert whole > 0.02 and steps.max() < 0.12 * whole


def test_mirrored_faces_have_mirrored_teeth(surprise):
    def mirrored(points):
        return points * np.array([-1, 1], np.float32) + np.array([1, 0], np.float32)

    closed = shut(surprise)
    found = teeth(mirrored(closed), mirrored(surprise))[0]
    np.testing.assert_allclose(found, mirrored(teeth(closed, surprise)[0]), atol=1e-5)


def test_where_the_target_lies_does_not_matter(surprise):
    closed = shut(surprise)
    moved = closed + np.array([0.1, -0.2], np.float32)
    np.testing.assert_allclose(teeth(moved, surprise)[0], teeth(closed, surprise)[0], atol=1e-5)


def test_a_chin_that_was_as_long_before_is_no_open_jaw(surprise):
    """Lips apart alike: from a face with its chin that low the jaw has not moved, from another one it has opened."""
    before = shut(surprise)
    higher = before.copy()
    low = before[..., 1] > before[:, LOWER_LIP, 1].max() + 0.02
    higher[..., 1] -= 0.03 * low
    still, opened = (teeth(target, surprise)[0][0, LOWER_BITE, 1].mean() for target in (before, higher))
    assert still < opened - 0.002


def test_tensors_and_batches(surprise):
    torch = pytest.importorskip("torch")
    both = np.concatenate([surprise, shut(surprise)])
    points, edges = teeth(both[::-1], both)
    found, lines = teeth(torch.from_numpy(both[::-1].copy()), torch.from_numpy(both))
    np.testing.assert_allclose(found.numpy(), points, atol=1e-6)
    assert lines.dtype == torch.int32 and np.array_equal(lines.numpy(), edges) and lines.is_contiguous()
    np.testing.assert_allclose(points[:1], teeth(shut(surprise), surprise)[0], atol=1e-6)


def test_no_tooth_stands_beside_the_mouth(surprise):
    """Not in one that is pursed, either."""
    pursed, lips = surprise.copy(), [*LOWER_LIP, *UPPER_LIP]
    middle = pursed[:, lips, 0].mean()
    pursed[:, lips, 0] = middle + 0.2 * (surprise[:, lips, 0] - middle)
    x, corners = teeth(surprise, pursed)[0][0, :, 0], pursed[0, [LOWER_LIP[0], LOWER_LIP[-1]], 0]
    assert x.min() >= corners.min() and x.max() <= corners.max() and np.ptp(x) < 0.06


def test_what_is_no_face(surprise):
    lost = surprise.copy()
    lost[0, 0] = np.nan
    for pair in ((surprise, lost), (lost, surprise)):
        points, edges = teeth(*pair)
        assert not contours(points, 64, edges=edges).any()
    few = surprise[:, :40]
    for pair, name in (((surprise, few), "driven"), ((few, surprise), "target")):
        with pytest.raises(BadInput, match=rf"{name}_points is \[1, 40, 2\], expected \[B, 478, 2\]"):
            teeth(*pair)
