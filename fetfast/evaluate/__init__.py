"""`fetfast evaluate`: how well a plan does its work, judged by what the engine does not run and was not trained with.

    actions   one action at a time of rendered drivers: how much of the driver's motion the result shows (`actions.py`)
    acted     the same, driven by photographs that the morphable model re-posed
    clip      a filmed stranger: lids, mouth, expression, identity, emotions (`cross.py`)
    others    the expressions of other people held out
    smiles    a resting face driven by the person's own smile, against that smile (`smiles.py`)
    itself    a face driven by itself
    pairs     re-posed photographs, landmarks given (`pairs.py`)
    reenact   a clip's first frame driven by the others (`film.py`)
    video     jitter, and flicker where nothing should move
    realism   by name only: distance of the results from photographs of others, KID (`realism.py`)

Each beside *copy the target*, the landmarks' warp `flow_fp32` and the driver itself, where these say something; with
bootstrap intervals over people (`figures.py`), and by groups of people (`groups.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fetfast.engine import Engine
from fetfast.errors import BadInput, Unavailable
from fetfast.evaluate import actions, actors, cross, film, groups, pairs, points, realism, smiles
from fetfast.evaluate.album import Album
from fetfast.evaluate.data import default, photos
from fetfast.evaluate.figures import DETAIL, Record, Sums, add_up, estimate, estimates
from fetfast.evaluate.setup import PLAN, Person, Setup, held_out_files, people
from fetfast.face import Landmarker

BASELINE = "flow_fp32"
CLIP = "clips/single_face.mp4"


def _actions(setup: Setup) -> Iterator[Record]:
    seeds = actors.IDENTITIES[: 2 if setup.quick else None]
    found = [actors.rendered(setup.data / "ict_facekit_f16.npz", seed) for seed in seeds]
    return actions.run(setup, found, 1 if setup.quick else 2, "actions")


def _acted(setup: Setup) -> Iterator[Record]:
    files = held_out_files(setup.data, "portraits")
    found = actors.calmest(setup.data / "ict_facekit_f16.npz", files, 1 if setup.quick else 4)
    return actions.run(setup, found, 1, "acted")


def _clip(setup: Setup) -> Iterator[Record]:
    return cross.clip(setup, setup.data / CLIP, 4 if setup.quick else 2)


def _strangers(setup: Setup, count: int | None) -> list[Person]:
    """Other people held out from training."""
    files = held_out_files(setup.data, "synthetic", count)
    return people(setup.engine, files, setup.landmarker)[0]


def _others(setup: Setup) -> Iterator[Record]:
    found = _strangers(setup, 12 if setup.quick else 60)
    return cross.others(setup, cross.strongest(found, 4 if setup.quick else 12))


def _realism(setup: Setup) -> Iterator[Record]:
    found = _strangers(setup, 30 if setup.quick else None)
    return realism.run(setup, cross.strongest(found, 4 if setup.quick else 12), found)


def _smiles(setup: Setup) -> Iterator[Record]:
    return smiles.true_smiles(setup, smiles.read(setup, 8 if setup.quick else None))


def _itself(setup: Setup) -> Iterator[Record]:
    return smiles.itself(setup, smiles.read(setup, 8 if setup.quick else None))


def _pairs(setup: Setup) -> Iterator[Record]:
    few = 2 if setup.quick else 10
    files = held_out_files(setup.data, "portraits", few) + held_out_files(setup.data, "synthetic", few)
    return pairs.run(setup, files, 4 if setup.quick else 8)


def _reenact(setup: Setup) -> Iterator[Record]:
    return film.reenact(setup, setup.data / CLIP, 6 if setup.quick else 1)


def _video(setup: Setup) -> Iterator[Record]:
    return film.steady(setup, setup.data / CLIP, 1 if setup.quick else 6)


PROTOCOLS: dict[str, Callable[[Setup], Iterator[Record]]] = {
    "actions": _actions, "acted": _acted, "clip": _clip, "others": _others, "smiles": _smiles, "itself": _itself,
    "pairs": _pairs, "reenact": _reenact, "video": _video, "realism": _realism,
}  # fmt: skip
BY_NAME = ("realism",)  # not run unless asked for


def evaluate(
    engine: Engine | str,
    only: Sequence[str] = (),
    quick: bool = False,
    targets: Path | None = None,
    album: Album | None = None,
) -> dict[str, Any]:
    """Figures of a plan by some of PROTOCOLS.

    engine: an Engine, or the path or name of a plan. only: names of protocols; none: all but BY_NAME. quick: fewer
    people, and no baseline: two minutes. targets: a folder of photographs of the people who are driven; None: twenty
    held out from training. album: takes the worst and best results of each protocol.

    Returns what was run, under "figures" protocol -> figure -> method -> [value, low, high] (95 % intervals), under
    "groups" the plan's figures by group of people, and under "sums" what they are ratios of, by person; for JSON.
    Raises BadInput, Unavailable (an extra is not installed), MissingAsset (no data folder).
    """
    if unknown := [name for name in only if name not in PROTOCOLS]:
        raise BadInput(f"evaluate(): no protocol {', '.join(unknown)}, expected some of {', '.join(PROTOCOLS)}")
    if reason := points.why_not():
        raise Unavailable(f"evaluate(): {reason}")
    files = photos(targets) if targets else []
    data = default("portraits").parent
    engine = Engine(engine) if isinstance(engine, str) else engine
    landmarker, count = Landmarker(), (4, 2) if quick else (10, 10)
    for folder, some in zip(("portraits", "synthetic"), count, strict=True):
        files += [] if targets else held_out_files(data, folder, some)
    found, faceless = people(engine, files, landmarker)
    if not found:
        raise BadInput(f"evaluate(): no face in any of {len(files)} pictures, expected one target or more")
    baseline = None if quick or engine.plan.name == BASELINE else Engine(BASELINE)
    setup = Setup(engine, baseline, found, data, quick, landmarker, album or Album())
    wanted = only or [name for name in PROTOCOLS if name not in BY_NAME]
    sums = {name: add_up(run(setup)) for name, run in PROTOCOLS.items() if name in wanted}
    known = {person.name: groups.seen(person, setup.look(person.frame, person.M)) for person in found}
    if any(name in sums for name in ("smiles", "itself")):
        told = groups.told(data / "london")
        for pair in smiles.read(setup, 8 if quick else None):
            person = pair.neutral
            known[person.name] = groups.seen(person, setup.look(person.frame, person.M)) | told[person.name[-3:]]
    return {
        "plan": engine.plan.name,
        "digest": engine.plan.digest,
        "backend": engine.backend,
        "quick": quick,
        "without_face": faceless,
        **summary(sums, known),
    }


def summary(sums: dict[str, Sums], known: dict[str, groups.Groups]) -> dict[str, Any]:
    """figures, groups, people and sums, rounded to four decimals. What people told of themselves is in no file."""
    split: dict[str, Any] = {}
    for group, names in groups.members(known).items():
        for protocol, found in sums.items():
            for figure, methods in found.items():
                here = [name for name in names if name in methods.get(PLAN, {})]
                value = estimate(methods.get(PLAN, {}), here)
                if value is not None and len(here) >= groups.FEW and DETAIL not in figure:
                    split.setdefault(protocol, {}).setdefault(figure, {})[group] = [*value, len(here)]
    figures = {name: estimates(found) for name, found in sums.items()}
    own = {name: {figure: row[PLAN] for figure, row in found.items() if PLAN in row} for name, found in sums.items()}
    rounded: dict[str, Any] = _rounded({"figures": figures, "groups": split, "people": sorted(known), "sums": own})
    return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value
