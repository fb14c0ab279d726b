"""The morphable model fitted to one face's landmarks: camera, identity, expression, gaze.

Gauss-Newton on the reprojection error with Gaussian priors, as in Blanz and Vetter (1999); expression coefficients are
pulled to the landmarker's blendshapes and kept within 0 ... 1. All points are in crop units.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fetfast import assets, image
from fetfast.errors import NoFace
from fetfast.face import Face, Landmarker, crop_matrix, to_crop
from fetfast.files import written
from fetfast.ops.face_mesh import EYES, LIPS, OVAL
from fetfast.synth.basis import IRISES, eyeball, iris
from fetfast.synth.camera import Pose, rotation_matrix, rotation_vector
from fetfast.synth.facekit import Facekit

SKIN = 468  # landmarks before the irises
IDENTITIES = 40  # modes fitted; landmarks say nothing of finer ones
FOCAL = 4.0  # crop sides: puts a head about 1 m away
ERROR = 0.004  # standard deviation of a landmark, crop sides
ERROR_EXPRESSION = 0.25  # of the landmarker's blendshapes
STEPS = 12
ROBUST_FROM, OUTLIER = 4, 3.0  # the step from which on, and the errors beyond which, a landmark counts little
VERSION = 1  # of what is kept in the cache


@dataclass(frozen=True)
class Fit:
    """One face. landmarks f32 [478, 2] crop units, blendshapes f32 [52] as read by the landmarker, M f32 [2, 3] from
    crop units to the picture's pixels; rotation, translation: see Pose, in crop units; identity f32 [40],
    expression f32 [53], gaze f32 [2, 2] (left, right) x (yaw, pitch) in radians."""

    landmarks: np.ndarray
    blendshapes: np.ndarray
    M: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    gaze: np.ndarray

    @property
    def pose(self) -> Pose:
        return Pose(self.rotation, self.translation, FOCAL, (0.5, 0.5))


def fit(kit: Facekit, face: Face) -> Fit:
    """Fit the model to a face as the landmarker reads it."""
    M = crop_matrix(face.landmarks)
    points = to_crop(face.landmarks[:, :2], M).astype(np.float64)
    vertices = kit.landmark_vertices[:SKIN]
    modes = np.concatenate([kit.identities[:IDENTITIES, vertices], kit.expressions[:, vertices]]).astype(np.float64)
    prior = np.concatenate([np.zeros(IDENTITIES), (kit.to_blendshapes > 0) @ face.blendshapes])
    strength = np.r_[np.ones(IDENTITIES), np.full(len(prior) - IDENTITIES, 1 / ERROR_EXPRESSION)] ** 2
    low = np.r_[np.full(IDENTITIES, -3.0), np.zeros(len(prior) - IDENTITIES)]
    high = np.r_[np.full(IDENTITIES, 3.0), np.ones(len(prior) - IDENTITIES)]
    trust = np.ones(SKIN)
    trust[list(OVAL)], trust[list(LIPS)], trust[list(EYES)] = 0.35, 2.0, 2.5

    neutral = kit.neutral[vertices].astype(np.float64)
    coefficients = prior.copy()
    rotation, translation = first_pose(neutral, points[:SKIN])
    for step in range(STEPS):
        shape = neutral + np.tensordot(coefficients, modes, 1)
        turned = shape @ rotation.T
        X, Y, Z = (turned + translation).T
        seen = np.stack([0.5 - FOCAL * X / Z, 0.5 + FOCAL * Y / Z], 1)
        error = points[:SKIN] - seen
        zero = np.zeros_like(Z)
        slope_x = np.stack([-FOCAL / Z, zero, FOCAL * X / Z**2], 1)
        slope_y = np.stack([zero, FOCAL / Z, -FOCAL * Y / Z**2], 1)
        slope = np.stack([slope_x, slope_y], 1)  # [K, 2, 3]: d seen / d (X, Y, Z)
        spin = np.stack([np.cross(axis, turned) for axis in np.eye(3)], 2)  # [K, 3, 3]: d turned / d angle
        bend = (slope @ rotation) @ modes.transpose(1, 2, 0)
        jacobian = np.concatenate([slope @ spin, slope, bend], 2)
        weight = trust / ERROR**2
        if step >= ROBUST_FROM:
            weight = weight / (1 + (error**2).sum(1) / (OUTLIER * ERROR) ** 2)
        rows = (jacobian * np.sqrt(weight)[:, None, None]).reshape(-1, jacobian.shape[2])
        normal = rows.T @ rows
        gradient = rows.T @ (error * np.sqrt(weight)[:, None]).ravel()
        normal[np.arange(6, len(normal)), np.arange(6, len(normal))] += strength
        gradient[6:] -= strength * (coefficients - prior)
        # A coefficient at its bound that wants to leave stays there.
        stuck = ((coefficients <= low) & (gradient[6:] < 0)) | ((coefficients >= high) & (gradient[6:] > 0))
        free = np.r_[np.ones(6, bool), ~stuck]
        change = np.zeros(len(gradient))
        change[free] = np.linalg.solve(normal[np.ix_(free, free)], gradient[free])
        rotation = rotation_matrix(change[:3]) @ rotation
        translation = translation + change[3:6]
        coefficients = np.clip(coefficients + change[6:], low, high)
    identity, expression = coefficients[:IDENTITIES], coefficients[IDENTITIES:]
    gaze = fit_gaze(kit, identity, rotation, translation, points)
    return Fit(
        points.astype(np.float32), face.blendshapes, M, rotation_vector(rotation), translation,
        identity.astype(np.float32), expression.astype(np.float32), gaze,
    )  # fmt: skip


def first_pose(shape: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation [3, 3] and translation [3] by scaled orthography: least squares, then the nearest rotation."""
    flat = (points - points.mean(0)) * (1, -1)
    affine = np.linalg.lstsq(shape - shape.mean(0), flat, rcond=None)[0].T
    scale = np.sqrt(np.linalg.norm(affine[0]) * np.linalg.norm(affine[1]))
    u, _, v = np.linalg.svd(affine / scale, full_matrices=False)
    top = u @ v
    rotation = np.stack([top[0], top[1], np.cross(top[0], top[1])])
    depth = FOCAL / scale
    x, y = (points.mean(0) - 0.5) / scale
    return rotation, np.array([x, -y, -depth]) - rotation @ shape.mean(0)


def fit_gaze(
    kit: Facekit, identity: np.ndarray, rotation: np.ndarray, translation: np.ndarray, points: np.ndarray
) -> np.ndarray:
    """Gaze f32 [2, 2] under which each iris lies on its landmark: the ray through it meets the eyeball there."""
    out = np.zeros((2, 2), np.float32)
    for side, name in enumerate(("Left", "Right")):
        ball = kit.parts(f"Iris{name}")
        moved = np.tensordot(identity, kit.identities[: len(identity), ball].mean(1), 1)
        center = rotation @ (eyeball(kit, name)[0] + moved) + translation
        reach = float((iris(kit, name)[0] - eyeball(kit, name)[0])[2])
        x, y = points[IRISES[name]].mean(0) - 0.5
        ray = np.array([x / FOCAL, -y / FOCAL, -1.0])
        ray /= np.linalg.norm(ray)
        along = ray @ center
        hit = ray * (along - np.sqrt(max(reach**2 - (center @ center - along**2), 0)))
        ahead = rotation.T @ (hit - center)
        out[side] = np.arctan2(ahead[0], ahead[2]), np.arctan2(ahead[1], np.hypot(ahead[0], ahead[2]))
    return np.clip(out, -0.6, 0.6)


def fit_file(kit: Facekit, path: Path) -> Fit:
    """The fit of the largest face in a picture, kept in the user's cache by the picture's content.

    Raises NoFace where none is found.
    """
    name = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    kept = assets.cache_folder() / "fits" / f"{name}_{VERSION}.npz"
    if kept.is_file():
        with np.load(kept, allow_pickle=False) as archive:
            return Fit(**{key: archive[key] for key in archive.files})
    faces = Landmarker(threads=1).detect(image.load(path))
    if not faces:
        raise NoFace(f"fit_file(): no face found in {path.name}; leave it out")
    found = fit(kit, faces[0])
    kept.parent.mkdir(parents=True, exist_ok=True)
    with written(kept) as file:
        np.savez(file, **vars(found))
    return found
