import pytest
import torch
from fetfast.kernels import norm_act as kernel
from tolerance import DTYPES, assert_close

from fetfast.errors import BadInput
from fetfast.ops.norm_act import norm_act, norm_act_reference, statistics, statistics_reference

SIZES = [(1, 1, 1, 1), (2, 3, 1, 5), (1, 20, 7, 9), (2, 33, 16, 16), (0, 4, 8, 8)]


def image(shape, dtype, device, channels_last=True, mean=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(shape, generator=generator) * 2 + mean).to(device, dtype)
    return x.contiguous(memory_format=torch.channels_last) if channels_last else x


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SIZES)
def test_against_reference(shape, dtype, channels_last, device):
    x = image(shape, dtype, device, channels_last)
    weight, bias = torch.randn(2, shape[1], device=device)
    assert_close(norm_act(x, weight, bias, 0.2), norm_act_reference, x, weight, bias, 0.2)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("on_chip", [True, False])
def test_every_part(on_chip, channels_last, device, monkeypatch):
    """AdaIN, residual, in place; planes that fit on chip and planes in pieces of 13 x 21 = 273 = 8 * 32 + 17 pixels."""
    monkeypatch.setattr(kernel, "ON_CHIP", 1 << 14 if on_chip else 0)
    monkeypatch.setattr(kernel, "PIECE", 32 * (32 if channels_last else 1))
    x, residual = (image((2, 20, 13, 21), torch.float16, device, channels_last, seed=s) for s in (1, 2))
    weight, bias = torch.randn(2, 2, 20, device=device)
    given = x.clone()
    assert_close(
        norm_act(x, weight, bias, 0.0, residual, out=x), norm_act_reference, given, weight, bias, 0.0, residual
    )


def test_the_same_bits_every_time(device, monkeypatch):
    monkeypatch.setattr(kernel, "ON_CHIP", 0)
    x = image((1, 24, 40, 40), torch.float16, device)
    assert torch.equal(norm_act(x), norm_act(x))


@pytest.mark.parametrize("mean", [0.0, 3e3, -6e4])
def test_large_means_do_not_cancel(mean, device):
    x = image((1, 16, 24, 24), torch.float32, device, mean=mean)
    assert_close(norm_act(x), norm_act_reference, x)


def test_an_outlier_first(device, monkeypatch):
    monkeypatch.setattr(kernel, "ON_CHIP", 0)
    x = image((1, 8, 64, 64), torch.float32, device)
    x[:, :, 0, 0] = 1e4
    assert_close(norm_act(x), norm_act_reference, x)


def test_nan_and_inf_stay_in_their_channel(device):
    x = image((1, 4, 8, 8), torch.float16, device)
    x[0, 1, 2, 3], x[0, 2, 0, 0] = float("nan"), float("inf")
    y = norm_act(x)
    assert y[0, 1:3].isnan().all() and y[0, [0, 3]].isfinite().all()


def test_constant_plane_gives_its_bias(device):
    x = torch.full((1, 8, 9, 9), 7.0, device=device)
    weight, bias = torch.randn(2, 8, device=device)
    assert torch.equal(norm_act(x, weight, bias), bias[None, :, None, None].expand_as(x))


@pytest.mark.parametrize("channels_last", [True, False])
def test_statistics(channels_last, device):
    x = image((2, 17, 30, 11), torch.float16, device, channels_last, mean=3)
    weight, bias = torch.randn(2, 17, device=device)
    for mean_scale_shift in range(3):
        got = statistics(x, weight, bias)[mean_scale_shift]
        assert_close(got, lambda *a, k=mean_scale_shift: statistics_reference(*a)[k], x, weight, bias)


def test_bad_inputs_are_named(device):
    x = torch.zeros(2, 4, 8, 8, device=device)
    with pytest.raises(BadInput, match=r"norm_act\(\): x is float64 \[2, 4\] on .*, expected \[B, C, H, W\]"):
        norm_act(torch.zeros(2, 4, dtype=torch.float64))
    with pytest.raises(BadInput, match="expected both or neither"):
        norm_act(x, torch.ones(4, device=device))
    with pytest.raises(BadInput, match=r"weight is float32 \[5\].*expected float32 \[4\] or \[2, 4\]"):
        norm_act(x, torch.ones(5, device=device), torch.ones(5, device=device))
    with pytest.raises(BadInput, match=r"residual is .*\[2, 4, 8, 7\]"):
        norm_act(x, residual=x[..., :7])
    with pytest.raises(BadInput, match="rows without gaps"):
        norm_act(x[..., :7])
