"""What all ops share: their CPU form is the reference, and odd values stay where they are."""

import pytest
import torch
from fetfast.kernels.configs import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conv import DIRECT, JOINED, filter_of
from tolerance import assert_close

from fetfast.errors import BadInput
from fetfast.ops.conv import Affine, conv, conv_reference
from fetfast.ops.heatmap import gaussians
from fetfast.ops.norm_act import norm_act, norm_act_reference, pixels, statistics, statistics_reference
from fetfast.ops.upcat import Part, upcat, upcat_reference


def test_on_the_cpu_the_reference_runs(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    x = torch.randn(2, 16, 4, 6).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(2, 16)
    assert torch.equal(norm_act(x, weight, bias, 0.2, x), norm_act_reference(x, weight, bias, 0.2, x))
    assert torch.equal(statistics(x, weight, bias), statistics_reference(x, weight, bias))
    a, b = Part(x, statistics(x), 0.2, "nearest"), Part(torch.randn(2, 3, 8, 12))
    assert torch.equal(upcat(a, b), upcat_reference(a, b))
    filter = filter_of("3x3", 19, 5, "cpu", torch.float32, bias=True)
    y, norm = conv(a, b, filter, slope=0.2, norm=Affine())
    assert torch.equal(y, conv_reference(a, b, filter, 0.2)) and torch.equal(norm, statistics_reference(y))


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 20), st.integers(1, 6), st.integers(1, 6), st.sampled_from([0.0, 0.2, 1.0]),
    st.sampled_from([1e-3, 1.0, 6e3]), st.booleans(),
)  # fmt: skip
def test_norm_act_of_any_shape_and_scale(B, C, H, W, slope, scale, channels_last):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x = (torch.randn(B, C, H, W, generator=torch.Generator().manual_seed(C)) * scale).half().to(device)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    assert_close(norm_act(x, slope=slope), norm_act_reference, x, None, None, slope)


def test_nan_and_inf_reach_only_what_they_touch(device):
    x = torch.randn(2, 16, 6, 6, device=device).half().contiguous(memory_format=torch.channels_last)
    x[0, 3, 2, 2], x[0, 4, 2, 2] = float("nan"), float("inf")
    touched = torch.zeros(2, 1, 6, 6, dtype=torch.bool, device=device)
    touched[0, 0, 1:4, 1:4] = True
    for config in (DIRECT, JOINED, Config(64, 16, 16, 4, 2, joined=True, split=2)):
        y, _ = conv(Part(x), None, filter_of("3x3", 16, 8, device), config=config)
        assert torch.equal(y.isfinite(), ~touched.expand_as(y))
    y = upcat(Part(x, up="nearest"))
    assert (~y.isfinite()).sum() == 8


WIDE = 1 << 24  # elements from pixel to pixel


def far_apart(B, C, S):
    """Few pixels, so far from one another that 32 bits do not reach the last one: no memory is behind them."""
    return torch.empty_strided((B, C, S, S), (S * S * WIDE, 1, S * WIDE, WIDE), dtype=torch.float16, device="meta")


def test_strides_that_32_bits_do_not_reach_are_refused(monkeypatch):
    """numel() says nothing of them: kernels would write where others' memory is."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    far, near = far_apart(1, 16, 12), torch.empty(1, 16, 12, 12, dtype=torch.float16, device="meta")
    near = near.contiguous(memory_format=torch.channels_last)
    assert far.numel() < 1 << 16
    for call in (
        lambda: conv(Part(far), None, filter_of("3x3", 16, 8, "meta")),
        lambda: conv(Part(near), Part(far), filter_of("3x3", 32, 8, "meta")),
        lambda: norm_act(near, residual=far), lambda: norm_act(near, out=far), lambda: statistics(far),
        lambda: upcat(Part(near), Part(far)), lambda: upcat(Part(near), out=far),
        lambda: gaussians(torch.zeros(1, 40, 2, device="meta"), 8192, 0.1),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=r"expected less than 2\^31 elements from its first to its last"):
            call()
    images = far_apart(200, 16, 3)  # each is near enough; where images are told apart by 64 bits that is all
    assert pixels("norm_act", "x", images).shape == (200, 9, 16)
    with pytest.raises(BadInput, match="an input is"):
        conv(Part(images), None, filter_of("3x3", 16, 8, "meta"))
