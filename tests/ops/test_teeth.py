"""Where teeth stand: between the lips, in order, the same for arrays and tensors; and how they are drawn."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fetfast import image
from fetfast.errors import BadInput
from fetfast.face import Landmarker, crop_matrix, to_crop
from fetfast.ops.teeth import (
    BEHIND,
    EDGES,
    JAWS,
    LOWER,
    LOWER_LIP,
    POINTS,
    UPPER,
    UPPER_LIP,
    filled,
    teeth,
    teeth_map,
    teeth_map_reference,
)

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
    points, _ = teeth(surprise, closed)
    np.testing.assert_allclose(points[0, :, 1], lip(closed, UPPER_LIP, points[0, :, 0]), atol=1e-5)
    assert teeth_map(surprise, closed, 128).max() < 0.15 < 0.99 < teeth_map(surprise, surprise, SIZE).max()


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
    low = surprise.copy()
    low[0, 0, 1] = np.nan
    for pair in ((surprise, lost), (lost, surprise), (surprise, low)):
        assert not teeth_map(*pair, 64).any()
        beside = teeth_map(*(np.concatenate((points, surprise)) for points in pair), 64)
        assert not beside[0].any() and np.array_equal(beside[1:], teeth_map(surprise, surprise, 64))
    few = surprise[:, :40]
    for pair, name in (((surprise, few), "driven"), ((few, surprise), "target")):
        with pytest.raises(BadInput, match=rf"{name}_points is \[1, 40, 2\], expected \[B, 478, 2\]"):
            teeth(*pair)


SIZE, FINE = 512, 8  # pixels of a map, and points of a pixel at which teeth are drawn once more, as polygons


def union(bite, gums):
    """f64 [S, S] 0 ... 1: how much of each pixel some tooth takes, drawn by another hand: as polygons."""
    drawn = Image.new("1", (SIZE * FINE, SIZE * FINE))
    for i in range(len(bite) - 1):
        corners = [tuple(float(v) for v in p * SIZE * FINE - 0.5) for p in (bite[i], bite[i + 1], gums[i + 1], gums[i])]
        ImageDraw.Draw(drawn).polygon(corners, fill=1)
    return np.asarray(drawn).reshape(SIZE, FINE, SIZE, FINE).mean((1, 3))


def test_teeth_are_filled_and_the_lines_between_them_are_not(surprise):
    points = teeth(surprise, surprise)[0][0]
    upper, lower = (union(points[bite], points[gums]) for bite, gums in JAWS)
    drawn = teeth_map(surprise, surprise, SIZE)[0, 0]
    wanted = np.maximum(upper, BEHIND * lower)
    assert wanted.max() == 1 and (lower * (upper == 0)).max() == 1
    assert (drawn > wanted + 0.15).sum() < 30, "slanted edges are cut at the middle of a pixel"
    lines = lines_away(points, SIZE)
    inner = (lines > 1.5) & (wanted > 0)
    assert inner.sum() > 300 and np.abs(drawn - wanted)[inner].mean() < 0.02 and wanted[inner].max() == 1
    assert (drawn[lines < 0.3] <= 0.31).all() and wanted[lines < 0.3].max() > 0.9
    assert (
        drawn[lines > 1.5].max() > 0.98
        and abs(drawn[(lines > 1.5) & (upper == 0) & (lower == 1)].max() - BEHIND) < 0.01
    )


@pytest.mark.parametrize("yaw", [0.3, 0.6])
def test_teeth_of_a_turned_head(yaw):
    """An arch, seen from aside: teeth at its far end turn back."""
    angle = np.linspace(-1.2, 1.2, UPPER + 1)
    x = 0.5 + 0.2 * (np.sin(angle + yaw) - np.sin(yaw))
    upper = np.concatenate([np.stack((x, np.full_like(x, y)), 1) for y in (0.6, 0.4)])
    points = np.concatenate((upper, np.full((2 * (LOWER + 1), 2), 0.5))).astype(np.float32)
    assert (np.diff(x) < 0).any() == (yaw > 0.5)
    wanted = union(points[: UPPER + 1], points[UPPER + 1 : 2 * (UPPER + 1)])
    drawn = filled(points[None], SIZE)[0]
    seams = np.abs(np.arange(SIZE) + 0.5 - SIZE * x[:, None]).min(0) < 1.5
    assert np.abs(drawn - wanted)[:, ~seams].max() < 0.2 and (drawn[:, ~seams] > 0.9).sum() > 5000


def lines_away(points, size):
    """f32 [S, S] pixels to the nearest line between teeth."""
    y, x = np.mgrid[:size, :size] + 0.5
    nearest = np.full((size, size), np.inf)
    for a, b in EDGES:
        (ax, ay), (bx, by) = points[a] * size, points[b] * size
        t = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2 + 1e-9), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)))
    return nearest


@pytest.mark.parametrize("size", [1, 33, 256])
def test_the_map_is_the_reference_s(surprise, size):
    both = np.concatenate([surprise, shut(surprise)])
    whole = np.full((2, 3, size, size), 7, np.float32)
    got = teeth_map(both[::-1], both, size, whole[:, 1:2])
    assert (whole[:, ::2] == 7).all()
    np.testing.assert_allclose(got, teeth_map_reference(both[::-1].copy(), both, size), atol=2e-3)
    assert teeth_map(both[:0], both[:0], size).shape == (0, 1, size, size)
