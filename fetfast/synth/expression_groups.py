"""Groups rows that share the same driving expression e2, so that the truth of one is the source of another."""

from __future__ import annotations

import numpy as np


def expression_groups(count: int, people: int, held_out: list[int], seed: int) -> np.ndarray:
    """i32 [count]: for each row (of person row modulo `people`) the next of those it shares e2 with; itself: nobody.

    Every round of rows, one a person, is split by chance into twos and threes that close to rings; people held out keep
    to themselves.
    """
    out = np.arange(count, dtype=np.int32)
    kept = np.isin(np.arange(people), held_out)
    for first in range(0, count, people):
        rows = np.arange(first, min(first + people, count))
        rng = np.random.default_rng([seed, first, 2])
        for half in (kept, ~kept):
            mine = rng.permutation(rows[half[rows - first]])
            for group in np.array_split(mine, max(1, len(mine) // 2)):
                out[group] = np.roll(group, -1)
    return out


def group_of(source: np.ndarray, row: int) -> list[int]:
    """The rows of the group that `row` belongs to, itself too, the lowest first."""
    group = [row]
    while source[group[-1]] != row:
        group.append(int(source[group[-1]]))
    return sorted(group)
