"""Training pairs on disk.

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
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fetfast.errors import BadInput
from fetfast.files import write_json
from fetfast.spec import BLENDSHAPES, LANDMARKS

GAP = 0.03  # crop sides between lips that count as parted, and by which lids that open or shut move
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


READINGS = "readings.npz"  # what `train/retarget.py` keeps in the folder


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
    for name in (*(f"{name}.npy" for name in (*ROWS, *OPTIONAL)), READINGS):  # of a set that was here before
        (folder / name).unlink(missing_ok=True)
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
