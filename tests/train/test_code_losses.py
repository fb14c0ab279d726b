"""Losses of codes and swaps against their definitions."""

from __future__ import annotations

from math import log

import pytest

torch = pytest.importorskip("torch")

from fetfast.train.losses import codes  # noqa: E402


def test_reading_is_binary_cross_entropy():
    chances = torch.tensor([[0.9, 0.2], [0.5, 0.25]])
    found = codes.reading(chances.logit(), torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    assert found.item() == pytest.approx(-(log(0.9) + log(0.8) + log(0.5) + log(0.25)) / 4, rel=1e-5)


def test_confusion_is_least_where_every_label_is_a_coin_toss():
    chances = torch.tensor([[0.9, 0.5, 0.1]])
    wanted = -(log(0.9) + log(0.1) + 2 * log(0.5) + log(0.1) + log(0.9)) / 2 / 3
    assert codes.confusion(chances.logit()).item() == pytest.approx(wanted, rel=1e-5)
    assert codes.confusion(torch.zeros(2, 3)).item() == pytest.approx(log(2))
    logits = torch.tensor([3.0, 0.0, -1.0], requires_grad=True)
    codes.confusion(logits).backward()
    assert logits.grad is not None and logits.grad.tolist() == pytest.approx([0.4526 / 3, 0, -0.2311 / 3], abs=1e-3)


def test_a_game_of_reading_and_confusion_takes_labels_out_of_a_code():
    """A code's two numbers: a label and something else. The encoder may scale each; only the label's goes."""
    torch.manual_seed(0)
    label = torch.randint(0, 2, (256, 1)).float()
    seen = torch.cat((2 * label - 1, torch.randn(256, 1)), 1)
    scale, reader = torch.ones(2, requires_grad=True), torch.nn.Linear(2, 1)
    encoder = torch.optim.Adam([scale], 0.02)
    discriminator = torch.optim.Adam(reader.parameters(), 0.05)
    for _ in range(200):
        discriminator.zero_grad()
        codes.reading(reader((seen * scale).detach()), label).backward()
        discriminator.step()
        encoder.zero_grad()
        (codes.confusion(reader(seen * scale)) + 0.05 * (scale[1] - 1).square()).backward()
        encoder.step()
    assert scale[0].abs() < 0.2 and scale[1] > 0.8


def test_a_swap_that_is_undone_costs_nothing_and_one_that_is_not_what_is_left():
    a, b = torch.rand(2, 1, 3, 4, 4)
    assert codes.cross_cycle(lambda x, y: (y, x), a, b).item() == 0
    assert codes.cross_cycle(lambda x, y: (y + 0.1, x - 0.2), a, b).item() == pytest.approx(0.2, rel=1e-4)
