"""`fetfast bench loop`: a clip onto a portrait, as fast as it will go and at a camera's pace."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from fetfast.engine import Engine
from fetfast.image import Frame
from fetfast.live.files import transfer
from fetfast.live.loop import Loop
from fetfast.live.sources import Clip
from fetfast.live.stats import table

CAMERA = Fraction(25)  # frames a second


def run(
    engine: Engine, clip: str | os.PathLike[str], portrait: str | os.PathLike[str], seconds: float = 10
) -> dict[str, Any]:
    """Figures of a clip onto a portrait.

    fast: from file to file, decoding and encoding included, the second of two runs. camera: for so many seconds at 25
    frames a second as from a camera, drops allowed.
    """
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):  # the first one warms up
            fast = transfer(engine, clip, portrait, Path(folder) / "out.mp4")
    with Loop(engine, _Camera(clip, round(seconds * CAMERA)), portrait) as loop:
        for _ in loop:
            pass
    camera = loop.stats.summary()
    return {
        "plan": engine.plan.name,
        "backend": engine.backend,
        "fast": fast,
        "camera": camera,
        "dropped_share": camera["dropped"] / max(camera["dropped"] + camera["frames"], 1),
    }


def report(figures: dict[str, Any]) -> str:
    """The figures as lines for a person."""
    return "\n".join(
        (
            f"{figures['plan']} on {figures['backend']}",
            f"as fast as it goes: {table(figures['fast'])}",
            f"at a camera's {CAMERA} frames/s: {table(figures['camera'])}",
            f"  dropped {figures['dropped_share']:.1%}",
        )
    )


class _Camera(Clip):
    """A clip as a camera would give it: so many frames at 25 a second, forth and back, whatever its own rate."""

    def __init__(self, path: str | os.PathLike[str], count: int) -> None:
        super().__init__(path, live=True)
        self._frames, self._count = [frame for _, frame in islice(self._reader, count)], count
        self.rate = CAMERA

    def _unpaced(self) -> Iterator[tuple[Fraction, Frame]]:
        count = len(self._frames)
        for i in range(self._count):
            turn = i % (2 * count)
            yield i / CAMERA, self._frames[min(turn, 2 * count - 1 - turn)]
