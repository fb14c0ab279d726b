"""Every op's CPU form against its reference, on the cases that the GPU's tests and the suites share."""

import edges
import numpy as np
import pytest
import torch

FLOATS = [*edges.crops(), *edges.flows(), *edges.lines(), *edges.maps()]
PASTES = list(edges.pastes())


@pytest.mark.parametrize("case", FLOATS, ids=lambda case: case.name)
def test_floats(case):
    """No further from the exact answer than twice what plain f32 arithmetic is, or a few roundings of the largest
    value, or what nobody sees."""
    exact, plain = case.computed().numpy(), case.computed(torch.float32).numpy()
    got = case.ours(*case.data)
    assert got.shape == exact.shape and got.dtype == np.float32 and np.isfinite(exact).all()
    allowed = 4 * np.finfo(np.float32).eps * max(np.abs(exact).max(initial=0), 1e-3)
    off = np.abs(got - exact).max(initial=0)
    assert off <= 2 * np.abs(plain - exact).max(initial=0) + max(allowed, case.unseen)


@pytest.mark.parametrize("case", PASTES, ids=lambda case: case.name)
def test_levels(case):
    """Rounding may go either way only where plain f32 arithmetic leaves it open: a level apart at most, and at no more
    than twice as many values as plain f32 differs at (and one in a thousand)."""
    exact, plain = (case.computed(dtype).numpy().astype(int) for dtype in (torch.float64, torch.float32))
    got = case.ours(*case.data)
    assert got.dtype == np.uint8 and got.shape == exact.shape and (exact != case.data[0]).any()
    assert np.abs(got - exact).max() <= 1
    assert (got != exact).mean() <= 2 * (plain != exact).mean() + 1e-3
