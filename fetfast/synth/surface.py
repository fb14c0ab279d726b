"""Albedos per pixel of skin and hair, from where they lie on the neutral head.

`a` f32 [P, 14] are a `Scene`'s columns; colours are linear RGB.
"""

from __future__ import annotations

import numpy as np

from fetfast.synth.look import Look
from fetfast.synth.paint import fractal, mix, noise, step


def skin(a: np.ndarray, look: Look) -> tuple[np.ndarray, np.ndarray, float]:
    """Albedo, gloss and sharpness of skin, lips, brows, stubble, scalp and shirt."""
    position, lip, along, across, field = a[:, :3], a[:, 3], a[:, 4], a[:, 5], a[:, 12]
    x, y, z = position.T
    tone = 1 + 0.05 * fractal(position * 0.5, look.seed, 3) + 0.035 * noise(position * np.float32(9), look.seed + 9)
    albedo = look.skin * tone[:, None]
    # Blood: cheeks, nose tip, chin and ears are redder, the forehead yellower.
    cheek = np.exp(-(((np.abs(x) - 5.0) / 2.0) ** 2) - ((y + 0.3) / 2.0) ** 2) * (z > 3)
    nose = np.exp(-((x / 1.2) ** 2) - ((y + 0.2) / 1.3) ** 2) * (z > 10)
    ear = step(4.5, 2.5, z) * step(6.0, 7.5, np.abs(x)) * step(-5.0, -3.0, y) * 0.6
    red = np.clip(0.55 * cheek + 0.45 * nose + ear, 0, 1)
    albedo = albedo * mix(np.ones(3), np.array([1.04, 0.80, 0.80]), red)
    if look.freckles:
        spots = (
            step(0.35, 0.75, noise(position * np.float32(4.2), look.seed + 3))
            * step(2.5, 0.5, np.abs(y - 0.6))
            * (z > 5)
        )
        albedo = mix(albedo, albedo * np.array([0.72, 0.58, 0.48]), spots * look.freckles)
    if look.stubble:
        beard = step(-1.2, -3.0, y) * step(-10.0, -8.0, y) * step(2.5, 5.0, z) * (lip < 0.05)
        beard *= 0.65 + 0.35 * noise(position * np.float32(14), look.seed + 5)
        albedo = mix(albedo, look.hair * 0.8 + look.skin * 0.18, beard * look.stubble * 0.8)
    lines = 1 + 0.10 * noise(np.stack([x * 7, y * 1.2, z * 0], 1).astype(np.float32), look.seed + 4)
    albedo = mix(albedo, look.lips * lines[:, None], step(-0.07, 0.10, lip))
    hairs = noise(
        np.stack([along * 30 - across * 4.0, across * 1.2 + along * 3, z * 0], 1).astype(np.float32), look.seed + 6
    )
    thick = (
        step(1.15, 0.55, np.abs(across) * (0.85 + 0.3 * step(0.6, 1.0, along)))
        * step(-0.08, 0.14, along)
        * step(1.08, 0.85, along)
    )
    brow = np.clip(thick * (0.85 + 0.35 * hairs), 0, 1) * min(look.brow, 1)
    albedo = mix(albedo, look.hair * 0.8 + look.skin * 0.05, 0.88 * brow)
    if look.style != "bald":
        albedo = mix(
            albedo, look.hair * 0.6, step(-0.15, 0.5, field + 0.2 * noise(position * np.float32(5), look.seed))
        )
    clothed = shirt(a)
    albedo = mix(albedo, look.cloth, clothed)
    gloss = (0.33 + 0.3 * step(0, 0.15, lip) + 0.15 * nose) * (1 - brow) * (1 - clothed)
    return albedo, gloss, 18.0


def shirt(a: np.ndarray) -> np.ndarray:
    """How much cloth covers the skin, f32 [...] 0 ... 1, of columns [..., 14]."""
    return step(-13.2, -13.4, a[..., 1] - 0.10 * a[..., 0] ** 2)


def roots(a: np.ndarray, look: Look) -> np.ndarray:
    """How much hair covers the skin near the hairline, f32 [P] 0 ... 1."""
    x, y, z = a[:, :3].T
    tuft = noise(np.stack([np.arctan2(x, z + 3) * 60, y * 0.3, z * 0], 1).astype(np.float32), look.seed + 8)
    return step(-0.5, 0.45, a[:, 12] + 0.45 * tuft)


def strands(a: np.ndarray, look: Look) -> np.ndarray:
    """Hair colour: streaks that run down from the crown."""
    x, y, z = a[:, :3].T
    around = np.arctan2(x, z + 3)
    streak = np.stack([around * 34, (y + z * 0.3) * 0.25, np.zeros_like(x)], 1)
    fine = np.stack([around * 110, y * 0.5, np.zeros_like(x)], 1)
    tone = 1 + 0.35 * fractal(streak, look.seed, 2) + 0.25 * noise(fine.astype(np.float32), look.seed + 1)
    return look.hair * np.clip(tone, 0.25, 2)[:, None]
