"""`fetfast evaluate`: how well a plan does its work, on real photographs and a real driver.

Every target is driven by every driving frame, and a measure reads targets, drivers and results. A measure is a file:

    why_not() -> str | None                     why it cannot be had here
    reader() -> Callable[[Frame, Face], Array]  what it takes from a picture and the face in it, f32 [N]
    score(targets, drivers, outputs) -> dict    figures, from [T, N], [D, N] and [T, D, N]; a row of NaN where a
                                                result shows no face
    describe(figures) -> str                    the figures on one line
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fetfast import image
from fetfast.engine import Engine
from fetfast.errors import BadInput
from fetfast.evaluate import data, expression, identity, pairs, reenact
from fetfast.face import Face, Landmarker

MEASURES = {"expression": expression, "identity": identity}
COMPARISONS = {"reenactment": reenact, "pairs": pairs}  # with pictures that are known to be right; they `describe` too


def evaluate(
    engine: Engine | str,
    targets: Path | None = None,
    drivers: Path | None = None,
    every: int = 8,
    known: Path | None = None,
) -> dict[str, Any]:
    """Drives every target with every driving frame and measures the results.

    engine: an Engine, or the path or name of a plan.
    targets: a folder of photographs, the largest face of each; None: the portraits of the data folder that the plan
    was not trained on.
    drivers: a video, or a folder of photographs; None: the data folder's clip. Of a video every `every`-th frame,
    from the first on, is taken, and the clip is reenacted from its first frame.
    known: a folder of pairs made by `fetfast synth`, of which those held out are compared with the truth.

    Returns what was run and under "measures" each measure's figures, or {"unavailable": why}; ready for JSON.
    Raises BadInput, Unavailable (a video without PyAV), MissingAsset (no data folder).
    """
    engine = Engine(engine) if isinstance(engine, str) else engine
    photos = data.photos(targets) if targets else data.unseen(engine.plan, data.photos(data.default("portraits")))
    drivers = drivers or data.default("clips/single_face.mp4")
    reasons = {name: measure.why_not() for name, measure in MEASURES.items()}
    readers = {name: measure.reader() for name, measure in MEASURES.items() if reasons[name] is None}
    landmarker = Landmarker()

    def find(frame: data.Frame) -> Face | None:
        return next(iter(landmarker.detect(frame)), None)

    def read(frame: data.Frame, face: Face) -> dict[str, np.ndarray]:
        return {name: reader(frame, face) for name, reader in readers.items()}

    faceless: list[str] = []
    driving: list[tuple[Face, data.Frame]] = []
    driver_values = []
    for name, frame in data.frames(drivers, every):
        if (face := find(frame)) is None:
            faceless.append(name)
        else:
            driving.append((face, frame))
            driver_values.append(read(frame, face))
    if not driving:
        raise BadInput(f"evaluate(): no face in any picture of {drivers}, expected at least one driver")

    target_values, output_values, lost = [], [], 0
    for photo in tqdm(photos, "evaluate", unit="target", disable=None, leave=False):
        frame = image.load(photo)
        if (face := find(frame)) is None:
            faceless.append(photo.name)
            continue
        prepared = engine.prepare(frame, face)
        target_values.append(read(frame, face))
        row = []
        for driver, driver_frame in driving:
            result = engine.render(driver, prepared, driver_frame)
            found = find(result)
            row.append(read(result, found) if found else {k: v * np.nan for k, v in target_values[-1].items()})
            lost += found is None
        output_values.append(row)
    if not target_values:
        raise BadInput(f"evaluate(): no face in any of {len(photos)} pictures, expected one target or more")

    scores: dict[str, Any] = {name: {"unavailable": reason} for name, reason in reasons.items() if reason}
    for name in readers:
        scores[name] = MEASURES[name].score(
            np.array([values[name] for values in target_values]),
            np.array([values[name] for values in driver_values]),
            np.array([[values[name] for values in row] for row in output_values]),
        )
    if drivers.is_file() and len(driving) > 1:
        scores["reenactment"] = reenact.reenact(engine, driving)
    if known is not None:
        scores["pairs"] = pairs.pairs(engine, known)
    return {
        "plan": engine.plan.name,
        "digest": engine.plan.digest,
        "backend": engine.backend,
        "targets": len(target_values),
        "drivers": len(driving),
        "driver": drivers.name + (f", every {every}th frame" if drivers.is_file() and every > 1 else ""),
        "without_face": faceless,
        "results_without_face": lost,
        "measures": {name: scores[name] for name in (*MEASURES, *COMPARISONS) if name in scores},
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as lines for a person."""
    lines = [
        f"{figures['plan']} on {figures['backend']}: {figures['targets']} targets x {figures['drivers']} driving frames"
        f" ({figures['driver']})"
    ]
    for name, scores in figures["measures"].items():
        measure = (MEASURES | COMPARISONS)[name]
        text = f"left out: {scores['unavailable']}" if "unavailable" in scores else measure.describe(scores)
        lines.append(f"  {name:<12}{text}")
    if figures["without_face"]:
        lines.append(f"  left out, no face found: {', '.join(figures['without_face'])}")
    if figures["results_without_face"]:
        lines.append(f"  results in which no face was found: {figures['results_without_face']}")
    return "\n".join(lines)
