"""The protocols by name, and one run of some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fetfast.engine import Engine
from fetfast.errors import BadInput, Unavailable
from fetfast.evaluate import actions, actors, clip, points
from fetfast.evaluate.data import default
from fetfast.evaluate.figures import Record, add_up, estimates
from fetfast.evaluate.setup import Setup, held_out_files, json_ready, people
from fetfast.face import Landmarker

BASELINE = "flow_fp32"


def rendered_actions(setup: Setup) -> Iterator[Record]:
    seeds = actors.IDENTITIES[: 2 if setup.quick else None]
    found = [actors.rendered(setup.data / "ict_facekit_f16.npz", seed) for seed in seeds]
    return actions.run(setup, found, 1 if setup.quick else 2)


def followed(setup: Setup) -> Iterator[Record]:
    return clip.run(setup, setup.data / "clips" / "single_face.mp4", 4 if setup.quick else 2)


PROTOCOLS: dict[str, Callable[[Setup], Iterator[Record]]] = {"actions": rendered_actions, "clip": followed}


def run(
    engine: Engine, only: Sequence[str] = tuple(PROTOCOLS), quick: bool = False, files: list[Path] | None = None
) -> dict[str, Any]:
    """Figures of a plan by the protocols named. files: photographs of targets; None: people held out from training.
    Raises BadInput, Unavailable (the extra `judges` is absent), MissingAsset (no data folder)."""
    if unknown := [name for name in only if name not in PROTOCOLS]:
        raise BadInput(f"evaluate(): no protocol {', '.join(unknown)}, expected some of {', '.join(PROTOCOLS)}")
    if reason := points.why_not():
        raise Unavailable(f"evaluate(): {reason}")
    data = default("portraits").parent
    landmarker = Landmarker()
    found, faceless = people(engine, files or held_out_files(data, *((4, 2) if quick else (10, 10))), landmarker)
    if not found:
        raise BadInput("evaluate(): no face in any picture, expected one target or more")
    baseline = None if quick or engine.plan.name == BASELINE else Engine(BASELINE)
    setup = Setup(engine, baseline, found, data, quick, landmarker)
    sums = {name: add_up(PROTOCOLS[name](setup)) for name in only}
    return {
        "plan": engine.plan.name,
        "digest": engine.plan.digest,
        "backend": engine.backend,
        "quick": quick,
        "people": [person.name for person in found],
        "without_face": faceless,
        "figures": json_ready({name: estimates(found) for name, found in sums.items()}),
        "sums": json_ready(sums),
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as lines for a person."""
    lines = [f"{figures['plan']} on {figures['backend']}: {len(figures['people'])} people; 95 % intervals over them"]
    for protocol, found in figures["figures"].items():
        methods = list(dict.fromkeys(method for row in found.values() for method in row))
        lines.append("\n" + f"{protocol:<34}" + "".join(f"{method:>21}" for method in methods))
        for figure, row in found.items():
            cells = ["—" if m not in row else f"{row[m][0]:.3f} [{row[m][1]:.2f}, {row[m][2]:.2f}]" for m in methods]
            lines.append(f"  {figure:<32}" + "".join(f"{cell:>21}" for cell in cells))
    if figures["without_face"]:
        lines.append(f"left out, no face found: {', '.join(figures['without_face'])}")
    return "\n".join(lines)
