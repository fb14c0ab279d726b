"""What `bench/gpu.py` measures of whole frames: `stream` end to end, landmarks known, a portrait of 768 x 768.

stream      as `Engine.stream` gives them, one after the other
overlapped  as a video loop does: a frame comes down while the next is worked on
by the host the same networks, with crop, maps and paste on the processor, every stage's inputs up and outputs down
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any
from unittest.mock import patch

import numpy as np

from fetfast import backends
from fetfast.engine import Engine
from fetfast.face import Face
from fetfast.image import Frame
from fetfast.place import HOST
from fetfast.plan import Plan

BAR = 500.0  # frames/s
SIDE = 768
UNDER_WAY = 2  # frames that a loop's channel holds
ALIKE = 0.5  # levels, mean: more is another picture
ROWS = (("unet_fp16", "triton"), ("flow_fp32", "triton"), ("unet_fp16", "tensorrt"))


def row(dry: bool, plan: str, backend: str) -> dict[str, Any]:
    """Frames a second by way, and whether the device's frames are the host's."""
    plan, backend = ("flow_fp32", "eager") if dry else (plan, backend)
    if reason := backends.examine(Plan.open(plan))[backend]:
        return {"says": reason}
    with patch("fetfast.engine.Landmarker"):  # whose networks need not be on this machine
        return _row(Engine(plan, backend), 1 if dry else 100)


def _row(engine: Engine, count: int) -> dict[str, Any]:
    portrait, own, place = _portrait(), _face(0), engine.place
    ways = {
        "stream": lambda: engine.stream(cycle(map(_face, range(1, 9))), portrait, face=own),
        "overlapped": lambda: _overlapped(engine, portrait, own),
    }
    frames_s = {way: _rate(make(), count) for way, make in ways.items()}
    there = next(ways["stream"]())
    engine.place = HOST
    frames_s["by the host"] = _rate(ways["stream"](), count)
    off = float(np.abs(next(ways["stream"]()).astype(np.float32) - there).mean())
    rates = ", ".join(f"{way} {rate:.0f}" for way, rate in frames_s.items())
    return {
        "on_device": place is not HOST, "frames_s": frames_s, "bar": BAR, "reached": frames_s["stream"] >= BAR,
        "off_levels": off, "ok": off <= ALIKE, "says": f"bar {BAR:.0f} frames/s: {rates}",
    }  # fmt: skip


def _overlapped(engine: Engine, portrait: Frame, own: Face) -> Iterator[Frame]:
    target, under_way = engine.prepare(portrait, own), deque[Callable[[], list[Frame]]]()
    for source in cycle(map(_face, range(1, 9))):
        under_way.append(engine.begin(engine.step("transfer", source, target)))
        if len(under_way) > UNDER_WAY:
            yield under_way.popleft()()[0]


def _rate(frames: Iterator[Frame], count: int) -> float:
    """Frames a second: the median of five times `count`, after a first time that warms up."""
    times = []
    for _ in range(6 if count > 1 else 2):
        begin = time.perf_counter()
        for frame in islice(frames, count):
            assert frame.shape == (SIDE, SIDE, 3)
        times.append(time.perf_counter() - begin)
    return count / float(np.median(times[1:]))


def _portrait() -> Frame:
    """Smooth noise."""
    coarse = np.random.default_rng(0).integers(0, 256, (17, 17, 3)).astype(np.float32)
    at = np.linspace(0, 15.99, SIDE)
    low, share = at.astype(int), (at % 1)[:, None, None]
    rows = coarse[low] * (1 - share) + coarse[low + 1] * share
    return (rows[:, low] * (1 - share[None, :, 0]) + rows[:, low + 1] * share[None, :, 0]).astype(np.uint8)


def _face(seed: int) -> Face:
    """No face, but one to be cropped: points all over its place, and those that frame a crop where they may be."""
    rng = np.random.default_rng(seed)
    share = rng.uniform((0.35, 0.3, 0), (0.65, 0.7, 0), (478, 3))
    share[[33, 263, 234, 454, 2], :2] = (0.4, 0.42), (0.6, 0.42), (0.36, 0.44), (0.64, 0.44), (0.5, 0.52)
    return Face((SIDE * share).astype(np.float32), rng.random(52, np.float32), 1.0)
