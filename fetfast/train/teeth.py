"""Where the front teeth stand, as weighted means of the landmarks: the table that `ops/teeth.py` reads.

    python -m fetfast.train.teeth --facekit ict_facekit_f16.npz -o teeth.npy

Ridge regression over pictures of the morphable model: random identities, expressions, heads and cameras, as crops show
them, each under two expressions; takes three minutes.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from fetfast.ops.teeth import LOWER, POINTS, UPPER
from fetfast.spec import LANDMARKS
from fetfast.train.facekit import Facekit
from fetfast.train.synth.expression import mirror_points, random_expression
from fetfast.train.synth.fit import SKIN
from fetfast.train.synth.jaws import corners
from fetfast.train.synth.rendered import NOBODY, SPREAD, random_pose
from fetfast.train.synth.workers import pool

NOISE = 0.0015  # crop sides: how wrong a landmark may be, which keeps the weights small
TURNED = 0.03  # radians: how the head may turn meanwhile
SEEDS, FACES = 17, 200


model = cache(Facekit.open)


def faces(facekit: Path, seed: int) -> np.ndarray:
    """f64 [FACES, 2, 468 + 40, 2]: landmarks and teeth's points of people under two expressions, target and driven."""
    kit = model(facekit)
    rows = np.concatenate([kit.landmark_vertices[:SKIN], corners(kit).ravel()])
    rng = np.random.default_rng(seed)
    seen = np.empty((FACES, 2, len(rows), 2))
    for face in seen:
        identity = rng.normal(0, SPREAD, len(kit.identities))
        target, driven = (kit.shape(identity, random_expression(kit, NOBODY, rng)) for _ in range(2))
        pose = random_pose(kit, target, rng)
        face[0] = pose.project(pose.place(target[rows]))[:, :2]
        pose = pose.turned(*rng.normal(0, TURNED, 2))
        face[1] = pose.project(pose.place(driven[rows]))[:, :2]
    teeth = seen[:, :, SKIN:].reshape(FACES, 2, POINTS, 2, 2).mean(3)
    return np.concatenate([seen[:, :, :SKIN], teeth], 2)


def mirrored(kit: Facekit, seen: np.ndarray) -> np.ndarray:
    """`faces` with left and right exchanged."""
    rows = np.split(np.arange(SKIN, SKIN + POINTS), np.cumsum([UPPER + 1, UPPER + 1, LOWER + 1]))
    other = np.concatenate([mirror_points(kit)[:SKIN], *(row[::-1] for row in rows)])
    return seen[:, :, other] * (-1, 1)


def weights(seen: np.ndarray) -> np.ndarray:
    """f32 [40, 2 * 478] of `faces`: times the landmarks, driven and target, the teeth's points as `ops.teeth` orders
    them. The first half's rows sum to 1, the second's to 0."""
    seen = seen - seen[:, :, :SKIN].mean(2, keepdims=True)
    target, driven = (seen[:, n, :SKIN].swapaxes(1, 2).reshape(-1, SKIN) for n in range(2))
    points = np.hstack([driven, target])
    teeth = seen[:, 1, SKIN:].swapaxes(1, 2).reshape(-1, POINTS)
    ridge = len(points) * NOISE**2 * np.eye(2 * SKIN)
    found = np.linalg.solve(points.T @ points + ridge, points.T @ teeth).T.reshape(POINTS, 2, SKIN)
    found += (np.array([[1], [0]]) - found.sum(2, keepdims=True)) / SKIN  # moved with the driven face's middle
    return np.pad(found, ((0, 0), (0, 0), (0, LANDMARKS - SKIN))).reshape(POINTS, -1).astype(np.float32)


@click.command(help=__doc__)
@click.option("--facekit", type=click.Path(path_type=Path), required=True, help="ICT-FaceKit's folder or the npz.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(facekit: Path, output: Path) -> None:
    with pool(None) as run:
        seen = list(tqdm(run.map(partial(faces, facekit), range(SEEDS)), total=SEEDS, desc="teeth", disable=None))
    both = np.concatenate([*seen, *(mirrored(model(facekit), part) for part in seen)])
    np.save(output, weights(both).astype(np.float16))


if __name__ == "__main__":
    main()
