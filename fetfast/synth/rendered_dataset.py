"""Makes training pairs of rendered people who do not exist: the morphable model under random materials and light.

    fetfast synth --facekit ict_facekit_f16.npz -o PAIRS

A person is an identity, a skin, lips, brows, hair and glasses drawn from (seed, person); light, background and pose are
the pair's own. The rows of a group share e2, as those of portraits do (`portrait_dataset.py`); the landmarks are exact.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from fetfast.face import crop_matrix
from fetfast.synth.appearance import Appearance, random_appearance
from fetfast.synth.basis import iris
from fetfast.synth.camera import Pose, eyeballs, rotation_matrix, rotation_vector
from fetfast.synth.expression import random_expression
from fetfast.synth.expression_groups import expression_groups, group_of
from fetfast.synth.face_submesh import iris_rows
from fetfast.synth.facekit import Facekit
from fetfast.synth.fit import SKIN
from fetfast.synth.labels import LABELS, classify
from fetfast.synth.materials import Charts
from fetfast.synth.occlude import OCCLUDED, occlude
from fetfast.synth.portrait import gaze_of
from fetfast.synth.portrait_dataset import held_out
from fetfast.synth.regions import REGIONS
from fetfast.synth.render import render
from fetfast.synth.workers import fill, pool

PAIRS_EACH = 8  # of a person
SPREAD = 0.8  # standard deviation of identity coefficients; at 1 some faces are no longer credible
TURN = np.array([0.25, 0.15])  # of yaw and pitch, radians
FARTHEST = np.array([0.6, 0.35])
NOBODY = np.zeros((0, 53), np.float32)  # whose expressions might be borrowed


@dataclass(frozen=True)
class Person:
    """A random identity: shape f32 [N, 3] without expression, and appearance."""

    shape: np.ndarray
    appearance: Appearance


@cache
def open_model(facekit: Path) -> tuple[Facekit, Charts]:
    """The model, read once per process."""
    kit = Facekit.open(facekit)
    return kit, Charts.of(kit)


def person(kit: Facekit, seed: int, number: int) -> Person:
    """Draws an identity; the same for the same seed and number."""
    rng = np.random.default_rng([seed, number, 3])
    identity = rng.normal(0, SPREAD, len(kit.identities))
    return Person(kit.shape(identity, np.zeros(len(kit.expression_names))), random_appearance(rng))


def landmarks(kit: Facekit, shape: np.ndarray, gaze: np.ndarray, pose: Pose) -> np.ndarray:
    """f32 [478, 2] of a shape that looks as `gaze` says, on the pose's screen."""
    points = np.empty((478, 3), np.float32)
    points[:SKIN] = shape[kit.landmark_vertices[:SKIN]]
    here, there = eyeballs(kit, shape)[0], eyeballs(kit, kit.neutral)[0]
    for side, (rows, (yaw, pitch)) in enumerate(zip(iris_rows(), gaze, strict=True)):
        turn = rotation_matrix(np.array([0, yaw, 0])) @ rotation_matrix(np.array([-pitch, 0, 0]))
        points[rows] = here[side] + (iris(kit, ("Left", "Right")[side]) - there[side]) @ turn.T
    return pose.project(pose.place(points))[:, :2]


def random_pose(kit: Facekit, shape: np.ndarray, rng: np.random.Generator) -> Pose:
    """A camera, 60 to 160 cm away, whose picture is the crop that `crop_matrix` takes of this shape; crop units."""
    yaw, pitch = np.clip(rng.normal(0, TURN), -FARTHEST, FARTHEST)
    away = np.array([0, 0, -rng.uniform(60, 160)])
    start = Pose(np.zeros(3), away, 1000.0, (0.0, 0.0)).turned(yaw, pitch)
    M = crop_matrix(landmarks(kit, shape, np.zeros((2, 2)), start)).astype(np.float64)
    scale, roll = np.hypot(*M[:, 0]), np.arctan2(M[1, 0], M[0, 0])
    level = rotation_matrix(np.array([0, 0, roll]))
    x, y = np.linalg.solve(M[:, :2], -M[:, 2])
    return Pose(rotation_vector(level @ rotation_matrix(start.rotation)), away, start.focal / scale, (x, y))


def pair(
    kit: Facekit, charts: Charts, who: Person, wanted: np.ndarray, size: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One pair of this person, with expression coefficients `wanted` f32 [53] in the truth; see `train/data.py`."""
    at_hand = random_appearance(rng)
    appearance = replace(
        who.appearance, light=at_hand.light, key=at_hand.key, ambient=at_hand.ambient, background=at_hand.background
    )
    first = random_expression(kit, NOBODY, rng)
    pose = random_pose(kit, kit.express(who.shape, first), rng)
    screen = Pose(pose.rotation, pose.translation, pose.focal * size, (pose.center[0] * size, pose.center[1] * size))
    made: dict[str, np.ndarray] = {}
    for expression, image, points, shapes in (
        (first, "target", "target_points", "target_blendshapes"),
        (wanted, "truth", "driven_points", "source_blendshapes"),
    ):
        shape, gaze = kit.express(who.shape, expression), gaze_of(kit, expression)
        made[image], made["mask"] = render(kit, charts, shape, gaze, screen, appearance, size)
        made[points] = landmarks(kit, shape, gaze, pose)
        made[shapes] = expression @ kit.to_blendshapes
    made["label"] = np.array(classify(made["source_blendshapes"]))
    if rng.random() < OCCLUDED:
        occlude(made, rng)
    return made


def generate(
    facekit: Path, folder: Path, count: int, size: int = 256, seed: int = 0, workers: int | None = None
) -> dict[str, Any]:
    """Write `count` pairs with pictures of size x size to `folder`, as `train/data.py` reads them.

    facekit: ICT-FaceKit's folder or the packed npz. workers: processes; None: one for each core. Returns how many
    pairs, identities and seconds, and `rate`: pairs a second of one core's time. Raises MissingAsset and BadInput.
    """
    from fetfast.train import data

    people = max(1, count // PAIRS_EACH)
    kept = [n for n in range(people) if held_out(Path(f"identity {n}"))]
    about = {
        "seed": seed, "facekit": facekit.name, "identities": people, "held_out": kept, "regions": REGIONS,
        "labels": LABELS,
    }  # fmt: skip
    Facekit.open(facekit)  # so that a file that is no model is told before a process starts
    arrays = data.create(folder, count, size, about, ("source", "mask", "label"))
    arrays["source"][:] = expression_groups(count, people, kept, seed)
    with pool(workers) as run:
        made = fill(run, partial(fill_rows, facekit, folder, size, seed, people), people, count)
    return made | {"identities": people}


def fill_rows(facekit: Path, folder: Path, size: int, seed: int, people: int, number: int) -> float:
    """Make all pairs of one person; returns the seconds of processor time that they took."""
    kit, charts = open_model(facekit)
    arrays = {p.stem: np.load(p, mmap_mode="r+", allow_pickle=False) for p in folder.glob("*.npy")}
    start = time.process_time()
    who = person(kit, seed, number)
    for row in range(number, len(arrays["person"]), people):
        group = group_of(arrays["source"], row)
        wanted = random_expression(kit, NOBODY, np.random.default_rng([seed, group[0], 1]))
        for name, value in pair(kit, charts, who, wanted, size, np.random.default_rng([seed, row])).items():
            arrays[name][row] = value
        arrays["person"][row] = number
    return time.process_time() - start
