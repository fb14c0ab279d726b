"""A filmed driver: how well lids and mouth follow, within each target, by dlib's landmarks.

Over the frames of the clip, of each target's results: slope and correlation of lids (eye aspect ratio, both eyes), of
how far the lips part, how wide the mouth is and how high its corners stand, on the driver's. Not of brows: a head that
tips forward looks like raised brows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fetfast.evaluate.data import frames
from fetfast.evaluate.figures import Record
from fetfast.evaluate.points import Look
from fetfast.evaluate.setup import Setup
from fetfast.face import Face
from fetfast.image import Frame

READ = ("lids", "mouth open", "mouth width", "mouth corners")


def values(look: Look) -> np.ndarray:
    """f64 [4], as READ."""
    return np.array([look.lids.mean(), *look.mouth], np.float64)


def driving(setup: Setup, clip: Path, every: int) -> list[tuple[Frame, Face]]:
    """Every `every`-th frame in which a face is seen, followed from frame to frame as a stream does it."""
    found: list[tuple[Frame, Face]] = []
    face = None
    for n, (_, frame) in enumerate(frames(clip)):
        face = setup.engine.follow(frame, face)
        if face is not None and n % every == 0:
            found.append((frame, face))
    return found


def run(setup: Setup, clip: Path, every: int) -> Iterator[Record]:
    shown = driving(setup, clip, every)
    driver = np.stack([values(setup.look(frame, setup.crop(face))) for frame, face in shown])
    for person in setup.bar(setup.people, "clip"):
        for method, transfer in setup.methods.items():
            if method == "driver":
                results = driver
            elif method == "copy":
                results = np.repeat(values(setup.look(person.frame, person.M))[None], len(shown), 0)
            else:
                results = np.stack([values(setup.look(transfer(person, f, p), person.M)) for p, f in shown])
            yield from compared(person.name, method, results, driver)


def compared(person: str, method: str, results: np.ndarray, driver: np.ndarray) -> Iterator[Record]:
    """Slopes and correlations of results [F, 4] on the driver's [F, 4]."""
    x, y = (values - values.mean(0) for values in (driver, results))
    for name, xs, ys in zip(READ, x.T, y.T, strict=True):
        yield Record(f"{name}, slope", method, person, float(xs @ ys), float(xs @ xs))
        spread = float(np.sqrt((xs @ xs) * (ys @ ys)))
        yield Record(f"{name}, corr", method, person, float(xs @ ys) / spread if spread > 1e-12 else 0.0)
