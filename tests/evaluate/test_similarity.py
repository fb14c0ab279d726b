"""PSNR, SSIM and the face's box, by hand-made figures and SciPy's filters."""

import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fetfast.errors import Unavailable
from fetfast.evaluate.similarity import face_box, psnr, ssim

S = 40
rng = np.random.default_rng(0)
EVERYWHERE = np.ones((S, S), bool)


@pytest.fixture
def two():
    """A smooth picture f32 [3, S, S] in -1 ... 1, and the same with noise."""
    picture = gaussian_filter(rng.normal(0, 3, (3, S, S)), (0, 2, 2)).astype(np.float32)
    return picture, np.clip(picture + rng.normal(0, 0.1, picture.shape), -1, 1).astype(np.float32)


def test_psnr_counts_from_the_whole_range():
    black, grey = np.full((3, S, S), -1, np.float32), np.full((3, S, S), -0.8, np.float32)
    assert psnr(black, -black, EVERYWHERE) == pytest.approx(0, abs=1e-4)
    assert psnr(black, grey, EVERYWHERE) == pytest.approx(20, abs=1e-4)  # a tenth of the range
    assert psnr(black, black, EVERYWHERE) == pytest.approx(100)
    one = black.copy()
    one[1] += 0.2  # in one channel of three
    assert psnr(black, one, EVERYWHERE) == pytest.approx(20 + 10 * np.log10(3), abs=1e-4)


def test_ssim_is_that_of_wang_et_al(two):
    def wang(a, b):
        x, y = (a.astype(np.float64) + 1) / 2, (b.astype(np.float64) + 1) / 2  # levels from black

        def blur(z):
            return gaussian_filter(z, 1.5, mode="reflect", radius=5)

        mx, my = blur(x), blur(y)
        cov = blur((x - 0.3) * (y - 0.3)) - (mx - 0.3) * (my - 0.3)  # about another zero: the same
        vx, vy = blur(x**2) - mx**2, blur(y**2) - my**2
        c1, c2 = 0.01**2, 0.03**2
        return (2 * mx * my + c1) / (mx**2 + my**2 + c1) * (2 * cov + c2) / (vx + vy + c2)

    a, b = two
    box = np.zeros((S, S), bool)
    box[:17, 5:30] = True
    for where in (EVERYWHERE, box):
        wanted = np.mean([wang(x, y)[where].mean() for x, y in zip(a, b, strict=True)])
        assert ssim(a, b, where) == pytest.approx(wanted, abs=1e-9)
    assert ssim(a, a, EVERYWHERE) == pytest.approx(1, abs=1e-12)
    assert 0.5 < ssim(a, b, EVERYWHERE) < 0.95 and ssim(a, a[:, ::-1], EVERYWHERE) < 0.5


def test_without_scikit_image_the_message_says_what_to_install(two, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    for measure in (psnr, ssim):
        with pytest.raises(Unavailable, match="pip install scikit-image"):
            measure(*two, EVERYWHERE)


def test_ssim_finds_two_greys_alike_however_bright():
    """The term of means is a ratio of lights: about a zero at mid-grey these two would be opposites."""
    for level in (-0.9, -0.02, 0.5):
        dark = np.full((3, S, S), level, np.float32)
        assert ssim(dark, dark + np.float32(0.04), EVERYWHERE) > 0.85
    grey = np.full((3, S, S), -0.02, np.float32)
    assert ssim(grey, -grey, EVERYWHERE) > 0.99


def test_what_lies_outside_the_box_does_not_count(two):
    a, b = two
    box = np.zeros((S, S), bool)
    box[12:24, 12:24] = True
    far = b.copy()
    far[:, :6], far[..., -6:] = 1, -1  # six pixels and more away: out of the window's reach
    assert psnr(a, far, box) == psnr(a, b, box) and ssim(a, far, box) == pytest.approx(ssim(a, b, box))
    assert psnr(a, far, EVERYWHERE) < psnr(a, b, EVERYWHERE)


def test_the_box_of_landmarks():
    box = face_box(np.array([[0.25, 0.5], [0.5, 0.7], [0.3, 0.9]], np.float32), 20)
    rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (10, 17, 5, 9)  # x across, y down, by pixels' centres
    assert box.sum() == 8 * 5
    assert not face_box(np.array([[1.2, 1.2], [1.4, 1.5]], np.float32), 20).any()
