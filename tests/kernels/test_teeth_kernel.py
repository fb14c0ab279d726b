"""Teeth filled in on a GPU, or by Triton's interpreter: what the reference has."""

import numpy as np
import pytest
import torch
from tolerance import DTYPES, assert_close

from fetfast.errors import BadInput
from fetfast.ops.heatmap import contours_reference
from fetfast.ops.teeth import BEHIND, EDGES, LOWER, LOWER_LIP, UPPER, UPPER_LIP, filled, teeth_map, teeth_map_reference


def mouths(device) -> torch.Tensor:
    """f32 [3, 40, 2]: an open mouth, its jaws overlapping; the same half closed, mirrored; one that is lost."""
    rows = [
        torch.stack((torch.linspace(left, 1 - left, count + 1), y + bend * torch.linspace(-1, 1, count + 1) ** 2), 1)
        for count, left, y, bend in (
            (UPPER, 0.2, 0.52, -0.1), (UPPER, 0.2, 0.3, 0.05), (LOWER, 0.3, 0.5, -0.1), (LOWER, 0.28, 0.7, -0.2)
        )
    ]  # fmt: skip
    wide = torch.cat(rows)
    shut = wide * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    shut[:, 1] = shut[:, 1].clamp(0.41, 0.45)
    shut[:, 0] = shut[:, 0].clamp(0.31, 0.66)  # folded onto the corners: lines of no width
    return torch.stack((wide, shut, torch.full_like(wide, torch.nan))).to(device)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("S", [1, 37])
def test_teeth_filled_in(S, dtype, channels_last, device):
    from fetfast.kernels import teeth as kernel

    points = mouths(device)
    whole = torch.full((3, 4, S, S), 7.0, dtype=dtype, device=device)
    if channels_last:
        whole = whole.contiguous(memory_format=torch.channels_last)
    out = whole[:, 1:2]
    kernel.draw(points, UPPER, LOWER, BEHIND, 1.0, out)
    assert (whole[:, [0, 2, 3]] == 7).all() and not out[2].any()
    assert S == 1 or (out[0].max() > 0.9 and out[1].any())

    def reference(p):
        return filled(p, S)[:, None] * (1 - contours_reference(p, S, edges=EDGES))

    assert_close(out, reference, points, eager=reference(points.cpu()).to(dtype))


def test_a_face_s_teeth_are_the_reference_s(device):
    rng = np.random.default_rng(0)
    faces = torch.from_numpy(rng.normal(0.5, 0.2, (2, 2, 478, 2)).astype(np.float32))
    for lip, y in ((UPPER_LIP, 0.1), (LOWER_LIP, 0.9)):  # wide open: what stands behind is seen
        across = torch.linspace(0, 1, len(lip)).expand(2, -1)
        faces[1, :, list(lip)] = torch.stack((across, torch.full_like(across, y)), 2)
    faces = faces.to(device)
    got = teeth_map(*faces, 48)
    assert got.shape == (2, 1, 48, 48) and got.max() > 0.1
    torch.testing.assert_close(got.cpu(), teeth_map_reference(*faces.cpu(), 48), atol=1e-3, rtol=0)


def test_no_face(device):
    none = torch.zeros(0, 478, 2, device=device)
    assert teeth_map(none, none, 8).shape == (0, 1, 8, 8)
    with pytest.raises(BadInput, match=r"out is .*expected .*\[1, 1, 8, 8\]"):
        one = torch.zeros(1, 478, 2, device=device)
        teeth_map(one, one, 8, torch.zeros(1, 1, 9, 8, device=device))
