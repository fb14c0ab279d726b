"""Training pairs on disk, and the batches that networks see of them.

A set of pairs is a folder of NumPy arrays, one row a pair, read through the memory map:

    target.npy, truth.npy                            u8 [N, R, R, 3]   (B, e1) and (B, e2), the same crop of both
    target_points.npy, driven_points.npy             f32 [N, 478, 2]   their landmarks, crop units
    target_blendshapes.npy, source_blendshapes.npy   f32 [N, 52]       e1 of B, and e2 as it is read off another face A
    person.npy                                       i32 [N]           who B is
    about.json                                       how the pairs were made, and "held_out": the persons for validation

and, where `fetfast synth` knows them,

    source.npy   i32 [N]         the row whose truth shows (A, e2): another person under e2; the row itself: nobody else
    mask.npy     u8 [N, R, R]    what the truth shows, by its place in about.json's "regions" (synth/regions.py)
    label.npy    u8 [N]          the class of e2, by its place in about.json's "labels" (synth/labels.py)
    flow.npy     f16 [N, R / 2, R / 2, 2]  where the target shows what the truth shows: offsets (x, y) in crop units;
                                 NaN: nowhere
    light.npy    f16 [N, R / 2, R / 2]     how much brighter it is there, less one

The networks' inputs are built by the functions that build them at run time, so that training and use agree.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from fetfast.errors import BadInput
from fetfast.face.align import to_crop
from fetfast.face.gaze import conjugate
from fetfast.files import write_json, written
from fetfast.image import Frame
from fetfast.ops.crop import crop, to_picture
from fetfast.ops.heatmap import contours, first_flow
from fetfast.ops.teeth import teeth_map
from fetfast.spec import BLENDSHAPES, LANDMARKS

FINE = 2  # the picture that is warped is this much finer than the network's: run time warps the frame's own pixels
GAP = 0.03  # crop sides between lips that count as parted, and by which lids that open or shut move
OPENING, BLINKING = 4.0, 3.0  # how much more often a pair is seen whose mouth opens, whose lids open or shut
NOISE = 0.0015  # of a landmark, crop sides: the landmarker's own
SOFT, BLOCKS = 0.25, 0.3  # how often a pair is blurred, and its target a JPEG
ROWS: dict[str, tuple[str, tuple[int | None, ...]]] = {  # None: R, the pictures' side
    "target": ("uint8", (None, None, 3)),
    "truth": ("uint8", (None, None, 3)),
    "target_points": ("float32", (LANDMARKS, 2)),
    "driven_points": ("float32", (LANDMARKS, 2)),
    "target_blendshapes": ("float32", (len(BLENDSHAPES),)),
    "source_blendshapes": ("float32", (len(BLENDSHAPES),)),
    "person": ("int32", ()),
}
HALF = -1  # stands for R / 2
OPTIONAL: dict[str, tuple[str, tuple[int | None, ...]]] = {
    "source": ("int32", ()),
    "mask": ("uint8", (None, None)),
    "label": ("uint8", ()),
    "flow": ("float16", (HALF, HALF, 2)),
    "light": ("float16", (HALF, HALF)),
}


@dataclass(frozen=True)
class Pairs:
    """N pairs: `arrays` as above, `about` what made them, `training` and `validation` i64 rows, of different
    persons."""

    arrays: dict[str, NDArray[Any]]
    about: dict[str, Any]
    training: NDArray[np.int64]
    validation: NDArray[np.int64]
    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Pairs:
        """Raises BadInput where the folder is no set of pairs."""
        try:
            arrays: dict[str, NDArray[Any]] = {
                name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                for name in (*ROWS, *OPTIONAL)
                if name in ROWS or (folder / f"{name}.npy").exists()
            }
            about = json.loads((folder / "about.json").read_text())
            validation = np.isin(arrays["person"], about["held_out"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{folder} is no set of training pairs ({error}); make one: fetfast synth") from error
        count, size, *_ = *arrays["target"].shape, 1, 1  # too few axes are refused below
        for name, got in arrays.items():
            dtype, shape = (ROWS | OPTIONAL)[name]
            wanted = (count, *_sides(shape, size))
            if got.dtype != dtype or got.shape != wanted:
                raise BadInput(
                    f"{folder}/{name}.npy is {got.dtype} {list(got.shape)}, expected {dtype} {list(wanted)};"
                    " make the pairs again: fetfast synth"
                )
        return cls(arrays, about, np.flatnonzero(~validation), np.flatnonzero(validation), folder)

    @cached_property
    def readings(self) -> NDArray[np.float32]:
        """f32 [N, 2, 52]: what the landmarker reads off target and truth, NaN where it sees no face. It is what the
        networks get in use; the exact coefficients differ from it in gain and, from face to face, in bias. Takes a
        minute for some thousand pairs; kept in the folder."""
        file = self.folder / "readings.npy"
        if not file.exists():
            readings = _read(self.arrays)
            with written(file) as aside:
                np.save(aside, readings)
        return np.load(file, allow_pickle=False)

    @cached_property
    def bias(self) -> NDArray[np.float32]:
        """f32 [persons, 52]: how far the readings of a person's truths lie above the coefficients on average."""
        off = np.nan_to_num(self.readings[:, 1] - self.arrays["source_blendshapes"])
        persons = self.arrays["person"]
        return np.stack([off[persons == person].mean(axis=0) for person in range(persons.max() + 1)])

    @property
    def opening(self) -> NDArray[np.float64]:
        """f64 [N], 0 ... 1: how far the mouth opens from target to truth, which leaves most to be painted."""
        gaps = [np.linalg.norm(self.arrays[f"{end}_points"][:, 13] - self.arrays[f"{end}_points"][:, 14], axis=1)
                for end in ("target", "driven")]  # fmt: skip
        return ((gaps[1] - gaps[0]) / GAP).clip(0, 1).astype(np.float64)

    @property
    def blinking(self) -> NDArray[np.float64]:
        """f64 [N], 0 ... 1: how far a lid opens or shuts from target to truth: the more of the two eyes."""
        points = [self.arrays[f"{end}_points"] for end in ("target", "driven")]
        gaps = [np.linalg.norm(p[:, [159, 386]] - p[:, [145, 374]], axis=2) for p in points]
        return (abs(gaps[1] - gaps[0]).max(1) / GAP).clip(0, 1).astype(np.float64)

    @property
    def digest(self) -> str:
        """sha256 over all rows, in hex: which data a plan was trained on."""
        digest = hashlib.sha256()
        for name in self.arrays:
            for rows in np.array_split(self.arrays[name], max(1, len(self.arrays[name]) // 256)):
                digest.update(rows.tobytes())
        return digest.hexdigest()


def create(
    folder: Path, count: int, size: int, about: dict[str, Any], optional: Iterable[str] = ()
) -> dict[str, NDArray[Any]]:
    """An empty set of `count` pairs with pictures of `size` pixels and the `optional` arrays named; returns its arrays,
    writable, on disk. Worker processes open the same files and fill their own rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*ROWS, *OPTIONAL, "readings"):  # of a set that was here before
        (folder / f"{name}.npy").unlink(missing_ok=True)
    write_json(folder / "about.json", about)
    arrays: dict[str, NDArray[Any]] = {}
    for name in (*ROWS, *optional):
        dtype, shape = (ROWS | OPTIONAL)[name]
        arrays[name] = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, (count, *_sides(shape, size)))
    return arrays


def _sides(shape: tuple[int | None, ...], size: int) -> Iterator[int]:
    """A row's shape where pictures have `size` pixels a side."""
    for n in shape:
        yield size if n is None else size // 2 if n == HALF else n


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


def expressions(pairs: Pairs, rows: NDArray[np.int64], size: int, rng: np.random.Generator | None) -> dict[str, Tensor]:
    """What the fuse stage sees of these rows, as the landmarker reads it, and `driven_points`, the truth.

    With `rng` the source is somebody else: the reading's bias, which differs from face to face, is another person's.
    """
    target, source = (pairs.readings[rows, end].copy() for end in (0, 1))
    lost = np.isnan(target[:, 0] + source[:, 0])
    target[lost], source[lost] = (pairs.arrays[f"{end}_blendshapes"][rows[lost]] for end in ("target", "source"))
    source, target = conjugate(source), conjugate(target)
    points = np.array(pairs.arrays["target_points"][rows])
    if rng is not None:
        mine, theirs = pairs.arrays["person"][rows], pairs.arrays["person"][rng.choice(pairs.training, len(rows))]
        source = np.clip(source - pairs.bias[mine] + pairs.bias[theirs], 0, 1)
        points += rng.normal(0, NOISE, points.shape).astype(np.float32)
    out = {
        "source_blendshapes": source,
        "target_blendshapes": target,
        "target_points": points,
        "driven_points": np.array(pairs.arrays["driven_points"][rows]),
    }
    return {name: torch.from_numpy(value) for name, value in out.items()}


def _read(arrays: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    from fetfast.face import Face, Landmarker

    landmarker = Landmarker(threads=1)
    out = np.full((len(arrays["person"]), 2, len(BLENDSHAPES)), np.nan, np.float32)
    for row in tqdm(range(len(out)), "read", disable=None, leave=False):
        for end, (image, points) in enumerate((("target", "target_points"), ("truth", "driven_points"))):
            frame = np.array(arrays[image][row])
            landmarks = np.pad(arrays[points][row] * len(frame), ((0, 0), (0, 1))).astype(np.float32)
            face = landmarker.track(frame, Face(landmarks, out[row, end], 1.0))
            if face is not None:
                out[row, end] = face.blendshapes
    return out


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
