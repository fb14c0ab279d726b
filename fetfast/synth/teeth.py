"""Where the front teeth stand, as weighted means of the landmarks: the table that `ops/teeth.py` reads.

    fetfast make teeth --facekit ict_facekit_f16.npz -o teeth.npy

Ridge regression over pictures of the morphable model: random identities, expressions, heads and cameras, as crops show
them, each under two expressions; takes three minutes. People's teeth hang lower than the model's by `facekit.HANG`;
`--portraits FOLDER` measures, instead, what is left of that on photos of people who are trained on.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from fetfast import image
from fetfast.errors import BadInput
from fetfast.face import Landmarker, crop_matrix, to_crop
from fetfast.files import written
from fetfast.image import Frame
from fetfast.ops.crop import crop
from fetfast.ops.teeth import JAWS, LOWER, LOWER_LIP, POINTS, UPPER, UPPER_LIP, teeth
from fetfast.spec import LANDMARKS
from fetfast.synth.expression import mirror_points, random_expression
from fetfast.synth.facekit import Facekit
from fetfast.synth.fit import SKIN
from fetfast.synth.portrait_dataset import PICTURES, held_out
from fetfast.synth.rendered_dataset import NOBODY, SPREAD, random_pose
from fetfast.synth.teeth_geometry import corners
from fetfast.synth.workers import pool

NOISE = 0.0015  # crop sides: how wrong a landmark may be, which keeps the weights small
TURNED = 0.03  # radians: how the head may turn meanwhile
SEEDS, FACES = 17, 200
PARTED, FINE = 0.04, 512  # crop sides between lips that show teeth, and pixels of a crop that is measured


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


def hang(frame: Frame, landmarks: np.ndarray) -> float:
    """By how many crop sides the upper front teeth of a photo u8 [H, W, 3] end lower than `ops.teeth` has them; NaN
    where the lips are hardly parted. What ends is where green, which lips and shadow lack, falls most below its peak:
    the median over columns of the four middle teeth. landmarks: f32 [478, 3], frame pixels."""
    M = crop_matrix(landmarks)
    points = to_crop(landmarks[:, :2], M).astype(np.float32)
    if points[LOWER_LIP[5], 1] - points[UPPER_LIP[5], 1] < PARTED:
        return float("nan")
    bite = teeth(points[None], points[None])[0][0, JAWS[0][0]]
    green = gaussian_filter(crop(frame, M, FINE)[1], (FINE / 340, FINE / 512))
    ends = []
    for x in np.linspace(bite[3, 0], bite[7, 0], 17):
        high, low, drawn = (np.interp(x, *row.T) for row in (points[list(UPPER_LIP)], points[list(LOWER_LIP)], bite))
        rows = slice(int(high * FINE), int((low + PARTED / 4) * FINE))
        column = green[rows, int(x * FINE)]
        peak = column.argmax()
        ends.append((rows.start + peak + np.diff(column[peak:], append=column[-1]).argmin()) / FINE - drawn)
    return float(np.median(ends))


def measure(portraits: Path) -> tuple[float, int]:
    """The median of `hang` over the portraits that are trained on, and of how many. Raises BadInput where none shows
    teeth."""
    landmarker, found = Landmarker(), []
    for file in sorted(p for p in portraits.glob("*") if p.suffix.lower() in PICTURES and not held_out(p)):
        frame = image.load(file)
        found += [hang(frame, face.landmarks) for face in landmarker.detect(frame)[:1]]
    shown = np.array(found)[np.isfinite(found)]
    if not shown.size:
        raise BadInput(f"measure(): nobody in {portraits} shows teeth; give a folder of portraits, some of which smile")
    return float(np.median(shown)), len(shown)


def make(facekit: Path, output: Path) -> None:
    """Writes the table, an .npy file. Raises BadInput, MissingAsset."""
    kit = model(facekit)
    with pool(None) as run:
        seen = list(tqdm(run.map(partial(faces, facekit), range(SEEDS)), total=SEEDS, desc="teeth", disable=None))
    both = np.concatenate([*seen, *(mirrored(kit, part) for part in seen)])
    with written(output) as file:
        np.save(file, weights(both).astype(np.float16))
