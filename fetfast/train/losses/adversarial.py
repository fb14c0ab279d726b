"""Adversarial losses: what a discriminator that gives logits (high: real) minimises, and what its generator does.

    hinge            Lim & Ye 2017              max(0, 1 - real) + max(0, 1 + fake)        -fake
    least squares    Mao et al. 2017, LSGAN     ((real - 1)^2 + fake^2) / 2                (fake - 1)^2 / 2
    non-saturating   Goodfellow et al. 2014     -log s(real) - log(1 - s(fake))            -log s(fake)     s: sigmoid

Logits are f32 of any shape, one for each patch or picture; a loss is their mean.
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    return -fake.mean()


def least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def least_squares_generator(fake: Tensor) -> Tensor:
    return 0.5 * (fake - 1).square().mean()


def non_saturating_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def non_saturating_generator(fake: Tensor) -> Tensor:
    return F.softplus(-fake).mean()


def r1(discriminator: nn.Module, real: Tensor) -> Tensor:
    """R1 (Mescheder et al. 2018): the squared length of the logits' gradient by a real picture [B, ...], averaged over
    the batch. Its weight is half of what the paper calls gamma. Computes in f32, whatever the autocast around it."""
    with torch.autocast(real.device.type, enabled=False):
        real = real.detach().float().requires_grad_()
        (slope,) = torch.autograd.grad(discriminator(real).float().sum(), real, create_graph=True)
    return slope.square().flatten(1).sum(1).mean()
