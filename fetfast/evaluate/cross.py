"""Across people: targets driven by a filmed stranger, and by the expressions of others held out from training.

Of every result: how much of the gap between target and driver is closed, and how well results follow the driver's
changes (blendshapes of the engine's own landmarker: *not independent*); whether the target stays itself (dlib's
identity network); and whether two classifiers of emotion see in the result what they see in the driver.

    gap closed            1 - sum |result - driver| / sum |target - driver|, of the blendshapes that vary in the driver
    corr within           correlation of result and driver over the drivers of one target, mean of these blendshapes
    identity, distance    in dlib's network; to the target, and to the driver
    nearer to the target  the share of results that are
    NAME agrees           the share of results in which the classifier sees the driver's emotion (its own first choice)

On a clip also, by dlib's landmarks: slope and correlation of lids (eye aspect ratio, both eyes), of how far the lips
part, how wide the mouth is and how high its corners stand, on the driver's. Not of brows: a head that tips forward
looks like raised brows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fetfast.evaluate.data import frames
from fetfast.evaluate.figures import Record
from fetfast.evaluate.points import Look
from fetfast.evaluate.setup import PLAN, Person, Seen, Setup
from fetfast.evaluate.sheet import different

IDENTIFIED = 4  # every so manyth frame of a clip is shown to the identity network
VARIES = 0.03  # standard deviation of a blendshape over the drivers from which it counts
READ = ("lids", "mouth open", "mouth width", "mouth corners")
NOT_INDEPENDENT = " (landmarker)"


def clip(setup: Setup, path: Path, every: int) -> Iterator[Record]:
    """Every `every`-th frame of a video drives everybody."""
    return _cross(setup, driving(setup, path, every), "clip", film=True)


def others(setup: Setup, drivers: list[Person]) -> Iterator[Record]:
    """Everybody driven by each of the drivers but themselves."""
    return _cross(setup, drivers, "others", film=False)


def driving(setup: Setup, path: Path, every: int = 1) -> list[Person]:
    """The frames in which a face is seen, followed from frame to frame as a stream does it."""
    found: list[Person] = []
    face = None
    for n, (_, frame) in enumerate(frames(path)):
        face = setup.engine.follow(frame, face)
        if face is not None and n % every == 0:
            found.append(Person(f"{path.name} {n}", frame, face))
    return found


def strongest(people: list[Person], count: int) -> list[Person]:
    """Those whose expressions differ most from each other's."""
    chosen = different(np.stack([person.face.blendshapes for person in people]), count) if people else []
    return [people[n] for n in chosen]


def _cross(setup: Setup, drivers: list[Person], protocol: str, film: bool) -> Iterator[Record]:
    named = [not film or n % IDENTIFIED == 0 for n in range(len(drivers))]
    seen = [setup.see(d.frame, d.M, d.face, identify) for d, identify in zip(drivers, named, strict=True)]
    looks = [setup.look(driver.frame, driver.M) for driver in drivers] if film else []
    for person in setup.bar(setup.people, protocol):
        mine = [n for n, driver in enumerate(drivers) if driver.name != person.name]
        own = setup.see(person.frame, person.M, person.face)
        there = [seen[n] for n in mine]
        for method, transfer in setup.methods.items():
            if method == "driver":
                found, shown = there, looks
            elif method == "copy":
                found, shown = [own] * len(mine), [setup.look(person.frame, person.M)] * len(looks)
            else:
                results = [transfer(person, drivers[n].face, drivers[n].frame) for n in mine]
                found = [
                    setup.see(result, person.M, person.face, named[n]) for n, result in zip(mine, results, strict=True)
                ]
                shown = [setup.look(result, person.M) for result in results] if film else []
                if method == PLAN and setup.album.open:
                    _show(setup, protocol, person, [drivers[n] for n in mine], there, found, results)
            for name, top, below in compared(own, there, found):
                yield Record(name, method, person.name, top, below)
            if film:
                for name, top, below in followed(np.stack([*map(values, shown)]), np.stack([*map(values, looks)])):
                    yield Record(name, method, person.name, top, below)


def compared(own: Seen, drivers: Sequence[Seen], results: Sequence[Seen]) -> Iterator[tuple[str, float, float]]:
    """Figures of one target, as (name, numerator, denominator). A result without a face closes no gap; a driver whose
    face is not found again asks for none."""
    wanted, shapes = (np.stack([seen.blendshapes for seen in each]) for each in (drivers, results))
    asked = ~np.isnan(wanted).any(1)
    wanted, shapes = wanted[asked], shapes[asked]
    shapes = np.where(np.isnan(shapes), own.blendshapes, shapes)
    counted = wanted.std(0) > VARIES if len(wanted) else np.zeros(wanted.shape[1], bool)
    if counted.any():
        gap = np.abs(own.blendshapes - wanted)[:, counted].sum()
        left = np.abs(shapes - wanted)[:, counted].sum()
        yield f"gap closed{NOT_INDEPENDENT}", float(gap - left), float(gap)
        yield f"corr within{NOT_INDEPENDENT}", float(correlation(shapes, wanted)[counted].mean()), 1.0
    to_target = np.array([np.linalg.norm(result.identity - own.identity) for result in results])
    to_driver = np.array([np.linalg.norm(r.identity - d.identity) for r, d in zip(results, drivers, strict=True)])
    named = int(np.isfinite(to_driver).sum())
    yield "identity, distance to the target", float(to_target[np.isfinite(to_driver)].sum()), named
    yield "identity, distance to the driver", float(np.nansum(to_driver)), named
    yield "nearer to the target", float((to_target < to_driver).sum()), named
    for name in own.emotions:
        agree = [r.emotions[name].argmax() == d.emotions[name].argmax() for r, d in zip(results, drivers, strict=True)]
        yield f"{name} agrees", float(sum(agree)), len(results)


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[E]: of a and b [D, E] over D; 0 where either is constant."""
    x, y = a - a.mean(0), b - b.mean(0)
    return np.asarray((x * y).sum(0) / np.maximum(np.sqrt(np.square(x).sum(0) * np.square(y).sum(0)), 1e-9))


def values(look: Look) -> np.ndarray:
    """f64 [4], as READ."""
    return np.array([look.lids.mean(), *look.mouth], np.float64)


def followed(results: np.ndarray, driver: np.ndarray) -> Iterator[tuple[str, float, float]]:
    """Slopes and correlations of results [F, 4] on the driver's [F, 4]."""
    x, y = (array - array.mean(0) for array in (driver, results))
    for name, slope, spread, corr in zip(
        READ, (x * y).sum(0), (x * x).sum(0), correlation(results, driver), strict=True
    ):
        yield f"{name}, slope", float(slope), float(spread)
        yield f"{name}, corr", float(corr), 1.0


def alike(result: Seen, driver: Seen) -> float:
    """0 ... 1: how much of their probability the classifiers give to the same emotions."""
    return float(np.mean([np.minimum(found, driver.emotions[name]).sum() for name, found in result.emotions.items()]))


def _show(
    setup: Setup, protocol: str, person: Person, drivers: list[Person], there: list[Seen], found: list[Seen],
    results: list[np.ndarray],
) -> None:  # fmt: skip
    for driver, wanted, got, result in zip(drivers, there, found, results, strict=True):
        score = alike(got, wanted)
        case = f"driven by {driver.name}: emotions {score:.2f} alike"
        pictures = {"target": (person.frame, person.M), "driver": (driver.frame, driver.M)}
        setup.album.add(protocol, score, person.name, case, pictures | {"result": (result, person.M)})
