"""Films: self-reenactment, and what moves from frame to frame that should not.

*Reenactment*: the first frame of a clip, driven by the others, should become them. Compared in crops of their own at
128 x 128, within the face's box: a crop is upright and scaled by the eyes, so that the head's motion, which no
expression can follow, counts little. `given landmarks` is the picture network alone, told where the driving frame's own
landmarks lie.

*Video*: a clip drives a few people, every frame, unsmoothed.

    jitter     second differences of dlib's landmarks of lids, brows and lips over time, in eye distances, over the
               driver's own
    flicker    second differences of the levels 0 ... 255 where a still picture is shown: forehead, nose and background
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fetfast.engine import Engine
from fetfast.evaluate.cross import driving
from fetfast.evaluate.figures import Record
from fetfast.evaluate.points import Look
from fetfast.evaluate.setup import PLAN, Person, Setup
from fetfast.evaluate.similarity import face_box, psnr, ssim
from fetfast.face import to_crop
from fetfast.image import Frame
from fetfast.ops.crop import crop

SIDE = 128
MOVING = [*range(17, 27), *range(36, 68)]  # of dlib's landmarks: brows, eyes, lips


def reenact(setup: Setup, clip: Path, every: int) -> Iterator[Record]:
    """One person alone: without an interval."""
    target, *shown = driving(setup, clip, every)
    for driver in setup.bar(shown, "reenact"):
        truth = crop(driver.frame, driver.M, SIDE)
        points = to_crop(driver.face.landmarks[:, :2], driver.M).astype(np.float32)
        box = face_box(points, SIDE)
        results = {
            name: way(target, driver.face, driver.frame) for name, way in setup.methods.items() if name != "driver"
        }
        given = {name: follow(engine, setup, target, driver, points) for name, engine in setup.engines.items()}
        for kind, found in (("", results), (", given landmarks", given)):
            for method, result in found.items():
                got = crop(result, target.M, SIDE)
                yield Record(f"face, dB{kind}", method, clip.stem, psnr(got, truth, box))
                yield Record(f"face, SSIM{kind}", method, clip.stem, ssim(got, truth, box))
        score = psnr(crop(results[PLAN], target.M, SIDE), truth, box)
        pictures = {"first frame": (target.frame, target.M), "truth": (driver.frame, driver.M)}
        pictures["result"] = results[PLAN], target.M
        setup.album.add("reenact", score, driver.name, f"{driver.name}: {score:.1f} dB", pictures)


def follow(engine: Engine, setup: Setup, target: Person, driver: Person, points: np.ndarray) -> Frame:
    """The target, its landmarks moved to `points` f32 [478, 2], crop units, whatever the plan makes of the driver."""
    step = engine.step("transfer", driver.face, setup.target(engine, target), driver.frame)
    step.tensors |= engine.place.upload({"driven_points": points[None]})
    result: Frame = engine.begin(step)()[0]
    return result


def steady(setup: Setup, clip: Path, count: int) -> Iterator[Record]:
    drivers = driving(setup, clip)
    own = [setup.look(driver.frame, driver.M) for driver in drivers]
    reference = jitter([in_frame(look, driver.M) for look, driver in zip(own, drivers, strict=True)])
    for person in setup.bar(setup.people[:count], "video"):
        for method in setup.engines:
            results = [setup.methods[method](person, driver.face, driver.frame) for driver in drivers]
            looks = [setup.look(result, person.M) for result in results]
            shaken = jitter([look.points / look.unit for look in looks])
            yield Record("jitter over the driver's", method, person.name, shaken, reference)
            yield Record("flicker, levels", method, person.name, flicker(looks))
            if method == PLAN:
                worst = int(
                    np.argmax([np.abs(a.points - b.points).max() for a, b in zip(looks[1:], looks, strict=False)])
                )
                pictures = {f"frame {n}": (results[n], person.M) for n in (worst, worst + 1)}
                setup.album.add(
                    "video", -shaken, person.name, f"jitter {shaken / reference:.2f} of the driver's", pictures
                )


def in_frame(look: Look, M: np.ndarray) -> np.ndarray:
    """Landmarks in eye distances, where the frame has them: crops that follow the face have a jitter of their own."""
    points = look.points @ M[:, :2].T + M[:, 2]
    return np.asarray(points / np.linalg.norm(points[45] - points[36]))


def jitter(points: list[np.ndarray]) -> float:
    """Root mean square of the second difference over time of landmarks [F, 68, 2]."""
    second = np.diff(np.stack(points)[:, MOVING], n=2, axis=0)
    return float(np.sqrt(np.square(second).sum(2).mean()))


def flicker(looks: list[Look]) -> float:
    """Mean absolute second difference over time of the levels in still regions, over 4: the amplitude of a pixel that
    goes up and down by turns."""
    first = looks[0]
    side = len(first.picture)
    centre = (np.arange(side) + 0.5) / side
    still = np.zeros((side, side), bool)
    still[:, (centre < 0.08) | (centre > 0.92)] = True  # background and hair
    brows, unit = first.points[17:27], first.unit
    for x, y in (first.points[28], (first.points[27, 0], brows[:, 1].min() - 0.35 * unit)):  # nose, forehead
        still |= np.hypot(centre[None] - x, centre[:, None] - y) < 0.06 * unit
    levels = np.stack([look.picture[still].astype(np.float32).mean(1) for look in looks])
    return float(np.abs(np.diff(levels, n=2, axis=0)).mean() / 4)
