"""A recipe: how some of a family's stages are trained together, as data and functions. `loop.py` does the rest.

In each step the recipe's updates take turns. Each has an optimizer of its own over the networks that it names: stages
of the plan, or helpers (discriminators, feedback networks, judges), which are trained alongside and do not ship.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch.nn as nn
from torch import Tensor

from fetfast.spec import Spec

Batch = dict[str, Tensor]
Networks = Mapping[str, nn.Module]  # stages and helpers by name
Terms = dict[str, Tensor]  # of a loss, by name, each a scalar


@dataclass(frozen=True)
class Update:
    """One optimizer's part of a step.

    rates: the networks whose weights it changes, and the peak of each one's learning rate. All others stand still.
    loss(networks, spec, batch) -> the terms to minimise, and tensors that later updates of this step find in their
    batch, cut off from what made them. `networks` has all stages of the plan and all helpers, but those whose own
    update has not begun.
    weights: how much each term counts.
    betas, weight_decay: AdamW's. after: the part of the training after which it begins.
    """

    rates: Mapping[str, float]
    loss: Callable[[Networks, Spec, Batch], tuple[Terms, Batch]]
    weights: Mapping[str, float]
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    after: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How stages are trained together.

    name: of its folder and its figures. stages: those of the plan that it trains; the others stand still, as earlier
    recipes left them. batch: how `data` makes one, of `count` rows. helpers: how each is made.
    measure(networks, spec, batch) -> figures, each f32 [B], on validation rows.
    sheet(networks, spec, batch) -> pictures [B, 3, S, S] by name; None: there is nothing to see.
    start(networks): sets weights before training, where random ones are not the best.
    """

    name: str
    stages: tuple[str, ...]
    batch: Callable[..., Batch]
    count: int
    steps: int
    updates: tuple[Update, ...]
    measure: Callable[[Networks, Spec, Batch], dict[str, Tensor]]
    sheet: Callable[[Networks, Spec, Batch], dict[str, Tensor]] | None = None
    start: Callable[[Networks], None] | None = None
    helpers: Mapping[str, Callable[[], nn.Module]] = field(default_factory=dict)


def outputs(networks: Networks, spec: Spec, stage: str, batch: Batch) -> dict[str, Tensor]:
    """What the stage makes of the batch, f32."""
    out = networks[stage](**{tensor.name: batch[tensor.name] for tensor in spec.stage(stage).inputs})
    return {name: tensor.float() for name, tensor in out.items()}
