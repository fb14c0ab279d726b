"""A part of a video file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction

from fetfast.errors import BadInput


@dataclass(frozen=True)
class Part(os.PathLike[str]):
    """What stands for a file's path where only a part of it is meant: from `begin` to `end`, seconds from its start;
    None is its end. Raises BadInput."""

    path: str
    begin: Fraction = Fraction(0)
    end: Fraction | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.begin < (self.begin + 1 if self.end is None else self.end):
            span = f"{float(self.begin):g} ... {'' if self.end is None else f'{float(self.end):g}'}"
            raise BadInput(f"{self.path}: the part is {span} s, expected a begin from 0 on that lies before the end")

    @classmethod
    def of(cls, path: str | os.PathLike[str], begin: float | None = None, end: float | None = None) -> Part:
        """A path, or a part as it is."""
        if isinstance(path, Part):
            return path
        last = None if end is None else Fraction(end).limit_denominator(10**6)
        return cls(str(path), Fraction(begin or 0).limit_denominator(10**6), last)

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path
