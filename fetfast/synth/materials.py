"""Colours of skin, hair and eyes per pixel, for a model that comes without a texture: procedural, from where a pixel
lies on the neutral head.

All colours are linear RGB in 0 ... 1. `a` f32 [P, 13] are the columns of a `render.Scene`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from fetfast.synth.appearance import Appearance
from fetfast.synth.facekit import Facekit

POSITION, LIP, ALONG, ACROSS, HAIRLINE = slice(0, 3), 3, 4, 5, 12  # columns; ALONG and ACROSS the brow
LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]
# Upper and lower edge of the subject's right brow and left brow, from the nose outwards.
BROWS = (
    ([107, 66, 105, 63, 70], [55, 65, 52, 53, 46]),
    ([336, 296, 334, 293, 300], [285, 295, 282, 283, 276]),
)


@dataclass(frozen=True)
class Charts:
    """Where each vertex lies on the neutral head: f32 columns, interpolated over the pixels.

    position [N, 3] cm; lips [N] signed distance to the lips' outline (cm, positive inside); brow [N, 2]: along
    (0 at the nose, 1 at the tail) and across (-1 lower edge, 1 upper edge).
    """

    position: np.ndarray
    lips: np.ndarray
    brow: np.ndarray

    @classmethod
    def of(cls, kit: Facekit) -> Charts:
        flat = kit.neutral[:, :2]
        lips = signed_distance(flat, flat[kit.landmark_vertices[LIPS]])
        lips[(kit.neutral[:, 2] < 8) | ~kit.parts("Face")] = -9
        brow = np.full((len(flat), 2), 9, np.float32)
        for side, (upper, lower) in enumerate(BROWS):
            mine = (flat[:, 0] < 0) == (side == 0)
            high, low = flat[kit.landmark_vertices[upper]], flat[kit.landmark_vertices[lower]]
            brow[mine] = band(flat[mine], high, low)
        brow[~kit.parts("Face") | (kit.neutral[:, 2] < 4)] = 9
        return cls(kit.neutral, lips.astype(np.float32), brow)

    def stacked(self) -> np.ndarray:
        """f32 [N, 6], the columns in order."""
        return np.concatenate([self.position, self.lips[:, None], self.brow], 1).astype(np.float32)


def band(points: np.ndarray, high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Coordinates (along, across) of points [N, 2] in the band between two polylines [5, 2]."""
    middle, half = (high + low) / 2, np.linalg.norm(high - low, axis=1) / 2
    knots = np.linspace(0, 1, len(middle))
    fine = np.linspace(-0.15, 1.15, 80)
    curve = np.stack([np.polyval(np.polyfit(knots, middle[:, i], 2), fine) for i in (0, 1)], 1)
    width = np.maximum(np.polyval(np.polyfit(knots, half, 2), fine), 0.12)
    away = points[:, None] - curve
    nearest = (away**2).sum(2).argmin(1)
    offset = away[np.arange(len(points)), nearest]
    across = np.sign(offset[:, 1]) * np.linalg.norm(offset, axis=1) / width[nearest]
    return np.stack([fine[nearest], across], 1)


def signed_distance(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Distance [N] to a polygon's edge, positive inside."""
    start, end = polygon, np.roll(polygon, -1, 0)
    edge = end - start
    away = points[:, None] - start
    along = np.clip((away * edge).sum(2) / (edge**2).sum(1), 0, 1)
    distance = np.linalg.norm(away - along[..., None] * edge, axis=2).min(1)
    y = points[:, 1, None]
    crosses = (start[:, 1] > y) != (end[:, 1] > y)
    rise = np.where(edge[:, 1] == 0, 1, edge[:, 1])
    x = start[:, 0] + (y - start[:, 1]) / rise * edge[:, 0]
    inside = (crosses & (points[:, 0, None] < x)).sum(1) % 2 == 1
    return np.where(inside, distance, -distance)


@njit(cache=True, nogil=True)
def noise(points: np.ndarray, seed: int) -> np.ndarray:
    """Value noise in -1 ... 1: f32 [P, 3] -> [P]; one lattice cell a unit, smooth (cubic) between."""
    out = np.empty(points.shape[0], np.float32)
    for p in range(points.shape[0]):
        ix, iy, iz = int(np.floor(points[p, 0])), int(np.floor(points[p, 1])), int(np.floor(points[p, 2]))
        fx, fy, fz = points[p, 0] - ix, points[p, 1] - iy, points[p, 2] - iz
        fx, fy, fz = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy), fz * fz * (3 - 2 * fz)
        total = 0.0
        for dx in range(2):
            for dy in range(2):
                for dz in range(2):
                    h = (
                        (ix + dx) * 374761393 + (iy + dy) * 668265263 + (iz + dz) * 1274126177 + seed * 974711
                    ) & 0xFFFFFFFF
                    h = ((h ^ (h >> 13)) * 1103515245) & 0xFFFFFFFF
                    value = ((h ^ (h >> 16)) & 0xFFFF) / 32767.5 - 1
                    wx = fx if dx else 1 - fx
                    wy = fy if dy else 1 - fy
                    wz = fz if dz else 1 - fz
                    total += wx * wy * wz * value
        out[p] = total
    return out


def fractal(points: np.ndarray, seed: int, octaves: int) -> np.ndarray:
    """Octaves of `noise`, each twice as fine and half as strong."""
    total = np.zeros(len(points), np.float32)
    for octave in range(octaves):
        total += noise(np.ascontiguousarray(points * 2.0**octave, dtype=np.float32), seed + octave) / 2**octave
    return total


def step(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """a where weight [P] is 0, b where it is 1; a, b [P, 3] or [3]."""
    return a + (np.asarray(b) - a) * weight[:, None]


def iris(direction: np.ndarray, color: np.ndarray, seed: int) -> np.ndarray:
    """Eyeball colours [P, 3] for unit directions [P, 3] from the ball's centre, +z through the pupil."""
    angle = np.degrees(np.arccos(np.clip(np.abs(direction[:, 2]), -1, 1)))  # the back shows through the open pupil
    turn = np.arctan2(direction[:, 1], direction[:, 0])
    ring = np.stack([np.cos(turn) * 9, np.sin(turn) * 9, angle * 0.12], 1)
    fibres = 1 + 0.35 * fractal(ring, seed, 2)
    ball = np.array([0.78, 0.75, 0.72]) * (1 - 0.10 * step(30, 75, angle))[:, None]
    ball = ball * mix(np.ones(3), np.array([1.0, 0.86, 0.84]), step(35, 70, angle))
    shade = fibres * (0.75 + 0.5 * step(13, 22, angle)) * (1 - 0.65 * step(22.5, 27, angle))
    ball = mix(ball, color * shade[:, None], 1 - step(25.5, 28, angle))
    return mix(ball, np.array([0.008, 0.007, 0.007]), 1 - step(10.5, 12.5, angle))


def skin(a: np.ndarray, appearance: Appearance) -> tuple[np.ndarray, np.ndarray, float]:
    """Albedo, gloss and sharpness of skin, lips, brows, stubble, scalp and shirt."""
    position, lip, along, across, field = a[:, POSITION], a[:, LIP], a[:, ALONG], a[:, ACROSS], a[:, HAIRLINE]
    x, y, z = position.T
    tone = (
        1
        + 0.05 * fractal(position * 0.5, appearance.seed, 3)
        + 0.035 * noise(position * np.float32(9), appearance.seed + 9)
    )
    albedo = appearance.skin * tone[:, None]
    # Blood: cheeks, nose tip, chin and ears are redder, the forehead yellower.
    cheek = np.exp(-(((np.abs(x) - 5.0) / 2.0) ** 2) - ((y + 0.3) / 2.0) ** 2) * (z > 3)
    nose = np.exp(-((x / 1.2) ** 2) - ((y + 0.2) / 1.3) ** 2) * (z > 10)
    ear = step(4.5, 2.5, z) * step(6.0, 7.5, np.abs(x)) * step(-5.0, -3.0, y) * 0.6
    red = np.clip(0.55 * cheek + 0.45 * nose + ear, 0, 1)
    albedo = albedo * mix(np.ones(3), np.array([1.04, 0.80, 0.80]), red)
    if appearance.freckles:
        spots = (
            step(0.35, 0.75, noise(position * np.float32(4.2), appearance.seed + 3))
            * step(2.5, 0.5, np.abs(y - 0.6))
            * (z > 5)
        )
        albedo = mix(albedo, albedo * np.array([0.72, 0.58, 0.48]), spots * appearance.freckles)
    if appearance.stubble:
        beard = step(-1.2, -3.0, y) * step(-10.0, -8.0, y) * step(2.5, 5.0, z) * (lip < 0.05)
        beard *= 0.65 + 0.35 * noise(position * np.float32(14), appearance.seed + 5)
        albedo = mix(albedo, appearance.hair * 0.8 + appearance.skin * 0.18, beard * appearance.stubble * 0.8)
    lines = 1 + 0.10 * noise(np.stack([x * 7, y * 1.2, z * 0], 1).astype(np.float32), appearance.seed + 4)
    albedo = mix(albedo, appearance.lips * lines[:, None], step(-0.07, 0.10, lip))
    hairs = noise(
        np.stack([along * 30 - across * 4.0, across * 1.2 + along * 3, z * 0], 1).astype(np.float32),
        appearance.seed + 6,
    )
    thick = (
        step(1.15, 0.55, np.abs(across) * (0.85 + 0.3 * step(0.6, 1.0, along)))
        * step(-0.08, 0.14, along)
        * step(1.08, 0.85, along)
    )
    brow = np.clip(thick * (0.85 + 0.35 * hairs), 0, 1) * min(appearance.brow, 1)
    albedo = mix(albedo, appearance.hair * 0.8 + appearance.skin * 0.05, 0.88 * brow)
    if appearance.style != "bald":
        albedo = mix(
            albedo,
            appearance.hair * 0.6,
            step(-0.15, 0.5, field + 0.2 * noise(position * np.float32(5), appearance.seed)),
        )
    clothed = shirt(a)
    albedo = mix(albedo, appearance.cloth, clothed)
    gloss = (0.33 + 0.3 * step(0, 0.15, lip) + 0.15 * nose) * (1 - brow) * (1 - clothed)
    return albedo, gloss, 18.0


def shirt(a: np.ndarray) -> np.ndarray:
    """How much cloth covers the skin, f32 [...] 0 ... 1, of columns [..., 13]."""
    return step(-13.2, -13.4, a[..., 1] - 0.10 * a[..., 0] ** 2)


def roots(a: np.ndarray, appearance: Appearance) -> np.ndarray:
    """How much hair covers the skin near the hairline, f32 [P] 0 ... 1."""
    x, y, z = a[:, POSITION].T
    tuft = noise(np.stack([np.arctan2(x, z + 3) * 60, y * 0.3, z * 0], 1).astype(np.float32), appearance.seed + 8)
    return step(-0.5, 0.45, a[:, HAIRLINE] + 0.45 * tuft)


def strands(a: np.ndarray, appearance: Appearance) -> np.ndarray:
    """Hair colour: streaks that run down from the crown."""
    x, y, z = a[:, POSITION].T
    around = np.arctan2(x, z + 3)
    streak = np.stack([around * 34, (y + z * 0.3) * 0.25, np.zeros_like(x)], 1)
    fine = np.stack([around * 110, y * 0.5, np.zeros_like(x)], 1)
    tone = 1 + 0.35 * fractal(streak, appearance.seed, 2) + 0.25 * noise(fine.astype(np.float32), appearance.seed + 1)
    return appearance.hair * np.clip(tone, 0.25, 2)[:, None]
