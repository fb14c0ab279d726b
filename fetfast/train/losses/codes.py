"""What keeps codes apart, and swaps honest: losses of networks that split a face into expression and the rest."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


def reading(logits: Tensor, labels: Tensor) -> Tensor:
    """How badly labels [B, K] in 0 ... 1, such as action units, are read: mean binary cross-entropy."""
    return F.binary_cross_entropy_with_logits(logits, labels)


def confusion(logits: Tensor) -> Tensor:
    """What an encoder minimises that shall leave nothing of K labels in its code for a discriminator to read: mean
    cross-entropy of the discriminator's logits [B, K] against one half each (Shao et al. 2021). log 2 at least, where
    every logit is 0. The discriminator itself minimises `reading`."""
    return (F.softplus(logits) - 0.5 * logits).mean()


def cross_cycle(swap: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference between two pictures and what they are after their expressions were swapped twice."""
    again = swap(*swap(a, b))
    return sum(((x - y).abs().mean() for x, y in zip(again, (a, b), strict=True)), a.new_zeros(()))
