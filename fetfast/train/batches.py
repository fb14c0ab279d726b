"""The batches that networks see of training pairs, varied by chance.

The networks' inputs are built by the functions that build them at run time, so that training and use agree.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fetfast.face.align import to_crop
from fetfast.image import Frame
from fetfast.ops.crop import crop, to_picture
from fetfast.ops.heatmap import contours, first_flow
from fetfast.ops.teeth import teeth_map
from fetfast.train.data import Pairs

FINE = 2  # the picture that is warped is this much finer than the network's: run time warps the frame's own pixels
OPENING, BLINKING = 4.0, 3.0  # how much more often a pair is seen whose mouth opens, whose lids open or shut
NOISE = 0.0015  # of a landmark, crop sides: the landmarker's own
SOFT, BLOCKS = 0.25, 0.3  # how often a pair is blurred, and its target a JPEG


def pictures(pairs: Pairs, rows: NDArray[np.int64], size: int, rng: np.random.Generator | None) -> dict[str, Tensor]:
    """What the U-Net sees of these rows, named as in its spec, and what it is measured by: `truth` [B, 3, S, S],
    and at twice S `truth_fine` and `picture` (the target that is warped), `driven_points`, and, where they
    are known, the true `flow` [B, 2, S, S] and the true `light` [B, 1, S, S].

    With `rng` a pair is mirrored, moved, turned, scaled, softened and recoloured by chance, alike in target and truth,
    and the target may have been a poor JPEG.
    """
    parts = [_example(pairs, int(row), size, rng) for row in rows]
    return {name: torch.from_numpy(np.stack([part[name] for part in parts])) for name in parts[0]}


def _example(pairs: Pairs, row: int, size: int, rng: np.random.Generator | None) -> dict[str, NDArray[np.float32]]:
    photo, truth = pairs.arrays["target"][row], pairs.arrays["truth"][row]
    R = len(photo)
    M = np.array([[R, 0, 0], [0, R, 0]], np.float32)
    if rng is not None:
        photo, truth = _degraded(photo, truth, rng)
        M = _moved(M, rng)
        if rng.random() < 0.5:  # mirrored left to right: drawn contours and the first flow know no sides
            M = (M @ np.array([[-1, 0, 1], [0, 1, 0], [0, 0, 1]])).astype(np.float32)
    points, driven = (to_crop(pairs.arrays[name][row] * R, M) for name in ("target_points", "driven_points"))
    if rng is not None:
        noise = rng.normal(0, NOISE, points.shape).astype(
            np.float32
        )  # the fusion carries the target's on to the driven points
        points, driven = points + noise, driven + noise
    points, driven = (p[None].astype(np.float32) for p in (points, driven))
    flow = first_flow(points, driven, size)[0]
    out = {
        "target": crop(photo, M, size),
        "warped": crop(photo, M, size, flow=flow),
        "picture": crop(photo, M, FINE * size),
        "truth": crop(truth, M, size),
        "truth_fine": crop(truth, M, FINE * size),
        "target_map": contours(points, size)[0],
        "driven_map": contours(driven, size)[0],
        "teeth": teeth_map(points, driven, 2 * size)[0],
        "first_flow": flow,
        "driven_points": driven[0],
    }
    if "flow" in pairs.arrays:
        out["flow"] = _seen_from(pairs.arrays["flow"][row], M / np.float32(R), size)
    if "light" in pairs.arrays:
        out["light"] = _sampled(pairs.arrays["light"][row][..., None], M / np.float32(R), size)
    if rng is not None:
        gain, shift = rng.normal(1, 0.12) * rng.normal(1, 0.05, (3, 1, 1)), rng.normal(0, 0.06)
        if "light" in out:  # of a picture u = 1 + level, which becomes gain u + rest
            u, rest = gain.mean() * (1 + out["warped"].mean(0)), 1 + shift - gain.mean()
            out["light"] = (out["light"] * u / np.maximum(u + rest, 0.05)).astype(np.float32)
        for name in ("target", "warped", "picture", "truth", "truth_fine"):
            out[name] = np.clip(out[name] * gain + shift, -1, 1).astype(np.float32)
    return out


def _seen_from(
    flow: NDArray[np.float16],  # [F, F, 2]
    M: NDArray[np.float32],  # crop points to points of the flow, both crop units
    size: int,
) -> NDArray[np.float32]:
    """The flow f32 [2, S, S] in the units of another crop of the same pictures; NaN next to a NaN."""
    return np.einsum("ij,jyx->iyx", np.linalg.inv(M[:, :2]), _sampled(flow, M, size)).astype(np.float32)


def _sampled(field: NDArray[np.float16], M: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """A field [F, F, C] as another crop of the same pictures sees it, f32 [C, S, S]; NaN next to a NaN."""
    centre = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    A = torch.from_numpy(M)
    at = torch.stack((x, y), -1) @ A[:, :2].T + A[:, 2]
    planes = torch.from_numpy(field.astype(np.float32)).permute(2, 0, 1)[None]
    return F.grid_sample(planes, 2 * at[None] - 1, padding_mode="border", align_corners=False)[0].numpy()


def _degraded(photo: Frame, truth: Frame, rng: np.random.Generator) -> tuple[Frame, Frame]:
    """Both as of a camera of fewer pixels, now and then; and the target with a JPEG's blocks, which the truth lacks."""
    if rng.random() < SOFT:
        R = len(photo)
        side = int(R * rng.uniform(0.35, 0.9))
        down, up = (np.array([[n, 0, 0], [0, n, 0]], np.float32) for n in (R, side))
        photo, truth = (to_picture(crop(to_picture(crop(p, down, side)), up, R)) for p in (photo, truth))
    if rng.random() < BLOCKS:
        file = BytesIO()
        Image.fromarray(photo).save(file, "JPEG", quality=int(rng.integers(40, 90)))
        photo = np.asarray(Image.open(file))
    return photo, truth


def _moved(M: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """M after a small turn, scaling and shift of the crop about its middle."""
    angle, scale = rng.normal(0, 0.04), np.exp(rng.normal(-0.03, 0.05))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = 0.5 - turn @ (0.5, 0.5) + rng.normal(0, 0.015, 2)
    return np.c_[M[:, :2] @ turn, M[:, :2] @ shift + M[:, 2]].astype(np.float32)


def batches(
    pairs: Pairs, make: Callable[..., dict[str, Tensor]], size: int, count: int, seed: int, first: int
) -> Generator[dict[str, Tensor], None, None]:
    """Batches of `count` random training rows, from step `first` on. Batch n depends on the seed and n alone, so that
    a resumed run sees what it would have seen. The next batches are made while one is used."""

    def batch(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([seed, step])
        return make(pairs, rng.choice(pairs.training, count, p=chance), size, rng)

    chance = (1 + OPENING * pairs.opening + BLINKING * pairs.blinking)[pairs.training]
    chance /= chance.sum()
    pool = ThreadPoolExecutor(1)
    try:
        waiting = [pool.submit(batch, first), pool.submit(batch, first + 1)]
        for step in itertools.count(first + 2):
            waiting.append(pool.submit(batch, step))
            yield waiting.pop(0).result()
    finally:
        pool.shutdown(cancel_futures=True)
