"""`fetfast bench loop`: a clip onto a portrait, as fast as it will go and at a camera's pace."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fetfast.engine import Engine
from fetfast.face import Landmarker
from fetfast.image import Frame
from fetfast.live.files import transfer
from fetfast.live.loop import Loop
from fetfast.live.sources import Clip
from fetfast.live.stats import table
from fetfast.video import Reader, library

CAMERA = Fraction(25)  # frames a second
NOISE = 8.0  # of a camera indoors: standard deviation of a colour, of 255


def run(engine: Engine, clip: str | os.PathLike[str], portrait: str | os.PathLike[str]) -> dict[str, Any]:
    """Figures of a clip onto a portrait.

    fast: from file to file, decoding and encoding included, the second of two runs. camera: at 25 frames a second as
    from a camera, drops allowed. jitter: how much landmarks of the output move before a still driver with a camera's
    noise, with the filter over without. sound_s, length_s: by how much the file's sound and pictures differ from the
    driver's in length.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mp4"
        for _ in range(2):  # the first one warms up
            fast = transfer(engine, clip, portrait, out)
        lengths = {name: abs(_length(clip, name) - _length(out, name)) for name in ("audio", "video")}
    with Loop(engine, _Camera(clip), portrait) as loop:
        for _ in loop:
            pass
    camera = loop.stats.summary()
    with Reader(clip) as reader:
        still = next(iter(reader))[1]
    return {
        "plan": engine.plan.name,
        "backend": engine.backend,
        "fast": fast,
        "camera": camera,
        "dropped_share": camera["dropped"] / max(camera["dropped"] + camera["frames"], 1),
        "jitter": _jitter(engine, still, portrait, 0.5) / _jitter(engine, still, portrait, 0.0),
        "sound_s": lengths["audio"],
        "length_s": lengths["video"],
    }


def report(figures: dict[str, Any]) -> str:
    """The figures as lines for a person."""
    return "\n".join(
        (
            f"{figures['plan']} on {figures['backend']}",
            f"as fast as it goes: {table(figures['fast'])}",
            f"at a camera's {CAMERA} frames/s: {table(figures['camera'])}",
            f"  dropped {figures['dropped_share']:.1%}",
            f"jitter of a still driver: {figures['jitter']:.2f} of that without the filter",
            f"lengths differ: pictures {figures['length_s'] * 1e3:.0f} ms, sound {figures['sound_s'] * 1e3:.0f} ms",
        )
    )


class _Camera(Clip):
    """A clip as a camera would give it: 10 s at 25 frames a second, forth and back, whatever its own rate."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, live=True)
        self._frames = [frame for _, frame in islice(self._reader, 250)]
        self.rate = CAMERA

    def _unpaced(self) -> Iterator[tuple[Fraction, Frame]]:
        count = len(self._frames)
        for i in range(250):
            turn = i % (2 * count)
            yield i / CAMERA, self._frames[min(turn, 2 * count - 1 - turn)]


def _jitter(engine: Engine, still: Frame, portrait: str | os.PathLike[str], smooth: float) -> float:
    """Standard deviation of the output's landmarks over time, pixels, after the filter has settled."""
    noise = np.random.default_rng(0)
    frames = [np.clip(still + noise.normal(0, NOISE, still.shape), 0, 255).astype(np.uint8) for _ in range(50)]
    landmarker, face, points = Landmarker(), None, []
    with Loop(engine, _Frames(frames), portrait, smooth=smooth) as loop:
        for i, (frame, _) in enumerate(loop):
            if i < 15:
                continue
            face = face or landmarker.detect(frame)[0]
            seen = landmarker.track(frame, face)
            if seen is not None:
                points.append(seen.landmarks[:, :2])
    return float(np.std(points, axis=0).mean())


class _Frames:
    """Frames at a camera's rate that wait for the loop."""

    name, live, time_base, rate = "frames", False, 1 / CAMERA, CAMERA
    sound: str | None = None
    decoder: str | None = None
    trouble: str | None = None
    count: int | None = None

    def __init__(self, frames: list[Frame]) -> None:
        self._frames = frames

    def __iter__(self) -> Iterator[tuple[Fraction, Frame]]:
        for i, frame in enumerate(self._frames):
            yield i / CAMERA, frame

    def close(self) -> None:
        pass


def _length(path: str | os.PathLike[str], kind: str) -> float:
    """Seconds of a file's sound or pictures; 0 where it has none."""
    with library().open(str(path)) as container:
        streams = getattr(container.streams, kind)
        return float(streams[0].duration * streams[0].time_base) if streams and streams[0].duration else 0.0
