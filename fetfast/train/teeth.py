"""Where the front teeth stand, as weighted means of the landmarks: the table that `ops/teeth.py` reads.

    python -m fetfast.train.teeth --facekit ict_facekit_f16.npz -o teeth.npy

Ridge regression over pictures of the morphable model: random identities, expressions, heads and cameras, as crops show
them; takes three minutes.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fetfast.ops.teeth import LOWER, POINTS, UPPER
from fetfast.spec import LANDMARKS
from fetfast.train.facekit import Facekit
from fetfast.train.synth.expression import random_expression
from fetfast.train.synth.rendered import NOBODY, SPREAD, random_pose

SKIN = 468  # the landmarks before the irises
BITE = -3.3  # cm: the height at which the jaws meet
CROWNS = {True: 1.0, False: 0.85}  # cm of an upper, a lower front tooth that the gums leave free
NOISE = 0.002  # crop sides: how wrong a landmark may be, which keeps the weights small
FACES = 3000


def weights(kit: Facekit) -> np.ndarray:
    """f32 [40, 478]: times the landmarks, the teeth's points as `ops.teeth` orders them. Rows sum to 1."""
    corners = np.concatenate([row(kit, upper) for upper in (True, False)])  # [40, 2] vertices whose middle it is
    rows = np.concatenate([kit.landmark_vertices[:SKIN], corners.ravel()])
    rng = np.random.default_rng(0)
    seen = np.empty((FACES, len(rows), 2))
    for face in seen:
        identity, expression = rng.normal(0, SPREAD, len(kit.identities)), random_expression(kit, NOBODY, rng)
        shape = kit.shape(identity, expression)
        face[:] = (pose := random_pose(kit, shape, rng)).project(pose.place(shape[rows]))[:, :2]
    seen -= seen[:, :SKIN].mean(1, keepdims=True)
    skin = seen[:, :SKIN].swapaxes(1, 2).reshape(-1, SKIN)
    teeth = seen[:, SKIN:].reshape(FACES, POINTS, 2, 2).mean(2).swapaxes(1, 2).reshape(-1, POINTS)
    found = np.linalg.solve(skin.T @ skin + len(skin) * NOISE**2 * np.eye(SKIN), skin.T @ teeth).T
    found += (1 - found.sum(1, keepdims=True)) / SKIN  # moved with the face's middle, which was taken away
    return np.pad(found, ((0, 0), (0, LANDMARKS - SKIN))).astype(np.float32)


def row(kit: Facekit, upper: bool) -> np.ndarray:
    """i64 [2 (n + 1), 2]: vertices of the n front teeth of a jaw whose middles are the points between teeth, from the
    subject's right to the left: first along the biting edge, then along the gums."""
    count, sign = (UPPER, 1) if upper else (LOWER, -1)  # sign: from the biting edge towards the gums
    teeth = [tooth for tooth in separate(kit) if sign * kit.neutral[tooth, 1].mean() > sign * BITE]
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


@click.command(help=__doc__)
@click.option("--facekit", type=click.Path(path_type=Path), required=True, help="ICT-FaceKit's folder or the npz.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(facekit: Path, output: Path) -> None:
    np.save(output, weights(Facekit.open(facekit)).astype(np.float16))


if __name__ == "__main__":
    main()
