"""Draws random expressions; tables that exchange left and right."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from fetfast.spec import BLENDSHAPES
from fetfast.synth.basis import IRISES
from fetfast.synth.facekit import Facekit
from fetfast.synth.fit import SKIN

# How strong a mode may get, where less than 1; a stem that is absent is never drawn.
STRENGTH = {
    "browDown": 1.0, "browInnerUp": 1.0, "browOuterUp": 1.0, "cheekPuff": 0.7, "cheekSquint": 1.0, "eyeSquint": 1.0,
    "eyeWide": 1.0, "jawForward": 0.5, "jawLeft": 0.5, "jawOpen": 0.9, "jawRight": 0.5, "mouthDimple": 0.8,
    "mouthFrown": 1.0, "mouthFunnel": 0.9, "mouthLeft": 0.6, "mouthLowerDown": 0.9, "mouthPress": 0.8,
    "mouthPucker": 1.0, "mouthRight": 0.6, "mouthRollLower": 0.7, "mouthRollUpper": 0.7, "mouthShrugLower": 0.7,
    "mouthShrugUpper": 0.7, "mouthSmile": 1.0, "mouthStretch": 0.9, "mouthUpperUp": 0.9, "noseSneer": 0.9,
}  # fmt: skip
# What a smile that shows teeth is made of, from ... to. Users want it most, and a few modes by chance rarely make one.
SMILE = {
    "mouthSmile": (0.4, 1.0), "mouthUpperUp": (0.2, 0.8), "mouthLowerDown": (0.0, 0.8), "jawOpen": (0.0, 0.35),
    "cheekSquint": (0.0, 0.8), "eyeSquint": (0.0, 0.6), "mouthDimple": (0.0, 0.3),
}  # fmt: skip
SMILES, CLENCHED = 0.2, 0.5  # of the expressions, and of these with the jaws closed
BLINKS, WINKS, FULL = 0.18, 0.07, 0.5  # of the expressions, and of these with the lids wholly shut
OFTEN = ("jawOpen", "mouthSmile", "browInnerUp", "browDown")  # drawn as often again


def random_expression(kit: Facekit, donors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random coefficients f32 [53]: now and then a smile that shows teeth; a third of the other times those of one
    of `donors` [D, 53], if any, scaled; else a few modes, mostly alike on both sides. Blinks and gaze are laid over
    each."""
    if rng.random() < SMILES:
        out = smile(kit, rng)
    elif len(donors) and rng.random() < 1 / 3:
        out = donors[rng.integers(len(donors))] * rng.uniform(0.7, 1.25)
    else:
        out = sparse(kit, rng)
        if len(donors) and rng.random() < 0.5:
            out = np.maximum(out, donors[rng.integers(len(donors))] * rng.uniform(0, 0.6))
    lids, looks = kit.index("eyeBlink"), kit.index("eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeLookDown")
    wide, chance = kit.index("eyeWide"), rng.random()
    out[lids] *= 1 - np.minimum(out[wide], 1)
    if chance < BLINKS + WINKS:
        closing = np.arange(2) if chance < BLINKS else rng.integers(2, size=1)
        out[lids[closing]] = 1 if rng.random() < FULL else rng.uniform(0.3, 1)
        out[wide[closing]] *= 1 - out[lids[closing]]
    out[looks] = 0
    yaw, pitch = rng.normal(0, (0.3, 0.2)) * (rng.random() < 0.6)
    for side, outward in (("L", 1), ("R", -1)):
        out[kit.index(f"eyeLookOut_{side}" if yaw * outward > 0 else f"eyeLookIn_{side}")] = abs(yaw)
        out[kit.index(f"eyeLookUp_{side}" if pitch > 0 else f"eyeLookDown_{side}")] = abs(pitch)
    return np.clip(out, 0, 1).astype(np.float32)


def smile(kit: Facekit, rng: np.random.Generator) -> np.ndarray:
    """A smile that shows teeth, a little stronger on one side."""
    out = np.zeros(len(kit.expression_names))
    for stem, (low, high) in SMILE.items():
        modes = kit.index(stem)
        out[modes] = rng.uniform(low, high) * rng.uniform(0.85, 1, len(modes))
    if rng.random() < CLENCHED:
        out[kit.index("jawOpen")] = 0
    return out


def sparse(kit: Facekit, rng: np.random.Generator) -> np.ndarray:
    """One to seven modes of random strength, each for both sides or, now and then, more on one."""
    out = np.zeros(len(kit.expression_names))
    stems = [*STRENGTH, *OFTEN]
    for stem in rng.choice(stems, rng.integers(1, 8)):
        modes = kit.index(str(stem))
        amount = STRENGTH[str(stem)] * rng.beta(1.2, 1.2)
        out[modes] = amount
        if len(modes) == 2 and rng.random() < 0.2:
            out[rng.choice(modes)] *= rng.random()
    if rng.random() < 0.15:  # lips that close over an open jaw
        out[kit.index("mouthClose")] = out[kit.index("jawOpen")] * rng.random()
    return out


def mirror_points(kit: Facekit) -> np.ndarray:
    """i64 [478]: the landmark on the other side of the face."""
    points = kit.neutral[kit.landmark_vertices[:SKIN]]
    away = ((points[:, None] * (-1, 1, 1) - points[None]) ** 2).sum(2)
    out = np.arange(478)
    for here, there in enumerate(linear_sum_assignment(away + away.T)[1]):
        if out[here] == here and out[there] == there:  # two landmarks may share a vertex: still pairs
            out[here], out[there] = there, here
    right, left = (np.arange(478)[IRISES[side]] for side in ("Right", "Left"))
    swapped = [0, 3, 2, 1, 4]  # of the rim, the picture's right and left
    out[right], out[left] = left[swapped], right[swapped]
    return out


def mirror_blendshapes() -> np.ndarray:
    """i64 [52]: the blendshape of the other side."""
    other = {"Left": "Right", "Right": "Left"}
    names = [next((n.removesuffix(s) + o for s, o in other.items() if n.endswith(s)), n) for n in BLENDSHAPES]
    return np.array([BLENDSHAPES.index(n) for n in names])
