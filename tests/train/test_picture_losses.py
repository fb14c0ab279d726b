"""How far pictures are apart: against hand-computed cases and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
metrics = pytest.importorskip("skimage.metrics")

from fetfast.train.losses import pictures  # noqa: E402

S = 64
SSIM = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "channel_axis": -1}


def as_tensor(image: np.ndarray) -> torch.Tensor:
    """[1, 3, S, S] in -1 ... 1 of an image in 0 ... 1."""
    return torch.from_numpy(2 * image - 1).permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    a, b = (np.random.default_rng(seed).random((S, S, 3)) for seed in (0, 1))
    return a, 0.8 * a + 0.2 * b


def test_l1_is_the_weighted_mean_of_differences():
    picture = torch.tensor([[0.0, 1.0], [0.5, -1.0]]).expand(1, 3, 2, 2)
    truth = torch.tensor([[1.0, 1.0], [-0.5, 0.0]]).expand(1, 3, 2, 2)
    weight = torch.tensor([[1.0, 5.0], [2.0, 4.0]]).reshape(1, 1, 2, 2)
    assert pictures.l1(picture, truth, weight).item() == pytest.approx((1 * 1 + 5 * 0 + 2 * 1 + 4 * 1) / 12)


def test_what_is_too_dark_counts_more_where_it_shall():
    dark, light, even = torch.full((1, 3, 4, 4), -0.5), torch.full((1, 3, 4, 4), 0.5), torch.ones(1, 1, 4, 4)
    assert pictures.l1(dark, light, even, 2.0).item() == pytest.approx(3)
    assert pictures.l1(light, dark, even, 2.0).item() == pictures.l1(dark, light, even).item() == pytest.approx(1)
    left = torch.tensor([1.0, 1, 0, 0]).expand(1, 1, 4, 4)
    assert pictures.l1(dark, light, even, 2 * left).item() == pytest.approx(2)


@pytest.mark.parametrize("axis", [-1, -2])
def test_gradients_are_compared_on_four_scales(axis):
    """A step in the middle is, on each scale, one difference of 2 among all that lie side by side."""
    picture = -torch.ones(1, 3, S, S)
    picture.narrow(axis, S // 2, S // 2).fill_(1)
    wanted = 2 * (1 / 63 + 1 / 31 + 1 / 15 + 1 / 7) / 4
    found = pictures.gradients(picture, torch.zeros_like(picture), torch.ones(1, 1, S, S))
    assert found.item() == pytest.approx(wanted, rel=1e-5)


def test_gradients_of_equal_slopes_are_equal_whatever_the_levels():
    picture, weight = torch.rand(2, 3, S, S), torch.rand(2, 1, S, S)
    assert pictures.gradients(picture, picture + 0.3, weight).item() == pytest.approx(0, abs=1e-6)


def test_gradients_are_weighted():
    picture = torch.zeros(1, 1, 2, 3)
    picture[0, 0, 0] = torch.tensor([0.0, 1.0, 3.0])  # differences 1, 2 to the right; 0, 1, 3 down
    weight = torch.tensor([[[[1.0, 2.0, 8.0], [4.0, 8.0, 8.0]]]])
    right, down = (1 * 1 + 2 * 2) / (1 + 2 + 4 + 8), (1 * 0 + 2 * 1 + 8 * 3) / (1 + 2 + 8)
    found = pictures.gradients(picture, torch.zeros_like(picture), weight, scales=1)
    assert found.item() == pytest.approx(right + down)


def test_ssim_is_scikit_images(pair):
    wanted = metrics.structural_similarity(*pair, full=True, **SSIM)[1]
    x, y = map(as_tensor, pair)
    got = pictures.ssim_map(x, y)[0].permute(1, 2, 0).numpy()
    with torch.autocast("cpu", torch.bfloat16):  # as in training
        half = pictures.ssim_map(x.float(), y.float())[0].permute(1, 2, 0).numpy()
    assert np.allclose(half, got, atol=1e-4)
    inside = slice(5, -5)  # beyond, the borders differ: repeated here, mirrored there
    assert np.allclose(got[inside, inside], wanted[inside, inside], atol=1e-6)
    weight = torch.zeros(1, 1, S, S, dtype=x.dtype)
    weight[..., 5:30, 20:-5] = 3
    assert pictures.ssim(x, y, weight).item() == pytest.approx(1 - wanted[5:30, 20:-5].mean(), abs=1e-6)


def test_psnr_and_ssim_of_a_box_are_scikit_images(pair):
    """The landmarks lie in columns 16 ... 47 and rows 8 ... 31."""
    x, y = map(as_tensor, pair)
    points = torch.tensor([[[0.25, 0.125], [0.75, 0.5], [0.4, 0.3]]], dtype=x.dtype)
    inside = (slice(8, 32), slice(16, 48))
    wanted = metrics.peak_signal_noise_ratio(*(image[inside] for image in pair), data_range=1.0)
    assert pictures.psnr(x, y, points).item() == pytest.approx(wanted, abs=1e-4)
    similar = metrics.structural_similarity(*pair, full=True, **SSIM)[1]
    assert pictures.box_ssim(x, y, points).item() == pytest.approx(similar[inside].mean(), abs=1e-6)


def test_each_of_a_batch_has_its_own_psnr(pair):
    x, y = map(as_tensor, pair)
    everything = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]] * 2, dtype=x.dtype)
    first, second = pictures.psnr(torch.cat((x, y)), torch.cat((y, y)), everything).tolist()
    assert first == pytest.approx(metrics.peak_signal_noise_ratio(*pair, data_range=1.0), abs=1e-4)
    assert second == pytest.approx(100)  # nothing is off
