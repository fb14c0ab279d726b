"""Points moved, and the anchors of a flow, on a GPU or by Triton's interpreter: what the references have."""

import numpy as np
import torch
from tolerance import assert_close

from fetfast.ops.anchors import LIDS_AND_IRISES, LIP_PAIRS, anchored, anchors, corrected, moved


def faces(device):
    """f32 [4, 478, 2] twice: a mouth that opens and a lid that shuts; one that is still; NaN and far points; a face."""
    generator = torch.Generator().manual_seed(0)
    driven = 0.5 + 0.2 * torch.randn(4, 478, 2, generator=generator)
    source = driven + 0.02 * torch.randn(4, 478, 2, generator=generator)
    upper, lower = map(list, zip(*LIP_PAIRS, strict=True))
    driven[0, lower] = driven[0, upper] + torch.tensor([0.0, 0.05])  # partly open
    driven[1, lower] = driven[1, upper] + torch.tensor([0.0, 0.01])  # nearly shut
    for lid, iris in LIDS_AND_IRISES:
        driven[0, iris, 1] = driven[0, lid, 1].mean() + 0.003  # half covered
        driven[1, iris, 1] = driven[1, lid, 1].mean() + 0.1
    source[1] = driven[1]
    driven[2, 0, 0], source[2, 1, 1], driven[2, 2], driven[2, 159] = np.nan, np.inf, 40.0, np.nan
    return source.to(device), driven.to(device)


def test_points_go_as_far_as_the_amount_says(device):
    source, driven = faces(device)
    amount = torch.rand(4, 478, 1, device=device) * 2
    got = moved(source, driven, amount)
    assert_close(got, lambda t, f, a: t + a * (f - t), source, driven, amount)
    assert moved(source[:0], driven[:0], amount[:0]).shape == (0, 478, 2)


def test_anchors_and_their_correction(device):
    source, driven = faces(device)
    got = anchored(source, driven)
    before = anchors(*(x.double().cpu() for x in (source, driven)))
    for i in range(4):
        one = source[i : i + 1], driven[i : i + 1]
        for part in range(2):
            assert_close(got[part, i : i + 1], lambda s, d, part=part: corrected(*anchors(s, d))[part], *one)
    moves = (got[0, 0].cpu() - before[0][0].float()).abs()
    assert moves.max() > 1e-3 and torch.equal(got[1, 0].cpu()[:478], driven[0].cpu())
    assert anchored(source[:0], driven[:0]).shape == (2, 0, 514, 2)


def test_a_point_that_is_lost_changes_no_other(device):
    source, driven = faces(device)
    source, driven = source[3:], driven[3:].clone()
    wanted = anchored(source, driven)[0, 0]
    driven[0, 10] = torch.nan  # on the oval: no lid's and no lip's
    got = anchored(source, driven)
    off = (got[0, 0] - wanted).abs().amax(1)
    assert got[0].isfinite().all() and off[10] == 0 and off.max() < 0.05
    assert torch.equal(got[1, 0].isnan().any(1).cpu(), torch.arange(514) == 10)
