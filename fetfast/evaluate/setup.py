"""Who is measured, by which ways, and by which judges: made once for all protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fetfast import image
from fetfast.engine import Engine
from fetfast.errors import NoFace
from fetfast.evaluate import emotion, identity, points
from fetfast.evaluate.album import Album
from fetfast.evaluate.data import photos, unseen
from fetfast.face import Face, Landmarker, crop_matrix
from fetfast.image import Frame
from fetfast.step import Target

T = TypeVar("T")
Array = NDArray[np.float32]
PLAN = "plan"  # the method that is measured; others stand beside it


@dataclass(frozen=True)
class Person:
    """Somebody in a picture u8 [H, W, 3]: the face in it, and its crop f32 [2, 3]."""

    name: str
    frame: Frame
    face: Face

    @cached_property
    def M(self) -> Array:
        return crop_matrix(self.face.landmarks)


Transfer = Callable[[Person, Face, Frame], Frame]


@dataclass(frozen=True)
class Seen:
    """What the judges of expression and identity read off a face: blendshapes f32 [52] (the engine's own landmarker,
    not independent; NaN where it finds no face), identity f64 [128] or NaN, emotions f32 [7] by classifier."""

    blendshapes: Array
    identity: NDArray[np.float64]
    emotions: dict[str, Array]


@dataclass
class Setup:
    """engine: what is measured. baseline: the landmarks' warp, beside it, or None. people: the targets, held out from
    training. data: the data folder. album: pictures for the report."""

    engine: Engine
    baseline: Engine | None
    people: list[Person]
    data: Path
    quick: bool
    landmarker: Landmarker = field(default_factory=Landmarker)
    album: Album = field(default_factory=Album)
    _targets: dict[int, tuple[Person, Target]] = field(default_factory=dict)

    @cached_property
    def look(self) -> Callable[[Frame, Array], points.Look]:
        return points.judge()

    @cached_property
    def see(self) -> Callable[..., Seen]:
        """see(frame, M, face, identify=True): the face whose crop M takes, about where `face` lies. dlib's identity
        network takes longer than all else: it may be left out."""
        who = identity.judge()
        emotions = {name: emotion.judge(name) for name in emotion.CLASSIFIERS}

        def see(frame: Frame, M: Array, face: Face, identify: bool = True) -> Seen:
            found = self.landmarker.track(frame, face)
            shapes = np.full(52, np.nan, np.float32) if found is None else found.blendshapes
            person = who(frame, M) if identify else np.full(128, np.nan)
            return Seen(shapes, person, {name: read(frame, M) for name, read in emotions.items()})

        return see

    @cached_property
    def methods(self) -> dict[str, Transfer]:
        """What is done with a target and a driver, by name. `copy` leaves the target as it is, `driver` shows the
        driver: the least and the most of an expression that there is."""
        ways: dict[str, Transfer] = {PLAN: self._by(self.engine)}
        if self.baseline is not None:
            ways[self.baseline.plan.name] = self._by(self.baseline)
        return ways | {"copy": lambda person, face, frame: person.frame, "driver": lambda person, face, frame: frame}

    @property
    def engines(self) -> dict[str, Engine]:
        """The methods that are engines."""
        found = {PLAN: self.engine}
        return found if self.baseline is None else found | {self.baseline.plan.name: self.baseline}

    def _by(self, engine: Engine) -> Transfer:
        def transfer(person: Person, face: Face, frame: Frame) -> Frame:
            return engine.render(face, self.target(engine, person), frame)

        return transfer

    def target(self, engine: Engine, person: Person) -> Target:
        """The person prepared for an engine; once, as long as no other is asked for."""
        known, target = self._targets.get(id(engine), (None, None))
        if known is not person or target is None:
            target = engine.prepare(person.frame, person.face)
            self._targets[id(engine)] = person, target
        return target

    def person(self, name: str, frame: Frame) -> Person:
        """The largest face. Raises NoFace."""
        for face in self.landmarker.detect(frame)[:1]:
            return Person(name, frame, face)
        raise NoFace(f"evaluate(): no face found in {name}; leave it out")

    def bar(self, items: Iterable[T], what: str) -> Iterable[T]:
        """A progress bar on a terminal, nothing elsewhere."""
        return tqdm(items, what, disable=None, leave=False)


def people(engine: Engine, files: list[Path], landmarker: Landmarker) -> tuple[list[Person], list[str]]:
    """Those of the photographs that show a face and that the plan was not trained on; and who shows none."""
    found, faceless = [], []
    for file in unseen(engine.plan, files):
        frame = image.load(file)
        faces = landmarker.detect(frame)[:1]
        if faces:
            found.append(Person(file.stem, frame, faces[0]))
        else:
            faceless.append(file.name)
    return found, faceless


def held_out_files(data: Path, folder: str, count: int | None = None) -> list[Path]:
    """Pictures of a folder that no plan of ours is trained on, by the rule of `fetfast synth`; `count` of them, evenly
    over all. None where the folder is absent."""
    from fetfast.synth.portrait_dataset import held_out

    kept = [file for file in photos(data / folder) if held_out(file)] if (data / folder).is_dir() else []
    if count is None or len(kept) <= count:
        return kept
    return [kept[round(i)] for i in np.linspace(0, len(kept) - 1, count)]
