"""How `conv` cuts its product into programs: a rule, and a table of shapes for which better was measured.

`fetfast tune` measures this machine's GPU and writes such a table; TABLE is the one that ships. UNTUNED: no row of it
has been measured yet, and the rule's numbers for sm_90 are a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil

SHARED = 96 * 1024  # bytes of shared memory that a program may have on any GPU from compute capability 8.6 on
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
        config = Config(rows, columns, depth, 4, 4 if hopper else 3, joined=True, split=split)
        return replace(config, stages=2) if gathers(config, shape) else config
    large = tiles >= 8 * shape.multiprocessors and not wide
    rows = 128 if large else 64
    if large and hopper and shape.columns >= 128:
        columns = 128
    return Config(rows, columns, depth, 8 if rows * columns > 8192 else 4, 3 if hopper else 2)


def neighbours(config: Config, shape: Shape, shared: int = SHARED) -> list[Config]:
    """What `tune` tries next: one thing changed, all else kept, as far as it makes sense and fits a GPU whose programs
    may have so many bytes of shared memory."""
    if config.library:
        return []
    sizes = [
        replace(config, **{name: value})
        for name in ("rows", "columns", "depth")
        for value in (getattr(config, name) // 2, getattr(config, name) * 2)
    ]
    found = [
        *sizes,
        *(replace(config, stages=config.stages + step) for step in (-1, 1)),
        replace(config, warps=12 - config.warps),  # 4 and 8
    ]
    if config.joined:
        found += [replace(config, split=config.split // 2), replace(config, split=config.split * 2)]
    found.append(replace(config, joined=not config.joined, split=1))
    return [neighbour for neighbour in found if possible(neighbour, shape, shared)]


def possible(config: Config, shape: Shape, shared: int = SHARED) -> bool:
    """Whether a shape can be computed so, without rows and columns that are mostly empty, in so many bytes of shared
    memory."""
    rows = shape.pixels * (shape.batch if config.joined else 1)
    steps = shape.taps * sum(ceil(c / config.depth) for c in shape.channels)
    return (
        16 <= config.rows <= max(16, min(256, _power(rows)))
        and 16 <= config.columns <= max(16, min(256, _power(shape.columns)))
        and 16 <= config.depth <= max(16, min(128, _power(max(shape.channels))))
        and config.rows * config.columns <= 1 << 15
        and config.stages in (2, 3, 4, 5)
        and shared_bytes(config, shape) <= shared
        and config.warps in (4, 8)
        and (not config.joined or shape.pixels * shape.parities <= JOINED_PIXELS)
        and 1 <= config.split <= max(1, steps // 2)
    )


def shared_bytes(config: Config, shape: Shape) -> int:
    """At least what the compiler asks for: the tiles on their way in; f32 ones once more, split into parts of tf32;
    and where rows lie in several images, each row's norm."""
    size = 6 if shape.dtype == "float32" else 2
    norms = 12 * config.rows * (config.stages - 1) if gathers(config, shape) else 0
    return config.depth * (config.stages * size * (config.rows + config.columns) + norms)


def gathers(config: Config, shape: Shape) -> bool:
    """Whether a program's rows lie in several images, so that each has a norm of its own."""
    return config.joined and shape.batch > 1 and shape.pixels % config.rows != 0


def _power(n: int) -> int:
    return 1 << (n - 1).bit_length()
