"""How far results lie from photographs of other people, whatever they show: the kernel inception distance (Binkowski et
al. 2018), in the 1,280 pooled features of facex's MobileNet (package `facex` 1.1.0), which sees faces and their
expressions. Not comparable with figures taken in another network.

    KID = mean k(result, another's result) + mean k(photograph, another) - 2 mean k(result, photograph)
    k(a, b) = (a b / C + 1) ** 3

It is unbiased for few pictures, which the Frechet distance is not: that one asks for thousands, and is not given.
Results of one person are not compared with each other: they are alike, and no more real for it. So each person has a
share of the figure, and its interval is over people, as all others are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fetfast.evaluate import emotion
from fetfast.evaluate.figures import Record
from fetfast.evaluate.setup import Person, Setup

NET = "facex"
UNIT = 1000.0  # KID is given in thousandths


def run(setup: Setup, drivers: list[Person], photographs: list[Person]) -> Iterator[Record]:
    """Everybody driven by each of the drivers, against photographs of others."""
    read = emotion.features(NET)
    shown = {person.name for person in setup.people}
    real = np.stack([read(p.frame, p.M) for p in setup.bar(photographs, "realism: photographs") if p.name not in shown])
    for method, transfer in setup.methods.items():
        if method == "driver":  # photographs themselves
            continue
        found = {}
        for person in setup.bar(setup.people, f"realism: {method}"):
            results = [person.frame] if method == "copy" else [transfer(person, d.face, d.frame) for d in drivers]
            found[person.name] = np.stack([read(result, person.M) for result in results])
        for name, share in shares(found, real).items():
            yield Record(f"KID x 1000, {NET}", method, name, UNIT * share)


def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[N, M] of features [N, C] and [M, C]."""
    return np.asarray((a.astype(np.float64) @ b.T / a.shape[1] + 1) ** 3)


def shares(found: dict[str, np.ndarray], real: np.ndarray) -> dict[str, float]:
    """Of each person's features [N, C], against those of photographs [M, C], what it adds to KID: the mean of all is
    the figure."""
    among = kernel(real, real)
    others = (among.sum() - np.trace(among)) / (len(real) * (len(real) - 1))
    out = {}
    for name, mine in found.items():
        rest = [features for other, features in found.items() if other != name]
        if rest:
            alike = np.mean([kernel(mine, features).mean() for features in rest])
            out[name] = float(alike + others - 2 * kernel(mine, real).mean())
    return out
