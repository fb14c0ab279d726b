"""A portrait under expressions, and pairs of it."""

import numpy as np

from fetfast.synth import portrait_dataset
from fetfast.synth.expression import random_expression
from fetfast.synth.portrait import Portrait


def wearing(model: portrait_dataset.Model, start: np.ndarray, **amounts: float) -> np.ndarray:
    expression = start.copy()
    for mode, amount in amounts.items():
        expression[model.kit.index(mode)] = amount
    return expression


def pair_of(model: portrait_dataset.Model, portrait: Portrait, seed: int, real: bool = False) -> dict[str, np.ndarray]:
    donors = portrait.fit.expression[None]
    wanted = random_expression(model.kit, donors, np.random.default_rng([seed, 1]))
    return portrait_dataset.pair(model, portrait, donors, None if real else wanted, np.random.default_rng(seed))
