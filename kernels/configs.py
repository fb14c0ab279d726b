"""How `conv` cuts its product into programs: a rule, and a table of shapes for which better was measured.

`fetfast tune` measures this machine's GPU and writes such a table; TABLE is the one that ships. UNTUNED: no row of it
has been measured yet, and the rule's numbers for sm_90 are a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

JOINED_PIXELS = 1024  # of one output, which a program of `join` holds whole


@dataclass(frozen=True)
class Config:
    """One program computes `rows` output pixels x `columns` channels, `depth` channels of a tap at a time.

    joined: the sums are split in `split` parts and joined by a second kernel; else split is 1.
    library: not ours at all, but cuDNN on inputs that are written first; the other fields then mean nothing.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int
    joined: bool = False
    split: int = 1
    library: bool = False


@dataclass(frozen=True)
class Shape:
    """What a choice depends on. pixels: of one image's output, in one parity of a transposed convolution."""

    capability: int  # 90 for sm_90
    multiprocessors: int
    dtype: str  # "float16", "bfloat16", "float32"
    batch: int
    pixels: int
    channels: tuple[int, ...]  # of each source
    columns: int  # output channels
    taps: int  # summed over by one output pixel: 9, 16, or 4 of a transposed 4x4
    parities: int  # 1, or 4 for a transposed one

    @property
    def key(self) -> str:
        sources = "+".join(str(c) for c in self.channels)
        return (
            f"sm_{self.capability}/{self.dtype}/{self.batch}x{self.pixels}x{self.parities}/"
            f"{self.taps}x({sources})/{self.columns}"
        )


TABLE: dict[str, Config] = {}


def choose(shape: Shape, table: Mapping[str, Config] = TABLE) -> Config:
    return table.get(shape.key) or rule(shape)


def rule(shape: Shape) -> Config:
    """Enough programs for every multiprocessor first, then large tiles."""
    wide = shape.dtype == "float32"
    hopper = shape.capability in (90, 100)
    depth = min(32 if wide or not hopper else 64, max(16, _power(max(shape.channels))))
    columns = max(16, min(64, _power(shape.columns)))
    tiles = ceil(shape.pixels / 64) * ceil(shape.columns / columns) * shape.parities * shape.batch
    outputs = shape.pixels * shape.parities
    if outputs <= JOINED_PIXELS and (shape.pixels < 64 or tiles < 2 * shape.multiprocessors):
        rows = max(16, min(64, _power(shape.batch * shape.pixels)))
        tiles = ceil(shape.batch * shape.pixels / rows) * ceil(shape.columns / columns) * shape.parities
        steps = shape.taps * sum(ceil(c / depth) for c in shape.channels)
        split = max(1, min(32, steps // 4, round(2 * shape.multiprocessors / tiles)))
        gathers = shape.batch > 1 and shape.pixels % rows != 0  # a norm for each row: large
        return Config(rows, columns, depth, 4, 2 if gathers else 4 if hopper else 3, joined=True, split=split)
    large = tiles >= 8 * shape.multiprocessors and not wide
    rows = 128 if large else 64
    if large and hopper and shape.columns >= 128:
        columns = 128
    return Config(rows, columns, depth, 8 if rows * columns > 8192 else 4, 3 if hopper else 2)


def candidates(shape: Shape) -> list[Config]:
    """What `tune` tries: the rule's choice and its neighbours, all within 96 KB of shared memory."""
    size = 4 if shape.dtype == "float32" else 2
    found = [rule(shape), Config(0, 0, 0, 0, 0, library=True)]
    columns_max = max(16, _power(shape.columns))
    depth_max = max(16, _power(max(shape.channels)))
    joins: list[tuple[bool, int]] = [(False, 1)] if shape.pixels >= 16 else []
    if shape.pixels * shape.parities <= JOINED_PIXELS:
        joins += [(True, split) for split in (1, 2, 4, 8, 16, 32) if split <= shape.taps * sum(shape.channels) // 64]
    for joined, split in joins:
        for rows in (16, 32, 64, 128):
            for columns in (16, 32, 64, 128):
                for depth in (16, 32, 64, 128):
                    stages = min(5, 96 * 1024 // (size * depth * (rows + columns)))
                    fits = rows < 2 * max(16, shape.pixels * (shape.batch if joined else 1)) and stages >= 2
                    if fits and columns <= columns_max and depth <= depth_max and depth >= min(32, depth_max):
                        warps = 8 if rows * columns >= 16384 else 4
                        found.append(Config(rows, columns, depth, warps, stages, joined, split))
    return list(dict.fromkeys(found))


def _power(n: int) -> int:
    return 1 << (n - 1).bit_length()
