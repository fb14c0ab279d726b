"""Pose, camera and eyeballs.

A pose is a rotation vector [3] and a translation [3] (cm) from the model to the camera, which sits at the origin and
looks along -z: depth = -z. On the screen x = cx + focal X / depth, y = cy - focal Y / depth (y points down there).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fetfast.synth.facekit import Facekit


@dataclass(frozen=True)
class Pose:
    """Where the head is. focal and center are in pixels of the picture (or in crop units)."""

    rotation: np.ndarray  # f64 [3] rotation vector
    translation: np.ndarray  # f64 [3] cm; z about -100
    focal: float
    center: tuple[float, float]

    def place(self, vertices: np.ndarray) -> np.ndarray:
        """Model [N, 3] -> camera space [N, 3] f32."""
        moved = vertices @ rotation_matrix(self.rotation).T.astype(np.float32)
        return (moved + self.translation.astype(np.float32)).astype(np.float32)

    def project(self, placed: np.ndarray) -> np.ndarray:
        """Camera space [N, 3] -> f32 [N, 3]: x, y on the screen and 1 / depth."""
        near = -1.0 / placed[:, 2]
        x = self.center[0] + self.focal * placed[:, 0] * near
        y = self.center[1] - self.focal * placed[:, 1] * near
        return np.stack([x, y, near], 1).astype(np.float32)

    def turned(self, yaw: float, pitch: float, roll: float = 0.0) -> Pose:
        """The head turned about its own axes' directions at the camera (radians)."""
        y, p, r = (rotation_matrix(np.array(v)) for v in ((0, yaw, 0), (pitch, 0, 0), (0, 0, roll)))
        matrix = y @ p @ r @ rotation_matrix(self.rotation)
        return Pose(rotation_vector(matrix), self.translation, self.focal, self.center)


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """Rodrigues' formula: f64 [3] -> [3, 3]."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = np.asarray(vector, np.float64) / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def rotation_vector(matrix: np.ndarray) -> np.ndarray:
    """The inverse of `rotation_matrix`, for angles below pi."""
    axis = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]) / 2
    sine = float(np.linalg.norm(axis))
    angle = np.arctan2(sine, (np.trace(matrix) - 1) / 2)
    return axis * (angle / sine if sine > 1e-9 else 1.0)


def eyeballs(kit: Facekit, vertices: np.ndarray) -> tuple[np.ndarray, float]:
    """Centres [2, 3] (left, right) and radius of the eyeballs in a shape."""
    left, right = vertices[kit.parts("IrisLeft")], vertices[kit.parts("IrisRight")]
    centers = np.stack([(ball.max(0) + ball.min(0)) / 2 for ball in (left, right)])
    return centers, float(np.linalg.norm(left - centers[0], axis=1).max())


def turn_eyes(kit: Facekit, vertices: np.ndarray, gaze: np.ndarray) -> np.ndarray:
    """Turn the eyeballs of a shape. gaze [2, 2]: (left, right) x (yaw to the subject's left, pitch up), radians."""
    vertices = vertices.copy()
    for side, (name, (yaw, pitch)) in enumerate(zip(("IrisLeft", "IrisRight"), gaze, strict=True)):
        ball = kit.parts(name)
        center = eyeballs(kit, vertices)[0][side]
        turn = rotation_matrix(np.array([0, yaw, 0])) @ rotation_matrix(np.array([-pitch, 0, 0]))
        vertices[ball] = (vertices[ball] - center) @ turn.T.astype(np.float32) + center
    return vertices
