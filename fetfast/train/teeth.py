"""Where the front teeth stand, as weighted means of the landmarks: the table that `ops/teeth.py` reads.

    python -m fetfast.train.teeth --facekit ict_facekit_f16.npz -o teeth.npy

Ridge regression over pictures of the morphable model: random identities, expressions, heads and cameras, as crops show
them; takes three minutes.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from fetfast.ops.teeth import POINTS
from fetfast.spec import LANDMARKS
from fetfast.train.facekit import Facekit
from fetfast.train.synth.expression import random_expression
from fetfast.train.synth.jaws import corners
from fetfast.train.synth.rendered import NOBODY, SPREAD, random_pose

SKIN = 468  # the landmarks before the irises
NOISE = 0.002  # crop sides: how wrong a landmark may be, which keeps the weights small
FACES = 3000


def weights(kit: Facekit) -> np.ndarray:
    """f32 [40, 478]: times the landmarks, the teeth's points as `ops.teeth` orders them. Rows sum to 1."""
    rows = np.concatenate([kit.landmark_vertices[:SKIN], corners(kit).ravel()])
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


@click.command(help=__doc__)
@click.option("--facekit", type=click.Path(path_type=Path), required=True, help="ICT-FaceKit's folder or the npz.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(facekit: Path, output: Path) -> None:
    np.save(output, weights(Facekit.open(facekit)).astype(np.float16))


if __name__ == "__main__":
    main()
