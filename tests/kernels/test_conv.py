from dataclasses import replace

import pytest
import torch
from fetfast.kernels.configs import Config, Shape, choose, neighbours, possible, rule
from tolerance import DTYPES, assert_close

from fetfast.errors import BadInput
from fetfast.ops.conv import Affine, Filter, conv, conv_reference
from fetfast.ops.norm_act import statistics, statistics_reference
from fetfast.ops.upcat import Part

DIRECT = Config(rows=16, columns=16, depth=16, warps=4, stages=2)
JOINED = replace(DIRECT, joined=True, split=3)
KINDS = {"3x3": (3, 1, False), "4x4 down": (4, 2, False), "4x4 up": (4, 2, True), "1x1": (1, 1, False)}


def part(shape, device, dtype=torch.float16, norm=True, slope=0.2, up="none", seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(shape, generator=generator) + 1).to(device, dtype).contiguous(memory_format=torch.channels_last)
    return Part(x, statistics(x) if norm else None, slope, up)


def filter_of(kind, C, N, device, dtype=torch.float16, bias=False):
    k, stride, transposed = KINDS[kind]
    generator = torch.Generator().manual_seed(7)
    weight = torch.randn((C, N, k, k) if transposed else (N, C, k, k), generator=generator) / (C * k * k) ** 0.5
    return Filter.pack(
        weight.to(device, dtype), torch.randn(N, generator=generator).to(device) if bias else None, stride, transposed
    )


@pytest.mark.parametrize("kind", KINDS)
def test_pack_keeps_every_weight(kind, device):
    k, stride, transposed = KINDS[kind]
    weight = torch.randn(5, 6, k, k, device=device)
    packed = Filter.pack(weight, None, stride, transposed)
    assert torch.equal(packed.unpacked(), weight) and packed.taps == k


@pytest.mark.parametrize("config", [DIRECT, JOINED], ids=["direct", "joined"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_against_reference(kind, dtype, config, device):
    """Odd sizes, odd channels, two sources, all that can happen on the way in and out."""
    up = "nearest" if kind == "3x3" else "none"
    a = part((2, 18, 2, 3), device, dtype, up=up)
    b = part((2, 5, *a.shape[2:]), device, dtype, norm=False, slope=0.0, seed=1)
    filter = filter_of(kind, 23, 19, device, dtype, bias=True)
    affine = Affine(*torch.randn(2, 19, device=device))
    y, norm = conv(a, b, filter, slope=0.2, norm=affine, config=config)
    assert_close(y, conv_reference, a, b, filter, 0.2)
    assert y.is_contiguous(memory_format=torch.channels_last)
    for mean_scale_shift in range(3):  # of what was written, rounding and all
        assert_close(
            norm[mean_scale_shift], lambda *a, k=mean_scale_shift: statistics_reference(*a)[k],
            y, affine.weight, affine.bias,
        )  # fmt: skip


@pytest.mark.parametrize("config", [DIRECT, JOINED], ids=["direct", "joined"])
@pytest.mark.parametrize("kind, H, W", [("3x3", 1, 1), ("4x4 down", 2, 2), ("4x4 up", 1, 1), ("3x3", 7, 3)])
def test_tiny_maps(kind, H, W, config, device):
    a = part((3, 16, H, W), device, norm=False, slope=1.0)
    filter = filter_of(kind, 16, 3, device)
    y, norm = conv(a, None, filter, config=config)
    assert norm is None
    assert_close(y, conv_reference, a, None, filter)


def test_f32_filter_on_f16_images(device):
    a = part((1, 16, 6, 6), device, norm=False)
    filter = filter_of("3x3", 16, 6, device, torch.float32, bias=True)
    y, _ = conv(a, None, filter)
    assert y.dtype == torch.float32
    assert_close(y, conv_reference, a, None, filter)


def test_channel_slices_are_read_in_place(device):
    buffer = part((2, 24, 4, 4), device, norm=False).x
    a, b = Part(buffer[:, :16]), Part(buffer[:, 16:])
    filter = filter_of("3x3", 24, 8, device)
    y, _ = conv(a, b, filter)
    assert torch.equal(y, conv(Part(buffer[:, :16].contiguous(memory_format=torch.channels_last)), b, filter)[0])
    assert_close(y, conv_reference, a, b, filter)


def test_batch_of_one_pixel_maps_whatever_strides_torch_gives_them(device):
    a = Part(torch.randn(3, 16, 1, 1, device=device).half())  # strides 16, 1, 1, 1
    filter = filter_of("4x4 up", 16, 4, device)
    assert_close(conv(a, None, filter)[0], conv_reference, a, None, filter)


@pytest.mark.parametrize("config", [DIRECT, JOINED], ids=["direct", "joined"])
def test_the_same_bits_every_time(config, device):
    a, filter = part((1, 20, 6, 6), device), filter_of("3x3", 20, 16, device)
    for one, other in zip(*(conv(a, None, filter, norm=Affine(), config=config) for _ in range(2)), strict=True):
        assert torch.equal(one, other)


def test_padding_is_zero_after_the_norm(device):
    """A plane whose norm shifts it: the border sees 0, not the shift."""
    a = Part(torch.zeros(1, 16, 3, 3, device=device).half(), torch.ones(3, 1, 16, device=device))
    filter = Filter.pack(torch.ones(1, 16, 3, 3, device=device).half())
    y, _ = conv(Part(nhwc_zeros(a.x), a.norm), None, filter)
    assert y.shape == (1, 1, 3, 3) and (y == 0).all()  # (0 - 1) * 1 + 1 everywhere inside as well
    shifted = a.norm.clone()
    shifted[2] = 2
    y, _ = conv(Part(nhwc_zeros(a.x), shifted), None, filter)
    assert y[0, 0].tolist() == [[64, 96, 64], [96, 144, 96], [64, 96, 64]]


def nhwc_zeros(x):
    return x.contiguous(memory_format=torch.channels_last)


def test_empty_batch_and_bad_inputs(device):
    filter = filter_of("3x3", 16, 4, device)
    y, norm = conv(part((0, 16, 4, 4), device, norm=False), None, filter, norm=Affine())
    assert y.shape == (0, 4, 4, 4) and norm.shape == (3, 0, 4)
    with pytest.raises(BadInput, match=r"inputs of \[8\] channels"):
        conv(part((1, 8, 4, 4), device), None, filter)
    with pytest.raises(BadInput, match="expected none or nearest"):
        conv(part((1, 16, 4, 4), device, up="bilinear"), None, filter)
    with pytest.raises(BadInput, match="expected it channels-last"):
        conv(Part(torch.zeros(1, 16, 4, 4, device=device).half()), None, filter)
    with pytest.raises(BadInput, match="1 x 1 is smaller than the filter, 4 x 4"):
        conv(part((1, 16, 1, 1), device), None, filter_of("4x4 down", 16, 4, device))
    with pytest.raises(BadInput, match=r"expected \[N, C, k, k\]"):
        Filter.pack(torch.zeros(4, 4, 3, 3), stride=2, transposed=True)


SHAPES = [
    Shape(90, 132, "float16", 1, 16384, (4,), 64, 16, 1),
    Shape(90, 132, "float16", 1, 4, (512,), 512, 16, 1),
    Shape(86, 82, "bfloat16", 1, 1, (512,), 512, 4, 4),
    Shape(90, 132, "float16", 32, 16, (512, 512), 512, 4, 4),
    Shape(120, 170, "float32", 1, 65536, (16,), 6, 9, 1),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.key)
def test_choices_are_possible(shape):
    config = rule(shape)
    assert possible(config, shape)
    around = neighbours(config, shape)
    assert len(around) >= 4 and len({config, *around}) == 1 + len(around)
    assert all(possible(neighbour, shape) for neighbour in around)
    assert choose(shape, {shape.key: DIRECT}) == DIRECT and choose(shape, {}) == config
