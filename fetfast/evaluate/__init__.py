"""`fetfast evaluate`: how well a plan does its work, on real photographs and real drivers.

Every target is driven by every driving frame, and then by other targets: expressions of people held out from training,
who all differ from the clip's and from each other. A measure reads targets, drivers and results. A measure is a file:

    why_not() -> str | None                     why it cannot be had here
    reader() -> Callable[[Frame, Face], Array]  what it takes from a picture and the face in it, f32 [N]
    score(targets, drivers, outputs) -> dict    figures, from [T, N], [D, N] (or [T, D, N], where each target has its
                                                own) and [T, D, N]; a row of NaN where a result shows no face
    describe(figures) -> str                    the figures on one line
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fetfast import image
from fetfast.engine import Engine
from fetfast.errors import BadInput, Unavailable
from fetfast.evaluate import data, expression, identity, pairs, reenact
from fetfast.face import Face, Landmarker

MEASURES = {"expression": expression, "identity": identity}
COMPARISONS = {"reenactment": reenact, "pairs": pairs}  # with pictures that are known to be right; they `describe` too
OTHERS = 12  # of the other targets drive each, at most


@dataclass(frozen=True)
class Shown:
    """A face in a picture, and what each measure reads off it."""

    frame: data.Frame
    face: Face
    values: dict[str, np.ndarray]


def evaluate(
    engine: Engine | str,
    targets: Path | None = None,
    drivers: Path | None = None,
    every: int = 8,
    known: Path | None = None,
) -> dict[str, Any]:
    """Drives every target with every driving frame and with other targets, and measures the results.

    engine: an Engine, or the path or name of a plan.
    targets: a folder of photographs, the largest face of each; None: the portraits of the data folder that the plan
    was not trained on.
    drivers: a video, or a folder of photographs; None: the data folder's clip. Of a video every `every`-th frame,
    from the first on, is taken; and the clip is reenacted from its first frame, all of it.
    known: a folder of pairs made by `fetfast synth`, of which those held out are compared with the truth.

    Returns what was run and under "measures" each measure's figures, or {"unavailable": why}; under "others" the same
    of the targets that drive each other, where there are two or more; ready for JSON.
    Raises BadInput, Unavailable (a video without PyAV), MissingAsset (no data folder).
    """
    engine = Engine(engine) if isinstance(engine, str) else engine
    photos = data.photos(targets) if targets else data.unseen(engine.plan, data.photos(data.default("portraits")))
    drivers = drivers or data.default("clips/single_face.mp4")
    reasons = {name: measure.why_not() for name, measure in MEASURES.items()}
    readers = {name: measure.reader() for name, measure in MEASURES.items() if reasons[name] is None}
    landmarker = Landmarker()
    faceless: list[str] = []

    def read(frame: data.Frame) -> Shown | None:
        for face in landmarker.detect(frame)[:1]:
            return Shown(frame, face, {name: reader(frame, face) for name, reader in readers.items()})
        return None

    def faces(pictures: Iterable[tuple[str, data.Frame]]) -> list[Shown]:
        shown = [(name, read(frame)) for name, frame in pictures]
        faceless.extend(name for name, found in shown if found is None)
        return [found for _, found in shown if found is not None]

    def drive(drivers_of: list[list[Shown]]) -> dict[str, Any]:
        results = []
        for person, driving in zip(people, tqdm(drivers_of, "evaluate", disable=None, leave=False), strict=True):
            target = engine.prepare(person.frame, person.face)
            results.append([read(engine.render(d.face, target, d.frame)) for d in driving])
        scores: dict[str, Any] = {name: {"unavailable": reason} for name, reason in reasons.items() if reason}
        for name in readers:
            scores[name] = MEASURES[name].score(
                np.array([person.values[name] for person in people]),
                np.array([[driver.values[name] for driver in driving] for driving in drivers_of]),
                np.array([
                    [found.values[name] if found else person.values[name] * np.nan for found in row]
                    for person, row in zip(people, results, strict=True)
                ]),
            )  # fmt: skip
        return {
            "drivers": len(drivers_of[0]),
            "results_without_face": sum(found is None for row in results for found in row),
            "measures": {name: scores[name] for name in MEASURES},
        }

    driving = faces(data.frames(drivers, every))
    if not driving:
        raise BadInput(f"evaluate(): no face in any picture of {drivers}, expected at least one driver")
    people = faces((photo.name, image.load(photo)) for photo in photos)
    if not people:
        raise BadInput(f"evaluate(): no face in any of {len(photos)} pictures, expected one target or more")
    figures: dict[str, Any] = {
        "plan": engine.plan.name,
        "digest": engine.plan.digest,
        "backend": engine.backend,
        "targets": len(people),
        "driver": drivers.name + (f", every {every}th frame" if drivers.is_file() and every > 1 else ""),
        "without_face": faceless,
        **drive([driving] * len(people)),
    }
    found: dict[str, Any] | None
    for name, compare in (
        ("reenactment", lambda: reenact.reenact(engine, every_frame(drivers)) if drivers.is_file() else None),
        ("pairs", lambda: pairs.pairs(engine, known) if known else None),
    ):
        try:
            found = compare()
        except Unavailable as error:  # scikit-image is not installed
            found = {"unavailable": str(error)}
        if found:
            figures["measures"][name] = found
    if len(people) > 1:
        count = min(OTHERS, len(people) - 1)
        figures["others"] = drive([(people[n + 1 :] + people[:n])[:count] for n in range(len(people))])
    return figures


def every_frame(clip: Path) -> Iterator[data.Frame]:
    for _, frame in tqdm(data.frames(clip), "reenact", disable=None, leave=False):
        yield frame


def table(figures: dict[str, Any]) -> str:
    """The figures as lines for a person."""
    lines = [
        f"{figures['plan']} on {figures['backend']}: {figures['targets']} targets x {figures['drivers']} driving frames"
        f" ({figures['driver']})",
        *describe(figures),
    ]
    if others := figures.get("others"):
        lines += [f"each target driven by {others['drivers']} of the others", *describe(others)]
    if figures["without_face"]:
        lines.append(f"left out, no face found: {', '.join(figures['without_face'])}")
    return "\n".join(lines)


def describe(block: dict[str, Any]) -> list[str]:
    lines = []
    for name, scores in block["measures"].items():
        measure = (MEASURES | COMPARISONS)[name]
        text = f"left out: {scores['unavailable']}" if "unavailable" in scores else measure.describe(scores)
        lines.append(f"  {name:<12}{text}")
    if block["results_without_face"]:
        lines.append(f"  results in which no face was found: {block['results_without_face']}")
    return lines
