"""The weights of family `flow`, taken from the morphable model. Needs no PyTorch and no data; takes a second.

    fetfast make basis --facekit ict_facekit_f16.npz -o W.safetensors
    fetfast build flow --weights W.safetensors --precision fp32 -o flow_fp32.plan

The file holds `fuse.basis` f32 [52, 478, 3] and `fuse.camera` f32 [3, 478]; `models/flow.py` says what they mean.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fetfast.errors import MissingAsset
from fetfast.files import written
from fetfast.spec import BLENDSHAPES, LANDMARKS
from fetfast.synth.facekit import Facekit

LIDS_AND_SKIN = 468  # the landmarks before the irises
IRISES = {"Right": slice(468, 473), "Left": slice(473, 478)}  # centre, then its rim: image right, up, left, down
IRIS_RADIUS = 0.59  # cm; 11.8 mm across, which varies little between people
# Degrees that the eyeball turns at blendshape 1. With the model's own landmarks, turned by 20 degrees any way, the
# blendshape network reads 0.63 to 0.72.
LOOK = 30.0


def basis(kit: Facekit) -> np.ndarray:
    """f32 [52, 478, 3]: how far a unit of each blendshape moves each landmark of the mean face, cm.

    A blendshape that the model splits into left and right drives both. The model's eyeLook modes move lids only: here
    they turn the iris too, as a point of the eyeball.
    """
    vertices = kit.landmark_vertices[:LIDS_AND_SKIN]
    joined = (kit.to_blendshapes > 0).astype(np.float32)  # [53, 52]
    out = np.zeros((len(BLENDSHAPES), LANDMARKS, 3), np.float32)
    out[:, :LIDS_AND_SKIN] = np.einsum("me,mkc->ekc", joined, kit.expressions[:, vertices])
    for side, rows in IRISES.items():
        arm = iris(kit, side) - eyeball(kit, side)[0]
        nose = -1 if side == "Left" else 1
        ways = {"In": (nose, 0, 0), "Out": (-nose, 0, 0), "Up": (0, 1, 0), "Down": (0, -1, 0)}
        for way, direction in ways.items():
            axis = np.cross((0, 0, 1), direction)
            out[BLENDSHAPES.index(f"eyeLook{way}{side}"), rows] = np.radians(LOOK) * np.cross(axis, arm)
    return out


def camera(kit: Facekit) -> np.ndarray:
    """f32 [3, 478]: the matrix that, times landmarks [478, 2], gives the affine camera [3, 2]: the pseudo-inverse of
    the mean face. The irises, which gaze moves, have no say."""
    skin = kit.neutral[kit.landmark_vertices[:LIDS_AND_SKIN]]
    out = np.zeros((3, LANDMARKS), np.float32)
    out[:, :LIDS_AND_SKIN] = np.linalg.pinv(skin - skin.mean(axis=0))
    return out


def eyeball(kit: Facekit, side: str) -> tuple[np.ndarray, float]:
    """Centre [3] and radius of the sphere through an eyeball's vertices."""
    vertices = kit.neutral[kit.parts(f"Iris{side}")].astype(np.float64)
    system = np.c_[2 * vertices, np.ones(len(vertices))]
    *centre, rest = np.linalg.lstsq(system, np.square(vertices).sum(1), rcond=None)[0]
    return np.array(centre, np.float32), float(np.sqrt(rest + np.square(centre).sum()))


def iris(kit: Facekit, side: str) -> np.ndarray:
    """f32 [5, 3] the iris landmarks of an eye that looks straight ahead."""
    centre, radius = eyeball(kit, side)
    flat = IRIS_RADIUS * np.array([(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)])
    return (centre + np.c_[flat, np.sqrt(radius**2 - np.square(flat).sum(1))]).astype(np.float32)


def origin(facekit: Path) -> dict[str, str]:
    """What a plan says of where its weights come from; the model's licence asks to be kept with what is made of it."""
    out = {"command": f"fetfast make basis --facekit {facekit.name}", "model": "ICT-FaceKit"}
    if facekit.is_file():
        with np.load(facekit, allow_pickle=False) as archive:
            return out | {name: str(archive[name]) for name in ("licence", "commit") if name in archive}
    for folder in (facekit, facekit.parent):
        if (folder / "LICENSE").is_file():
            return out | {"licence": (folder / "LICENSE").read_text()}
    raise MissingAsset(f"no LICENSE in {facekit} or above it, where ICT-FaceKit has it; it goes into the weights file")


def make(facekit: Path, output: Path) -> None:
    """Writes the weights of family `flow`, a .safetensors file. Raises BadInput, MissingAsset."""
    from safetensors.numpy import save

    kit, about = Facekit.open(facekit), {"provenance": origin(facekit)}
    tensors = {"fuse.basis": basis(kit), "fuse.camera": camera(kit)}
    with written(output) as file:
        file.write_bytes(save(tensors, {"fetfast": json.dumps(about)}))
