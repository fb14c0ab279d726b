"""Draws occluders over a pair: a hand, a microphone, strands of hair; flat, and alike over target and truth, so that a
network learns to leave what covers a face where it is.

Pictures are u8 [S, S, 3]; positions are in crop units, colours gamma-coded 0 ... 255.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from fetfast.synth.materials import fractal, step
from fetfast.synth.regions import OCCLUDER

OCCLUDED = 0.12  # of all pairs
DARK, DOWN, SOFT = 0.35, 0.015, 0.012  # its shadow: light lost, and crop sides that it lies below, and blurs over
CHIN, CHEEKS, MIDDLE, BROW = 152, (234, 454), (50, 280), 9  # landmarks
HAIRS = np.array([(28, 24, 22), (62, 43, 32), (110, 76, 48), (176, 140, 92), (150, 146, 142)], np.float32)


def occlude(pair: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """Lay one thing over the pair's target and truth, and enter it in mask, flow and light. Landmarks stay."""
    points, size = pair["target_points"], len(pair["target"])
    draw = (hand, microphone, hair)[rng.choice(3, p=(0.4, 0.25, 0.35))]
    color, alpha = draw(pair["target"], points, rng)
    shadow = 1 - DARK * gaussian_filter(np.roll(alpha, int(DOWN * size), 0), SOFT * size)
    for name in ("target", "truth"):
        under = pair[name] * shadow[..., None]
        over = under + alpha[..., None] * (color - under)
        pair[name] = (np.clip(over, 0, 255) + 0.5).astype(np.uint8)
    pair["mask"] = np.where(alpha > 0.5, np.uint8(OCCLUDER), pair["mask"])
    for name in {"flow", "light"} & pair.keys():
        pair[name][alpha[1::2, 1::2] > 0.5] = 0


def grid(size: int) -> np.ndarray:
    """f32 [S, S, 2]: the pixels' centres."""
    centre = (np.arange(size, dtype=np.float32) + 0.5) / size
    return np.stack(np.meshgrid(centre, centre), -1)


def capsule(at: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A rod with round ends: how far within it each pixel lies (negative outside), and across it, -1 ... 1."""
    along = end - start
    part = np.clip(((at - start) @ along) / max(float(along @ along), 1e-9), 0, 1)
    off = at - start - part[..., None] * along
    distance = np.hypot(off[..., 0], off[..., 1])
    return radius - distance, np.clip((off @ (1.0, 0.6)) / (1.17 * radius), -1, 1)


def lay(color: np.ndarray, alpha: np.ndarray, inside: np.ndarray, fresh: np.ndarray) -> None:
    """Draw `fresh` [S, S, 3] over color and alpha where `inside` (crop units) is positive, one pixel soft."""
    cover = np.clip(inside * len(alpha) + 0.5, 0, 1)
    color += cover[..., None] * (fresh - color)
    np.maximum(alpha, cover, out=alpha)


def hand(picture: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Three or four fingers from below, over a cheek, the chin or the mouth's corner; skin as dark as the face."""
    size = len(picture)
    at = grid(size)
    cheek = int(rng.integers(2))
    x, y = np.clip(points[MIDDLE[cheek]] * size, 0, size - 1).astype(int)
    skin = picture[y, x] * rng.normal(1, 0.03, 3) * rng.uniform(0.85, 1.1)
    grain = 1 + 0.05 * fractal(np.dstack([at * 18, 0 * at[..., :1]]).reshape(-1, 3), int(rng.integers(1 << 16)), 3)
    skin = np.clip(skin * grain.reshape(size, size, 1), 8, 245)
    width = float(np.linalg.norm(points[CHEEKS[0]] - points[CHEEKS[1]]))
    tip = points[CHIN] + (points[MIDDLE[cheek]] - points[CHIN]) * rng.uniform(0.3, 1.1) + rng.normal(0, 0.03, 2)
    outward = 1 if points[MIDDLE[cheek], 0] > points[CHIN, 0] else -1
    lean = np.radians(rng.uniform(5, 60)) * outward
    down = np.array([np.sin(lean), np.cos(lean)])
    side = np.array([down[1], -down[0]])
    radius = width * rng.uniform(0.055, 0.075)
    color, alpha = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    knuckle = tip + down * width * 0.5
    palm, across = capsule(at, knuckle + down * 0.12, knuckle + down * 0.9, radius * 3.6)
    lay(color, alpha, palm, skin * (0.86 - 0.12 * across[..., None]))
    for n in rng.permutation(int(rng.integers(3, 5))):
        place = (n - 1.5) * 1.95 * radius * side
        end = tip + place + down * radius * (1.2 * abs(n - 1.3)) + rng.normal(0, 0.25 * radius, 2)
        finger, across = capsule(at, end, knuckle + place * 0.9 + down * 0.15, radius)
        edge = step(0, 0.45 * radius, finger)
        lay(color, alpha, finger, skin * ((0.78 + 0.22 * edge) * (1 - 0.16 * across))[..., None])
    return color, alpha


def microphone(picture: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A dark or silver ball of wire on a stick, before the chin or a corner of the mouth."""
    size = len(picture)
    at = grid(size)
    width = float(np.linalg.norm(points[CHEEKS[0]] - points[CHEEKS[1]]))
    center = points[CHIN] + width * np.array([rng.normal(0, 0.12), rng.uniform(-0.22, 0.02)])
    radius = width * rng.uniform(0.11, 0.16)
    lean = rng.uniform(-0.7, 0.7)
    foot = center + np.array([np.sin(lean), np.cos(lean)]) * 1.2
    dark = rng.uniform(25, 70) * rng.normal(1, 0.03, 3)
    color, alpha = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    stick, across = capsule(at, center, foot, radius * 0.5)
    lay(color, alpha, stick, dark * (0.9 - 0.5 * across[..., None]))
    ball, _ = capsule(at, center, center, radius)
    away = (at - center) / radius
    mesh = 0.5 + 0.25 * (np.sin(away @ (26, 26)) + np.sin(away @ (26, -26)))
    shine = np.exp(-((away + 0.35) ** 2).sum(-1) / 0.25)
    metal = rng.uniform(60, 150) * (0.45 + 0.4 * mesh) * (1 - 0.45 * (away**2).sum(-1)).clip(0.3) + 90 * shine
    lay(color, alpha, ball, np.repeat(metal[..., None], 3, 2).clip(0, 250))
    return color, alpha


def hair(picture: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Tufts of thin strands that fall from above over the forehead and down one side of the face."""
    size, fine = len(picture), 3 * len(picture)
    cover = Image.new("L", (fine, fine))
    tone = Image.new("L", (fine, fine), 128)
    width = float(np.linalg.norm(points[CHEEKS[0]] - points[CHEEKS[1]]))
    outward = rng.choice((-1, 1))
    for _ in range(int(rng.integers(1, 5))):
        start = points[BROW] + (outward * rng.uniform(-0.1, 0.45) * width, -rng.uniform(0.5, 0.7) * width)
        end = points[BROW] + (outward * rng.uniform(0.1, 0.6) * width, rng.uniform(-0.15, 0.9) * width)
        bend = (start + end) / 2 + (outward * rng.uniform(0.0, 0.25) * width, 0)
        for _ in range(int(rng.integers(6, 30))):
            a, b, c = (p + rng.normal(0, spread * width, 2) for p, spread in ((start, 0.06), (bend, 0.03), (end, 0.04)))
            t = np.linspace(0, 1, 24)[:, None]
            path = ((1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c) * fine
            line = [(float(x), float(y)) for x, y in path]
            thick = max(1, round(fine * rng.uniform(0.002, 0.006)))
            ImageDraw.Draw(cover).line(line, fill=int(rng.uniform(150, 255)), width=thick)
            ImageDraw.Draw(tone).line(line, fill=int(np.clip(rng.normal(128, 38), 40, 255)), width=thick)
    small = [np.asarray(p.resize((size, size), Image.Resampling.BOX), np.float32) for p in (cover, tone)]
    return HAIRS[rng.integers(len(HAIRS))] * small[1][..., None] / 128, small[0] / 255
