import edges
import pytest
import torch
from tolerance import DTYPES, assert_close

from fetfast.errors import BadInput
from fetfast.ops.heatmap import contours, first_flow, gaussians

CASES = [*edges.flows(), *edges.lines(), *edges.maps()]
EDGES = torch.tensor([[0, 1], [1, 2], [2, 0], [3, 3], [4, 5], [5, 6]] * 4, dtype=torch.int32)


def points(B, K, device, seed=0, spread=0.3):
    generator = torch.Generator().manual_seed(seed)
    return (0.5 + spread * torch.randn(B, K, 2, generator=generator)).to(device)  # some are off the frame


def buffer(B, C, S, dtype, device, channels_last, before=1, after=2):
    """A network's input of more channels, full of sevens, and the slice of it to be drawn into."""
    whole = torch.full((B, before + C + after, S, S), 7.0, dtype=dtype, device=device)
    if channels_last:
        whole = whole.contiguous(memory_format=torch.channels_last)
    return whole, whole[:, before : before + C]


def only_the_slice(whole, C):
    return bool((whole[:, :1] == 7).all() and (whole[:, 1 + C :] == 7).all())


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_into_a_slice(case, dtype, channels_last, device):
    eager = case.computed(torch.float32).to(dtype)
    _, C, S, _ = eager.shape
    whole, out = buffer(len(eager), C, S, dtype, device, channels_last)
    got = case.ours(*case.tensors(device), out=out)
    assert got is out and only_the_slice(whole, C)
    assert_close(got, lambda *_: case.computed(), eager=eager)


def test_contours_of_a_face_are_the_cpu_form(device):
    at = points(1, 478, device)
    got = contours(at, 48).cpu()
    torch.testing.assert_close(got, torch.from_numpy(contours(at.cpu().numpy(), 48)), atol=1e-5, rtol=0)


def test_nothing_is_drawn_for_no_points_and_far_ones(device):
    gone = torch.full((1, 5, 2), float("nan"), device=device)
    far = torch.full((1, 5, 2), 1e20, device=device)
    for at in (gone, far):
        assert not gaussians(at, 8, 0.1).any()
        assert not first_flow(at, at, 8, widths=torch.ones(5, device=device)).any()
    assert not contours(gone, 8, edges=EDGES[:4].to(device) % 5).any()
    assert not contours(gone, 8, edges=EDGES[:0].to(device)).any()


def test_empty_batch_and_bad_inputs(device):
    none = torch.empty(0, 478, 2, device=device)
    assert first_flow(none, none, 8).shape == (0, 2, 8, 8)
    assert contours(none, 8).shape == (0, 1, 8, 8)
    assert gaussians(none, 8, 0.1).shape == (0, 478, 8, 8)
    at = points(1, 8, device)
    with pytest.raises(BadInput, match=r"contours\(\): points is float64 .*expected contiguous float32 \[B, K, 2\]"):
        contours(at.double(), 8)
    with pytest.raises(BadInput, match=r"driven_points is float32 \[1, 7, 2\]"):
        first_flow(at, at[:, :7].contiguous(), 8)
    with pytest.raises(BadInput, match=r"out is float32 \[1, 8, 8, 9\]"):
        gaussians(at, 8, 0.1, out=torch.empty(1, 8, 8, 9, device=device))
    with pytest.raises(BadInput, match=r"outside of 0 \.\.\. 7"):
        gaussians(at, 8, 0.1, [[8]])
