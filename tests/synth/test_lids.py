"""Lids that close: on a real face, to the last pixel, as the landmarker sees it."""

import numpy as np
import pytest
from people import wearing

from fetfast.face import Face, Landmarker
from fetfast.synth import portrait_dataset
from fetfast.synth.expression import BLINKS, FULL, WINKS, random_expression
from fetfast.synth.face_submesh import EYE_EDGES, EYE_LEFT, EYE_RIGHT, SOCKET
from fetfast.synth.fit import Fit
from fetfast.synth.lids import between, shows_eyes
from fetfast.synth.portrait import Portrait, prepare
from fetfast.synth.reexpress import Picture, reexpress

SIZE = 256


@pytest.fixture(scope="module")
def big(model: portrait_dataset.Model, portrait: np.ndarray, fitted: Fit) -> Portrait:
    return prepare(model.kit, model.submesh, portrait, fitted, SIZE)


def closing(model: portrait_dataset.Model, portrait: Portrait, **amounts: float) -> Picture:
    return reexpress(
        model.kit, model.submesh, portrait, wearing(model, portrait.fit.expression, eyeWide=0.0, **amounts)
    )


def openings(points: np.ndarray) -> np.ndarray:
    """f32 [2]: the widest opening of the subject's left and right eye, in the eye's widths."""
    out = []
    for upper, lower in EYE_EDGES:
        width = np.linalg.norm(points[upper[0]] - points[upper[-1]])
        out.append(between(points[list(upper[1:-1])], points[list(lower)]).max() / width)
    return np.array(out)


def eyes_seen(model: portrait_dataset.Model, made: Picture) -> int:
    """Pixels of the raster that show an eyeball or its socket."""
    kind = model.submesh.triangle_kind[made.raster.seen[made.raster.seen >= 0]]
    return int(np.isin(kind, (EYE_LEFT, EYE_RIGHT, SOCKET)).sum())


def test_shut_is_shut(model: portrait_dataset.Model, big: Portrait, fitted: Fit) -> None:
    shut = closing(model, big, eyeBlink=1.0)
    assert openings(fitted.landmarks).min() > 0.25 and openings(shut.points).max() < 0.02
    assert eyes_seen(model, shut) == 0 < eyes_seen(model, closing(model, big, eyeBlink=0.7))
    face = Face(np.pad(shut.points * SIZE, ((0, 0), (0, 1))).astype(np.float32), np.zeros(52, np.float32), 1.0)
    read = Landmarker(threads=1).track(shut.image, face)
    assert read is not None
    assert openings(read.landmarks[:, :2]).max() < 0.3 * openings(fitted.landmarks).min()  # a neighbour's eyes: a tenth


def test_half_is_half_and_the_photo_s_own_is_the_photo(
    model: portrait_dataset.Model, big: Portrait, fitted: Fit
) -> None:
    own = fitted.expression[model.kit.index("eyeBlink")]
    wanted = wearing(model, fitted.expression)
    wanted[model.kit.index("eyeBlink")] = (1 + own) / 2
    half = openings(reexpress(model.kit, model.submesh, big, wanted).points) / openings(fitted.landmarks)
    assert np.abs(half - 0.5).max() < 0.12
    still = reexpress(model.kit, model.submesh, big, fitted.expression)
    np.testing.assert_allclose(openings(still.points), openings(fitted.landmarks), atol=1e-4)


@pytest.mark.parametrize(("mode", "side"), [("eyeBlink_L", 0), ("eyeBlink_R", 1)])
def test_a_wink_shuts_one_eye(model: portrait_dataset.Model, big: Portrait, fitted: Fit, mode: str, side: int) -> None:
    before = openings(closing(model, big).points)
    after = openings(closing(model, big, **{mode: 1.0}).points)
    assert after[side] < 0.02
    assert abs(after[1 - side] - before[1 - side]) < 0.02


def test_shut_lids_are_skin_with_a_dark_line(model: portrait_dataset.Model, big: Portrait) -> None:
    shut = closing(model, big, eyeBlink=1.0)
    for upper, _ in EYE_EDGES:
        x, y = (shut.points[list(upper[2:-2])].mean(0) * SIZE).astype(int)
        column = shut.image[y - 8 : y + 9, x - 3 : x + 4].mean((1, 2))
        assert abs(int(column.argmin()) - 8) <= 2  # the lashes, where the edges meet
        assert column.min() < 0.7 * np.median(column)
        assert column[:5].min() > 0.7 * np.median(column)  # and no eye shows above them


def test_a_photo_that_shows_shut_eyes_keeps_its_lashes() -> None:
    points = np.zeros((478, 2), np.float32)
    for gap, wanted in ((0.0, 0.0), (0.015, 0.5), (0.1, 1.0)):
        for upper, lower in EYE_EDGES:
            x = np.linspace(0.3, 0.5, len(upper))
            points[list(upper)] = np.stack((x, 0 * x + 0.4), 1)
            points[list(lower)] = np.stack((x, 0 * x + 0.4 + gap), 1)
        np.testing.assert_allclose(shows_eyes(points), wanted, atol=0.02)


def test_half_of_the_blinks_are_full_and_some_are_winks(model: portrait_dataset.Model) -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([random_expression(model.kit, np.zeros((0, 53), np.float32), rng) for _ in range(1500)])
    left, right = drawn[:, model.kit.index("eyeBlink")].T
    both, one = (left >= 0.3) & (left == right), (np.maximum(left, right) >= 0.3) & (np.minimum(left, right) == 0)
    assert abs(both.mean() - BLINKS) < 0.04 and abs(one.mean() - WINKS) < 0.03
    assert abs((left[both] == 1).mean() - FULL) < 0.1
    assert drawn[left == 1][:, model.kit.index("eyeWide_L")].max() == 0
