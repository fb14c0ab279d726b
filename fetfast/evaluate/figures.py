"""Figures of people: ratios of sums, with bootstrap intervals over the people.

Every figure is a sum over a sum. A share of motion is one by nature; a mean is one whose denominators count. So one
rule gives every estimate, every interval (people drawn with replacement; percentiles) and every paired difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DRAWS = 1000
LEVEL = 95  # percent
DETAIL = ": "  # in a figure's name: what follows is a part of another figure


@dataclass(frozen=True)
class Record:
    """What one result of one person adds to a figure of a method."""

    figure: str
    method: str
    person: str
    top: float
    below: float = 1.0


Sums = dict[str, dict[str, dict[str, list[float]]]]  # figure -> method -> person -> [numerator, denominator]


def add_up(records: Iterable[Record]) -> Sums:
    sums: Sums = {}
    for r in records:
        if np.isfinite(r.top) and np.isfinite(r.below):
            pair = sums.setdefault(r.figure, {}).setdefault(r.method, {}).setdefault(r.person, [0.0, 0.0])
            pair[0] += float(r.top)
            pair[1] += float(r.below)
    return sums


def estimate(people: dict[str, list[float]], only: Sequence[str] | None = None) -> list[float] | None:
    """[figure, low, high] over people's sums (or over `only` some); None where nothing was counted. With one person
    there is no interval: low and high are the figure."""
    pairs = np.array([pair for name, pair in people.items() if only is None or name in only], np.float64)
    if not len(pairs) or pairs[:, 1].sum() <= 0:
        return None
    low, high = np.percentile(_drawn(pairs), [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return [float(pairs[:, 0].sum() / pairs[:, 1].sum()), float(low), float(high)]


def difference(a: dict[str, list[float]], b: dict[str, list[float]]) -> list[float] | None:
    """[b - a, low, high] over the people that both have, each drawn for both at once."""
    names = [name for name in a if name in b]
    one, two = (np.array([side[name] for name in names], np.float64) for side in (a, b))
    if not names or min(one[:, 1].sum(), two[:, 1].sum()) <= 0:
        return None
    low, high = np.percentile(_drawn(two) - _drawn(one), [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return [float(two[:, 0].sum() / two[:, 1].sum() - one[:, 0].sum() / one[:, 1].sum()), float(low), float(high)]


def _drawn(pairs: np.ndarray) -> np.ndarray:
    """The figure over DRAWS drawings of as many people, the same ones for the same number of people."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), DRAWS)
    top, below = (counts @ pairs).T
    return (
        top / np.where(below > 0, below, np.nan) if (below > 0).all() else np.nan_to_num(top / np.maximum(below, 1e-12))
    )


def estimates(sums: Sums) -> dict[str, Any]:
    """figure -> method -> [figure, low, high]."""
    found = {
        figure: {method: estimate(people) for method, people in methods.items()} for figure, methods in sums.items()
    }
    return {figure: {m: e for m, e in methods.items() if e is not None} for figure, methods in found.items()}
