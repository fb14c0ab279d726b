"""Where the time goes while the loop runs: rates, latencies, frames that were dropped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

KEPT = 4096  # the newest times of each stage; memory stays flat
SHARES = (50, 95, 99)
# Stages that add up
THREADS = (("capture",), ("face",), ("target",), ("step",), ("download",), ("encode",), ("show",))


class Stats:
    """Times of stages, by name, and of whole frames from capture to show. Each stage is timed by one thread.

    Attributes: `frames` (shown), `fps` (since the first one was captured), `dropped` (by all queues
    on the way to the screen), `dropped_recording` (those that were shown, but not recorded), `decoder` (of the source);
    `driver_faces`, `target_faces` (frames shown in which the driver's face, the target's, was seen).
    """

    def __init__(self) -> None:
        self._rings: dict[str, np.ndarray] = {}
        self._counts: dict[str, int] = {}
        self._begin = self._end = 0.0
        self.frames = self.dropped = self.dropped_recording = 0
        self.driver_faces = self.target_faces = 0
        self.decoder: str | None = None

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds what the block takes, if it ends well."""
        begin = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - begin)

    def add(self, stage: str, seconds: float) -> None:
        ring = self._rings.setdefault(stage, np.zeros(KEPT))
        count = self._counts.get(stage, 0)
        ring[count % KEPT] = seconds
        self._counts[stage] = count + 1

    def shown(self, captured: float, driver: bool = True, target: bool = True) -> None:
        """A frame captured at `captured` (perf_counter) has now been shown; whether their faces were seen."""
        self._end = time.perf_counter()
        self.driver_faces += driver
        self.target_faces += target
        if not self.frames:
            self._begin = captured
        self.frames += 1
        self.add("latency", self._end - captured)

    @property
    def fps(self) -> float:
        return self.frames / (self._end - self._begin) if self.frames else 0.0

    def summary(self) -> dict[str, Any]:
        """fps, frames, driver_faces, target_faces, dropped, dropped_recording, decoder, latency_ms {p50, p95, p99},
        stages_ms {name: {p50, p95, p99}}, bottleneck (the stages of the thread that takes longest: no other one limits
        the rate); for JSON."""
        stages = {stage: self._percentiles(stage) for stage in list(self._counts)}
        latency = stages.pop("latency", dict.fromkeys((f"p{share}" for share in SHARES), 0.0))
        return {
            "fps": self.fps,
            "frames": self.frames,
            "driver_faces": self.driver_faces,
            "target_faces": self.target_faces,
            "dropped": self.dropped,
            "dropped_recording": self.dropped_recording,
            "decoder": self.decoder,
            "latency_ms": latency,
            "stages_ms": stages,
            "bottleneck": _bottleneck(stages),
        }

    def _percentiles(self, stage: str) -> dict[str, float]:
        times = self._rings[stage][: self._counts[stage]] * 1e3
        return {f"p{share}": float(value) for share, value in zip(SHARES, np.percentile(times, SHARES), strict=True)}


def _bottleneck(stages: dict[str, dict[str, float]]) -> str | None:
    threads = [[name for name in names if name in stages] for names in THREADS]
    longest = max(threads, key=lambda names: sum(stages[name]["p50"] for name in names))
    return " + ".join(longest) or None


def table(figures: dict[str, Any]) -> str:
    """A summary as lines for a person."""
    lines = [f"{figures['fps']:.1f} frames/s, {figures['frames']} shown, {figures['dropped']} dropped"]
    rows = {"capture to show": figures["latency_ms"]} | figures["stages_ms"]
    for name, row in rows.items():
        lines.append(f"  {name:<18}" + "   ".join(f"{share} {ms:7.2f} ms" for share, ms in row.items()))
    lines.append(f"  slowest: {figures['bottleneck']}; decoder: {figures['decoder'] or 'none'}")
    return "\n".join(lines)
