"""The weights of the retarget stage: solved for, not descended to.

    fetfast make retarget --facekit ict_facekit_f16.npz --data PAIRS --portraits FOLDER -o W.safetensors

`read` is the least-squares map from what the landmarker reads to exact coefficients, of

    within   changes between the two ends of a pair: one person, so that nothing of their face is in the way
    across   changes between ends of two persons, counted ACROSS as much: so that little of who they are is taken for an
             expression
    acted    one action at a time (`acting.py`), counted ACTED times
    turned   heads that turn and do nothing else, counted POSED times

each mirrored as well, which makes the map symmetric. Least squares dare too little where readings are poor; so columns
are scaled afterwards, stem by stem, until one action at a time comes over by WANTED of its motion, as far as MOST lets.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from fetfast.errors import BadInput
from fetfast.face import Face, Landmarker, crop_matrix, to_crop
from fetfast.face.gaze import conjugate
from fetfast.files import written
from fetfast.models.flow import E
from fetfast.models.retarget import BLINKS, LIDS, RIGID, WIDES, Retarget, within
from fetfast.plan import KEY, SHIPPED, Plan
from fetfast.spec import BLENDSHAPES, LANDMARKS
from fetfast.synth.acting import acted
from fetfast.synth.basis import IRISES, origin
from fetfast.synth.camera import Pose
from fetfast.synth.expression import mirror_blendshapes, mirror_points, random_expression
from fetfast.synth.face_submesh import FaceSubmesh
from fetfast.synth.facekit import Facekit
from fetfast.train.data import READINGS, Pairs

ACROSS, ACTED, POSED = 0.3, 10.0, 30.0
TURNED, TURN, SHAPE = 2000, (0.15, 0.12, 0.05), 0.8  # heads; radians of yaw, pitch, roll and identities: deviation
EYES = ((33, 133, 159, 145), (263, 362, 386, 374))  # landmarks about each iris
NOISE = 0.05  # of a landmark, cm, and of a blendshape: what the map is kept from listening to
DEAF = 1e4  # the same of the lids' edges, which have their own rule and shall move nothing else
WANTED, MOST, LEAST = 1.0, 2.5, 0.7
ROUNDS, STEP = 14, 0.4  # of the scaling: each goes so far towards what is missing, as a power of it

Array = NDArray[np.float64]


def blank() -> Retarget:
    """The stage with the geometry of family `flow`, which is the morphable model's, and a map that reads nothing."""
    weights = Plan.open(SHIPPED / "flow_fp32.plan").stage_weights("fuse")
    weights = {name: np.array(value) for name, value in weights.items()}
    mean = np.linalg.pinv(weights["camera"].astype(np.float64))  # a pseudo-inverse of one: the mean face, centred
    for eye, iris in zip(EYES, (slice(468, 473), slice(473, 478)), strict=True):
        mean[iris] = mean[list(eye)].mean(0)
    mean -= mean[list(RIGID)].mean(0)
    rigid = np.zeros((3, LANDMARKS))
    rigid[:, list(RIGID)] = np.linalg.pinv(mean[list(RIGID)])
    module = Retarget()
    looks = [n for n, name in enumerate(BLENDSHAPES) if name.startswith("eyeLook")]
    weights["basis"][looks, : IRISES["Right"].start] = 0  # lids have their own rule
    weights["basis"][list(BLINKS), :, 0] = 0  # the lower lid's slip towards the nose, which no landmarker sees
    values = {**weights, "face": mean, "rigid": rigid, "read": np.zeros((2 * LANDMARKS + E, E)), "bias": np.zeros(E)}
    module.load_state_dict({name: torch.tensor(np.asarray(value, np.float32)) for name, value in values.items()})
    return module


def readings(pairs: Pairs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Landmarks f32 [N, 2, 478, 2], crop units, and blendshapes f32 [N, 2, 52] that the landmarker reads off target and
    truth, NaN where it sees no face; kept in the pairs' folder."""
    file = pairs.folder / READINGS
    if not file.exists():
        landmarker, arrays = Landmarker(threads=1), pairs.arrays
        points = np.full((len(arrays["person"]), 2, LANDMARKS, 2), np.nan, np.float32)
        blendshapes = np.full((*points.shape[:2], E), np.nan, np.float32)
        for row in tqdm(range(len(points)), "read", disable=None, leave=False):
            for end, (image, where) in enumerate((("target", "target_points"), ("truth", "driven_points"))):
                frame = np.array(arrays[image][row])
                landmarks = np.pad(arrays[where][row] * len(frame), ((0, 0), (0, 1))).astype(np.float32)
                face = landmarker.track(frame, Face(landmarks, np.zeros(E, np.float32), 1.0))
                if face is not None:
                    points[row, end], blendshapes[row, end] = face.landmarks[:, :2] / len(frame), face.blendshapes
        with written(file) as aside, aside.open("wb") as stream:
            np.savez(stream, points=points, blendshapes=blendshapes)
    with np.load(file, allow_pickle=False) as found:
        return found["points"], found["blendshapes"]


def features(module: Retarget, pairs: Pairs) -> Array:
    """[N, 2, 956 + 52] of target and truth, NaN where no face was seen."""
    ends = []
    for points, blendshapes in zip(*(r.swapaxes(0, 1) for r in readings(pairs)), strict=True):
        with torch.no_grad():
            ends.append(module.features(torch.tensor(points), torch.tensor(conjugate(blendshapes))).numpy())
    return np.stack(ends, 1).astype(np.float64)


def exact(pairs: Pairs) -> Array:
    """[N, 2, 52] the coefficients of target and truth; NaN where they were read off a photo, not set."""
    both = np.stack([pairs.arrays["target_blendshapes"], pairs.arrays["source_blendshapes"]], 1).astype(np.float64)
    both[both[..., 0] > 0] = np.nan  # `_neutral`, which no mode of the model is
    return both


def turned(module: Retarget, kit: Facekit) -> Array:
    """[TURNED, 956 + 52]: what changes in the features of somebody who only turns the head: random shapes and
    expressions of the morphable model, seen from 60 to 160 cm."""
    rng = np.random.default_rng(0)
    skin = kit.landmark_vertices[: IRISES["Right"].start]
    identities, expressions = kit.identities[:, skin], kit.expressions[:, skin]
    points = np.empty((2, TURNED, LANDMARKS, 2), np.float32)
    for row in range(TURNED):
        shape = kit.neutral[skin] + np.tensordot(rng.normal(0, SHAPE, len(identities)), identities, 1)
        shape = shape + np.tensordot(random_expression(kit, np.zeros((0, len(expressions))), rng), expressions, 1)
        shape = np.concatenate([shape, *(np.repeat(shape[list(eye)].mean(0)[None], 5, 0) for eye in EYES)])
        still = Pose(rng.normal(0, TURN), np.array([0, 0, -rng.uniform(60, 160)]), 4.0, (0.5, 0.5))
        for end, pose in enumerate((still, still.turned(*rng.normal(0, TURN)))):
            points[end, row] = pose.project(pose.place(shape.astype(np.float32)))[:, :2]
    nothing = torch.zeros(TURNED, E)
    with torch.no_grad():
        before, after = (module.features(torch.tensor(p), nothing).numpy().astype(np.float64) for p in points)
    return after - before


def usable(module: Retarget, pairs: Pairs, rows: NDArray[np.int64]) -> tuple[Array, Array]:
    """Features and coefficients of those of the rows whose ends are both seen and both known exactly."""
    seen, true = features(module, pairs)[rows], exact(pairs)[rows]
    known = np.isfinite(seen).all((1, 2)) & np.isfinite(true).all((1, 2))
    return seen[known], true[known]


@dataclass(frozen=True)
class Acts:
    """Readings f32 [A, 956 + 52] and coefficients [A, 52] at rest and under the action of each row."""

    names: list[str]
    before: Array
    after: Array
    rest: Array
    shown: Array

    @classmethod
    def of(cls, module: Retarget, facekit: Path, kit: Facekit, submesh: FaceSubmesh, portraits: Path) -> Acts:
        names, rows = [], []
        for name, *ends in acted(facekit, kit, submesh, portraits):
            names.append(name)
            rows.append([value for face, coefficients in ends for value in (_read(module, face), coefficients)])
        before, rest, after, shown = (np.stack(column) for column in zip(*rows, strict=True))
        return cls(names, before, after, rest, shown)


def _read(module: Retarget, face: Face) -> Array:
    points = to_crop(face.landmarks[:, :2], crop_matrix(face.landmarks)).astype(np.float32)
    with torch.no_grad():
        found = module.features(torch.tensor(points[None]), torch.tensor(conjugate(face.blendshapes[None])))
    return found[0].numpy().astype(np.float64)


def solve(
    module: Retarget,
    pairs: Pairs,
    acts: Acts,
    turns: Array,  # [N, 956 + 52] changes of features that mean nothing
    points: NDArray[np.int64],  # of each landmark the other side's
    shapes: NDArray[np.int64],  # of each blendshape
) -> None:
    """Sets `read` and `bias`."""
    seen, true = usable(module, pairs, pairs.training)
    if len(seen) < 2 * E:
        raise BadInput(f"{pairs.folder}: {len(seen)} pairs whose both ends are made, expected {2 * E} or more")

    def mirrored(x: Array) -> Array:
        flat = x[:, : 2 * LANDMARKS].reshape(-1, LANDMARKS, 2)[:, points] * (-1, 1)
        return np.concatenate([flat.reshape(len(x), -1), x[:, 2 * LANDMARKS :][:, shapes]], 1)

    rng = np.random.default_rng(0)
    others, at_rest = rng.permutation(len(seen)), rng.permutation(len(acts.names))
    square, product = np.zeros((seen.shape[-1],) * 2), np.zeros((seen.shape[-1], E))
    for x, y, share in (
        (seen[:, 1] - seen[:, 0], true[:, 1] - true[:, 0], 1.0),
        (seen[others, 1] - seen[:, 0], true[others, 1] - true[:, 0], ACROSS),
        (acts.after - acts.before, acts.shown - acts.rest, ACTED),
        (acts.before[at_rest] - acts.before, acts.rest[at_rest] - acts.rest, ACROSS * ACROSS * ACTED),
        (turns, np.zeros((len(turns), E)), POSED),
    ):
        for a, b in ((x, y), (mirrored(x), y[:, shapes])):
            square += share * a.T @ a
            product += share * a.T @ b
    heard = np.ones(seen.shape[-1], bool)
    heard[[2 * point + axis for eye in LIDS for edge in eye[:2] for point in edge for axis in (0, 1)]] = False
    square[np.diag_indices(len(square))] += 2 * len(seen) * np.where(heard, NOISE, DEAF) ** 2
    read = np.linalg.solve(square, product).astype(np.float64)
    bias = (true - seen @ read).mean((0, 1)).astype(np.float64)
    bias = (bias + bias[shapes]) / 2
    scale = scales(module, acts, read, bias)
    with torch.no_grad():
        module.read.copy_(torch.tensor(read * scale, dtype=torch.float32))
        module.bias.copy_(torch.tensor(bias * scale, dtype=torch.float32))


def scales(module: Retarget, acts: Acts, read: Array, bias: Array) -> Array:
    """[52]: by which columns are multiplied."""
    scale = np.ones(E)
    wanted = moves(module, acts.shown - acts.rest)
    for _ in range(ROUNDS):
        ends = (within(torch.tensor((x @ read + bias) * scale)).numpy() for x in (acts.before, acts.after))
        before, after = ends
        shown = moves(module, after - before)
        now = scale.copy()
        for stem, actions in OWN.items():
            rows = np.isin(acts.names, actions)
            size = (wanted[rows] ** 2).sum()
            if size > 0:
                share = max((shown[rows] * wanted[rows]).sum() / size, 0.1)
                own = [n for n, name in enumerate(BLENDSHAPES) if _stem(name) == stem]
                now[own] = np.clip(scale[own] * (WANTED / share) ** STEP, LEAST, MOST)
        scale = now
    return scale


def moves(module: Retarget, change: Array) -> Array:
    """[N, 478, 2] cm: where coefficients [N, 52] take the mean face's landmarks, the lids' own apart."""
    free = np.setdiff1d(np.arange(E), (*BLINKS, *WIDES))
    basis = module.basis.detach().numpy().astype(np.float64)
    return np.tensordot(change[:, free], basis[free], 1)[..., :2]


def _stem(name: str) -> str:
    return name.removesuffix("Left").removesuffix("Right")


# Of each stem the actions that it is scaled by: its own; `jaw` and `mouth` are what moves aside.
OWN = {_stem(name): [_stem(name)] for name in BLENDSHAPES} | {
    "jaw": ["jawLeft", "jawRight"], "mouth": ["mouthLeft", "mouthRight"],
    "eyeLookUp": ["gaze up"], "eyeLookDown": ["gaze down"],
    "eyeLookIn": ["gaze left", "gaze right"], "eyeLookOut": ["gaze left", "gaze right"],
}  # fmt: skip


def make(facekit: Path, data: Path, portraits: Path, output: Path) -> float:
    """Writes the stage's weights, a .safetensors file, and returns by how much of a motion those of people for
    validation are missed (root mean square). Raises BadInput, MissingAsset."""
    from safetensors.torch import save

    kit, pairs, module = Facekit.open(facekit), Pairs.open(data), blank()
    acts = Acts.of(module, facekit, kit, FaceSubmesh.of(kit), portraits)
    solve(module, pairs, acts, turned(module, kit), mirror_points(kit), mirror_blendshapes())
    command = f"fetfast make retarget --facekit {facekit.name} --data {data.name} --portraits {portraits.name}"
    tensors = {f"fuse.{name}": value.contiguous() for name, value in module.state_dict().items()}
    with written(output) as file:
        file.write_bytes(save(tensors, {KEY: json.dumps({"provenance": origin(facekit) | {"command": command}})}))
    return missed(module, pairs)


def missed(module: Retarget, pairs: Pairs) -> float:
    """Of motions of one person for validation, lids aside: the error's root mean square over the motion's."""
    seen, true = usable(module, pairs, pairs.validation)
    read, bias = (p.detach().numpy().astype(np.float64) for p in (module.read, module.bias))
    before, after = (within(torch.tensor(seen[:, end] @ read + bias)).numpy() for end in (0, 1))
    shown, wanted = moves(module, after - before), moves(module, true[:, 1] - true[:, 0])
    return float(np.sqrt(((shown - wanted) ** 2).sum() / (wanted**2).sum()))
