"""One action at a time: how much of a driver's own motion the result shows, where, and what moves that should not.

Drivers show a blink, a wink, raised brows ... and nothing else (`actors.py`), at 0, half and all of it. Motion is
measured between pictures of one person, the result at rest (driven by the driver at rest) and the result under the
action, as it is between the driver's own two pictures (`motion.py`). Figures, each a ratio of sums over drivers:

    blink: lid open, right      the result's motion along that axis over the driver's: 1 is all of it
    blink                       the same, of all parts and sides that the action moves
    blink: half                 the same between rest and half of the action
    blink: cross-talk           mean motion of parts at which the driver stays still, over the driver's own motion
    blink: eye ratio            of the eye aspect ratio under the action, result's over driver's
    wink right: other eye       how much the other eye's opening changes, over what the driver's winking eye does
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fetfast.evaluate.actors import ACTIONS, Action, Actor
from fetfast.evaluate.figures import DETAIL, Record
from fetfast.evaluate.motion import SIDES, Motion, along, motion, size
from fetfast.evaluate.points import Look
from fetfast.evaluate.setup import PLAN, Person, Setup
from fetfast.face import Face
from fetfast.image import Frame

STILL = 0.15  # of an action's main motion: a part of the driver that moves less should not move
LEVELS = (0.5, 1.0)


@dataclass(frozen=True)
class Performance:
    """What a driver shows: at rest, and of each action the pictures, faces and motions at LEVELS."""

    rest: Person
    shown: dict[str, list[tuple[Frame, Face]]]
    looks: dict[str, list[Look]]
    motions: dict[str, list[Motion]]


def perform(setup: Setup, actor: Actor) -> Performance:
    """Raises NoFace where the actor's face is not found."""
    rest = setup.person(actor.name, actor.act(next(iter(ACTIONS)), 0))
    still = setup.look(rest.frame, rest.M)
    performance = Performance(rest, {}, {}, {})
    for action in ACTIONS:
        frames = [actor.act(action, level) for level in LEVELS]
        # as in a stream: the face is followed from rest
        faces = [setup.landmarker.track(shown, rest.face) or rest.face for shown in frames]
        performance.shown[action] = list(zip(frames, faces, strict=True))
        looks = [setup.look(shown, rest.M) for shown in frames]
        performance.looks[action], performance.motions[action] = looks, motion(still, *looks)
    return performance


def run(setup: Setup, actors: list[Actor], each: int, protocol: str) -> Iterator[Record]:
    """Every person driven by `each` of the actors, taking turns."""
    stage = [perform(setup, actor) for actor in setup.bar(actors, f"{protocol}: actors")]
    for n, person in enumerate(setup.bar(setup.people, protocol)):
        for k in range(min(each, len(stage))):
            driver = stage[(n * each + k) % len(stage)]
            for method, transfer in setup.methods.items():
                at_rest = transfer(person, driver.rest.face, driver.rest.frame)
                rest = setup.look(at_rest, person.M)
                for action in ACTIONS:
                    if method == "driver":
                        looks, moved = driver.looks[action], driver.motions[action]
                    elif method == "copy":
                        looks = [rest] * len(LEVELS)
                        moved = motion(rest, *looks)
                    else:
                        results = [transfer(person, face, frame) for frame, face in driver.shown[action]]
                        looks = [setup.look(result, person.M) for result in results]
                        moved = motion(rest, *looks)
                    for figure, top, below in compared(action, moved, looks, driver):
                        yield Record(figure, method, person.name, top, below)
                        if method == PLAN and figure == action:
                            share, rested = top / max(below, 1e-6), driver.rest
                            pictures = {
                                "target": (person.frame, person.M), "driver at rest": (rested.frame, rested.M),
                                "driver": (driver.shown[action][-1][0], rested.M),
                                "result at rest": (at_rest, person.M), "result": (results[-1], person.M),
                            }  # fmt: skip
                            case = f"{action}: {share:.2f} of the motion of {rested.name}"
                            setup.album.add(protocol, -abs(share - 1), person.name, case, pictures)


def compared(
    action: str, moved: list[Motion], looks: list[Look], driver: Performance
) -> Iterator[tuple[str, float, float]]:
    """Figures of one result, as (name, numerator, denominator)."""
    what: Action = ACTIONS[action]
    own = driver.motions[action]
    total = np.zeros((len(LEVELS), 2))
    for part, axis in what.seen:
        for side in what.sides:
            pairs = np.array([[along(m, part, axis, side) for m in both] for both in zip(moved, own, strict=True)])
            if np.isnan(pairs).any():  # an eye that is shut at rest
                continue
            pairs *= np.sign(pairs[-1:, 1:])  # along the driver's own direction
            total += pairs
            yield f"{action}{DETAIL}{part} {axis}, {side}", *pairs[-1]
    yield action, *total[1]
    yield f"{action}{DETAIL}half", *total[0]
    seen = {(part, side) for part, _ in what.seen for side in what.sides}
    sizes = {place: amount for place in own[-1] if np.isfinite(amount := size(own[-1], *place))}
    main = max((amount for place, amount in sizes.items() if place in seen), default=0.0)
    blinks = any(part == "lid" for part, _ in what.seen)
    still = [p for p in sizes if p not in seen and sizes[p] < STILL * main and not (blinks and p[0] == "iris")]
    crossed = [amount for place in still if np.isfinite(amount := size(moved[-1], *place))]
    if crossed:
        yield f"{action}{DETAIL}cross-talk", float(np.mean(crossed)), main
    if action == "blink":
        yield f"{action}{DETAIL}eye ratio", float(looks[-1].lids.sum()), float(driver.looks[action][-1].lids.sum())
    if len(what.sides) == 1 and blinks:
        (side,) = what.sides
        other = SIDES[1 - SIDES.index(side)]
        yield f"{action}{DETAIL}other eye", abs(moved[-1]["lid", other][1]), abs(own[-1]["lid", side][1])
