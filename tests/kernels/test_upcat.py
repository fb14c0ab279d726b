import pytest
import torch
from tolerance import DTYPES, assert_close

from fetfast.errors import BadInput
from fetfast.ops.norm_act import statistics
from fetfast.ops.upcat import UP, Part, upcat, upcat_reference


def part(shape, device, dtype=torch.float16, channels_last=True, up="none", norm=True, slope=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator).to(device, dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    return Part(x, statistics(x) if norm else None, slope, up)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("up", UP)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("H, W", [(1, 1), (3, 5)])
def test_against_reference(H, W, dtype, up, channels_last, device):
    s = 1 if up == "none" else 2
    a = part((2, 20, H, W), device, dtype, channels_last, up)
    b = part((2, 7, s * H, s * W), device, dtype, channels_last, norm=False, seed=1)
    assert_close(upcat(a, b), upcat_reference, a, b)


def test_one_source_and_any_combination(device):
    a = part((1, 5, 4, 6), device, up="bilinear", slope=0.0)
    b = part((1, 65, 4, 6), device, up="nearest", seed=1)
    assert_close(upcat(a), upcat_reference, a)
    assert_close(upcat(a, b), upcat_reference, a, b)


def test_nothing_to_do_copies_bit_for_bit(device):
    a, b = (part((1, 3, 4, 5), device, norm=False, slope=1.0, seed=s) for s in (0, 1))
    assert torch.equal(upcat(a, b), torch.cat((a.x, b.x), 1))


def test_writes_a_channel_slice_and_nothing_else(device):
    a = part((2, 5, 4, 4), device)
    buffer = torch.full((2, 9, 4, 4), 3.0, dtype=torch.float16, device=device)
    upcat(a, out=buffer[:, 2:7])
    assert torch.equal(buffer[:, 2:7], upcat(a)) and (buffer[:, :2] == 3).all() and (buffer[:, 7:] == 3).all()


def test_empty_batch_and_bad_inputs(device):
    a = part((0, 3, 4, 4), device, norm=False)
    assert upcat(a, a).shape == (0, 6, 4, 4)
    a, b = part((1, 3, 4, 4), device), part((1, 3, 4, 5), device)
    with pytest.raises(BadInput, match="expected the same B, H, W"):
        upcat(a, b)
    with pytest.raises(BadInput, match="up is 'cubic'"):
        upcat(Part(a.x, up="cubic"))
    with pytest.raises(BadInput, match=r"norm is .*\[3, 1, 4\].*expected contiguous float32 \[3, 1, 3\]"):
        upcat(Part(a.x, torch.zeros(3, 1, 4, device=device)))
    with pytest.raises(BadInput, match="out is"):
        upcat(a, out=torch.empty(1, 4, 4, 4, device=device))
