"""Draws at random how a person, and the light on them, look: over the whole human range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Appearance:
    """How a person and the light on them look. Colours are linear RGB; `light` points to the key light."""

    skin: np.ndarray
    lips: np.ndarray
    hair: np.ndarray
    eyes: np.ndarray
    cloth: np.ndarray
    light: np.ndarray
    key: np.ndarray
    ambient: np.ndarray
    background: tuple[np.ndarray, np.ndarray]
    freckles: float = 0.0
    stubble: float = 0.0
    brow: float = 1.0
    style: str = "short"  # bald, short, long
    glasses: float = 0.0  # 0 none, else roundness
    recede: float = 0.0
    seed: int = 0


# Linear skin albedos from light to dark, as measured skin runs (after the Fitzpatrick scale's six types).
SKINS = np.array(
    [
        [0.74, 0.50, 0.41],
        [0.66, 0.42, 0.31],
        [0.54, 0.32, 0.21],
        [0.40, 0.215, 0.13],
        [0.24, 0.12, 0.07],
        [0.12, 0.06, 0.038],
    ]
)
HAIRS = np.array(
    [
        [0.012, 0.010, 0.009],
        [0.045, 0.024, 0.014],
        [0.13, 0.07, 0.035],
        [0.36, 0.22, 0.10],
        [0.22, 0.06, 0.02],
        [0.42, 0.41, 0.40],
    ]
)
EYES = np.array([[0.07, 0.03, 0.012], [0.14, 0.07, 0.025], [0.16, 0.13, 0.05], [0.10, 0.17, 0.12], [0.12, 0.20, 0.30]])


def random_appearance(rng: np.random.Generator) -> Appearance:
    """A person by chance, over the whole human range of skin tones."""
    tone = rng.uniform(0, 5)
    low, part = int(min(tone, 4)), tone - int(min(tone, 4))
    skin = (SKINS[low] * (1 - part) + SKINS[low + 1] * part) * rng.normal(1, 0.04, 3)
    dark = tone / 5
    hair = HAIRS[
        rng.choice(6, p=np.array([2 + 4 * dark, 2, 1 - dark, 1 - dark, 0.4 * (1 - dark), 0.5]) / (6.9 + 1.6 * dark))
    ]
    eyes = EYES[rng.integers(0, 2 if dark > 0.55 else 5)]
    side = rng.uniform(-1.2, 1.2)
    light = np.array([np.sin(side), rng.uniform(0.1, 0.9), np.cos(side)])
    warm = rng.uniform(-0.12, 0.12)
    key = rng.uniform(0.6, 1.2) * np.array([1 + warm, 1, 1 - warm])
    ambient = rng.uniform(0.35, 0.75) * np.array([1 - warm, 1, 1 + warm])
    return Appearance(
        skin=skin,
        lips=skin * np.array([0.92, 0.62, 0.66]) * rng.uniform(0.75, 1.0),
        hair=hair,
        eyes=eyes,
        cloth=rng.uniform(0.03, 0.6, 3),
        light=light / np.linalg.norm(light),
        key=key,
        ambient=ambient,
        background=(rng.uniform(0.05, 0.8, 3), rng.uniform(0.05, 0.8, 3)),
        freckles=float(rng.random() * (rng.random() < 0.3) * (1 - dark)),
        stubble=float(rng.random() * (rng.random() < 0.3)),
        brow=rng.uniform(0.6, 1.2),
        style=str(rng.choice(["bald", "short", "long"], p=[0.1, 0.45, 0.45])),
        glasses=float(rng.uniform(0.1, 1) * (rng.random() < 0.25)),
        recede=float(max(0, rng.normal(0, 0.8))),
        seed=int(rng.integers(1 << 20)),
    )
