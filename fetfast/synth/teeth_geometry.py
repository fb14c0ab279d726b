"""The morphable model's teeth: which vertices are the points that `ops/teeth.py` draws, and what goes with them."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fetfast.ops.teeth import LOWER, UPPER
from fetfast.synth.facekit import Facekit

STAYS = 0.5  # cm: the upper jaw moves less as the mouth opens, the lower one more
CROWNS = {True: 1.0, False: 0.85}  # cm of an upper, a lower front tooth that the gums leave free
ARCH = 6.5  # cm: the z about which teeth stand in an arch
NEAR = 0.4  # cm: standard deviation of the Gaussians by which teeth and gums go with the points


def corners(kit: Facekit) -> np.ndarray:
    """i64 [40, 2]: the vertices whose middles are the points of `ops.teeth`, in its order."""
    return np.concatenate([row(kit, upper) for upper in (True, False)])


def carried(kit: Facekit, used: np.ndarray) -> np.ndarray:
    """f32 [N, 40] of the vertices used: how each goes with the points of its own jaw; teeth as the nearest do (the
    last molars, beyond three centimetres, less), gums the less the farther they are, skin not at all."""
    at, points = kit.neutral[used], kit.neutral[corners(kit)].mean(1)
    weight = np.exp(-((at[:, None] - points) ** 2).sum(2) / (2 * NEAR**2))
    weight *= is_upper(kit)[used][:, None] == (np.arange(len(points)) < 2 * (UPPER + 1))
    teeth, gums = kit.parts("Teeth")[used], kit.parts("GumsTongue")[used]
    weight /= weight.sum(1, keepdims=True) + np.where(teeth, 1e-12, 0.05)[:, None]
    return (weight * (teeth | gums)[:, None]).astype(np.float32)


def flanks(kit: Facekit) -> np.ndarray:
    """f32 [all vertices]: 0 in the middle of a tooth's width, 1 and more where it meets its neighbours."""
    out = np.zeros(len(kit.neutral), np.float32)
    for tooth in separate(kit):
        along = np.arctan2(kit.neutral[tooth, 0], kit.neutral[tooth, 2] - ARCH)
        low, high = np.quantile(along, (0.05, 0.95))
        out[tooth] = np.abs(2 * along - low - high) / (high - low)
    return out


def is_upper(kit: Facekit) -> np.ndarray:
    """bool [all vertices]: of the upper jaw, which stays where it is as the jaw opens."""
    (opens,) = kit.index("jawOpen")
    return (kit.expressions[opens].astype(np.float32) ** 2).sum(1) < STAYS**2


def row(kit: Facekit, upper: bool) -> np.ndarray:
    """i64 [2 (n + 1), 2]: vertices of the n front teeth of a jaw whose middles are the points between teeth, from the
    subject's right to the left: first along the biting edge, then along the gums."""
    count, sign = (UPPER, 1) if upper else (LOWER, -1)  # sign: from the biting edge towards the gums
    mine = is_upper(kit) == upper
    teeth = [tooth for tooth in separate(kit) if mine[tooth].all()]
    teeth = sorted(teeth, key=lambda tooth: -kit.neutral[tooth, 2].max())[:count]
    teeth = sorted(teeth, key=lambda tooth: kit.neutral[tooth, 0].mean())
    out = []
    for height in (0.0, CROWNS[upper]):
        sides = [[corner(kit.neutral, tooth, side, height, sign) for tooth in teeth] for side in (0.05, 0.95)]
        right, left = sides[0], sides[1]
        out += [(right[0], right[0]), *zip(left[:-1], right[1:], strict=True), (left[-1], left[-1])]
    return np.array(out)


def corner(neutral: np.ndarray, tooth: np.ndarray, side: float, height: float, sign: int) -> int:
    """The vertex nearest to that quantile of a tooth's width, `height` from its biting edge, on its front."""
    x, y, z = neutral[tooth].T
    bite = sign * (sign * y).min()
    cost = np.abs(y - (bite + sign * height)) + np.abs(x - np.quantile(x, side)) - 0.3 * (z - z.mean())
    return int(tooth[np.argmin(cost)])


def separate(kit: Facekit) -> list[np.ndarray]:
    """The vertices of each tooth: what triangles hold together."""
    enamel = np.flatnonzero(kit.parts("Teeth"))
    triangles = kit.triangles[np.isin(kit.triangles, enamel).all(1)]
    a, b = triangles[:, [0, 1]].ravel(), triangles[:, [1, 2]].ravel()
    joined = coo_matrix((np.ones(len(a)), (a, b)), shape=(len(kit.neutral),) * 2)
    label = connected_components(joined, directed=False)[1][enamel]
    return [enamel[label == tooth] for tooth in np.unique(label)]
