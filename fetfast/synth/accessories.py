"""Meshes of hair and glasses, which the morphable model lacks, in the model's own space (cm)."""

from __future__ import annotations

import numpy as np

from fetfast.synth.camera import eyeballs
from fetfast.synth.facekit import Facekit
from fetfast.synth.materials import fractal, step
from fetfast.synth.raster import vertex_normals

# The lowest y (cm) that hair grows at, by angle round the head from the front (radians).
HAIRLINE = np.array(
    [(0, 8.9), (0.45, 8.6), (0.75, 6.6), (0.98, 2.6), (1.15, 1.4), (1.4, 3.9), (1.9, 3.2), (2.3, -3), (3.15, -6)]
)


def hair_field(kit: Facekit, recede: float) -> np.ndarray:
    """How far (cm) each vertex of the neutral head lies above the hairline, f32 [N]; negative on bare skin."""
    x, y, z = kit.neutral.T
    around = np.arctan2(np.abs(x), z)
    field = y - np.interp(around, HAIRLINE[:, 0], HAIRLINE[:, 1]) - recede * (around < 1)
    field[~kit.parts("Face", "BackHead")] = -9
    return field.astype(np.float32)


def scalp(kit: Facekit, shape: np.ndarray, field: np.ndarray, thickness: float, seed: int):
    """A shell over the hairy part of the head: vertices [V, 3], triangles [T, 3], ids of the vertices under it [V]."""
    triangles = kit.triangles[(field[kit.triangles] > -1.2).any(1)]
    under, triangles = np.unique(triangles, return_inverse=True)
    triangles = triangles.reshape(-1, 3).astype(np.int32)
    normals = vertex_normals(shape, kit.triangles)[under]
    waves = 1 + 0.25 * fractal(kit.neutral[under] * 0.35, seed, 2)
    lift = thickness * step(-0.2, 3.0, field[under]) * waves
    return (shape[under] + normals * lift[:, None]).astype(np.float32), triangles, under


def long_hair(shape: np.ndarray, length: float, seed: int):
    """Long hair: a sheet round the sides and the back of the head, open in front. Vertices [V, 3], triangles."""
    down, around = np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 90), indexing="ij")
    low = -length
    y = 11.5 + (low - 11.5) * down
    width = shape[:, 0].max()
    cap = np.sqrt(np.clip(1 - np.clip((y - 1.0) / 13.0, 0, 1) ** 2, 0.02, 1))
    opening = 1.15 - 0.3 * step(0.4, 0.7, down) + 0.25 * (1 - cap)
    angle = opening + (2 * np.pi - 2 * opening) * around
    bulge = 1 + 0.08 * step(0.4, 0.75, down) - 0.12 * step(0.75, 1, down)
    grid = np.stack([angle * 6, down * 2.5, np.zeros_like(down)], -1).reshape(-1, 3).astype(np.float32)
    bulge = bulge * (1 + 0.035 * fractal(grid, seed, 2).reshape(down.shape))
    x = np.sin(angle) * (width + 0.5) * cap * bulge
    z = -0.6 + np.cos(angle) * 11.2 * cap * bulge
    vertices = np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32)
    outside = grid_triangles(40, 90)
    inside = outside[:, ::-1] + len(vertices)  # vertices of its own: each side has its own normals
    return np.concatenate([vertices, vertices]), np.concatenate([outside, inside])


def grid_triangles(rows: int, columns: int) -> np.ndarray:
    """The triangles of a rows x columns grid of vertices."""
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    halves = [np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)]
    return np.concatenate(halves).astype(np.int32)


def tube(path: np.ndarray, radius: float, closed: bool) -> tuple[np.ndarray, np.ndarray]:
    """A round wire along path [P, 3]."""
    path = np.concatenate([path, path[:1]]) if closed else path
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    side = np.cross(along, (0.05, 0.1, 1.0))
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-6)
    up = np.cross(side, along)
    turn = np.linspace(0, 2 * np.pi, 9)
    ring = np.cos(turn)[:, None] * side[:, None] + np.sin(turn)[:, None] * up[:, None]
    vertices = path[:, None] + radius * ring
    return vertices.reshape(-1, 3).astype(np.float32), grid_triangles(len(path), 9)


def glasses(kit: Facekit, shape: np.ndarray, roundness: float, size: float):
    """Two rims, a bridge and the temples before the eyes of `shape`: vertices, triangles."""
    centers, _ = eyeballs(kit, shape)
    bridge = shape[kit.landmark_vertices[168]]
    wires = []
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    power = 2 / (2 + 3 * (1 - roundness))
    for center, side in zip(centers, (1, -1), strict=True):
        c, s = np.cos(turn), np.sin(turn)
        x = center[0] + side * 0.15 + size * 2.55 * np.sign(c) * np.abs(c) ** power
        y = center[1] - 0.35 + size * 2.0 * np.sign(s) * np.abs(s) ** power
        z = bridge[2] + 0.75 - 0.035 * (x - side * 1.0) ** 2
        wires.append((np.stack([x, y, z], 1), 0.13, True))
        hinge = np.array([center[0] + side * (0.15 + size * 2.5), center[1] + 0.3, bridge[2] - 0.35])
        ear = np.array([side * (shape[:, 0].max() * 0.72), center[1] + 0.2, 2.5])
        wires.append((np.linspace(hinge, ear, 12), 0.11, False))
    inner = [centers[0][0] + 0.15 - size * 2.5, centers[1][0] - 0.15 + size * 2.5]
    x = np.linspace(inner[0], inner[1], 12)
    bow = 1 - np.linspace(-1, 1, 12) ** 2
    wires.append((np.stack([x, bridge[1] - 0.7 + 0.5 * bow, bridge[2] + 0.6 + 0.3 * bow], 1), 0.12, False))
    vertices, triangles, first = [], [], 0
    for path, radius, closed in wires:
        v, t = tube(path, radius, closed)
        vertices.append(v)
        triangles.append(t + first)
        first += len(v)
    return np.concatenate(vertices), np.concatenate(triangles).astype(np.int32)
