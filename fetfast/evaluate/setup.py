"""Who is measured, by which ways, and by which judges: made once for all protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from fetfast import image
from fetfast.engine import Engine
from fetfast.errors import NoFace
from fetfast.evaluate import points
from fetfast.evaluate.data import photos, unseen
from fetfast.face import Face, Landmarker, crop_matrix
from fetfast.image import Frame
from fetfast.step import Target

T = TypeVar("T")
Transfer = Callable[["Person", Face, Frame], Frame]


@dataclass(frozen=True)
class Person:
    """A target: the picture u8 [H, W, 3], the face in it, and its crop f32 [2, 3]."""

    name: str
    frame: Frame
    face: Face
    M: np.ndarray


@dataclass
class Setup:
    """engine: what is measured. baseline: the landmarks' warp, beside it, or None. data: where drivers lie."""

    engine: Engine
    baseline: Engine | None
    people: list[Person]
    data: Path
    quick: bool
    landmarker: Landmarker = field(default_factory=Landmarker)
    _targets: dict[tuple[int, str], Target] = field(default_factory=dict)

    @cached_property
    def look(self) -> Callable[[Frame, np.ndarray], points.Look]:
        return points.judge()

    @cached_property
    def methods(self) -> dict[str, Transfer]:
        """What is done with a target and a driver, by name. `copy` leaves the target as it is, `driver` shows the
        driver: the least and the most of an expression that there is."""
        ways: dict[str, Transfer] = {"plan": self._by(self.engine)}
        if self.baseline is not None:
            ways[self.baseline.plan.name] = self._by(self.baseline)
        return ways | {"copy": lambda person, face, frame: person.frame, "driver": lambda person, face, frame: frame}

    def _by(self, engine: Engine) -> Transfer:
        def transfer(person: Person, face: Face, frame: Frame) -> Frame:
            key = (id(engine), person.name)
            if key not in self._targets:
                self._targets[key] = engine.prepare(person.frame, person.face)
            return engine.render(face, self._targets[key], frame)

        return transfer

    def read(self, frame: Frame, name: str) -> Face:
        """The largest face. Raises NoFace."""
        for face in self.landmarker.detect(frame)[:1]:
            return face
        raise NoFace(f"evaluate(): no face found in {name}; leave it out")

    def crop(self, face: Face) -> np.ndarray:
        return crop_matrix(face.landmarks)

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
            found.append(Person(file.stem, frame, faces[0], crop_matrix(faces[0].landmarks)))
        else:
            faceless.append(file.name)
    return found, faceless


def held_out_files(data: Path, portraits: int, synthetic: int) -> list[Path]:
    """Portraits that no plan of ours is trained on, by the rule of `fetfast synth`: photographed ones first."""
    from fetfast.train.synth.pairs import held_out

    files: list[Path] = []
    for folder, count in (("portraits", portraits), ("synthetic", synthetic)):
        kept = [file for file in photos(data / folder) if held_out(file)] if (data / folder).is_dir() else []
        spread = sorted({round(i) for i in np.linspace(0, len(kept) - 1, min(count, len(kept)))}) if kept else []
        files += [kept[i] for i in spread]
    return files


def json_ready(value: Any) -> Any:
    """Rounded to four decimals, for JSON."""
    if isinstance(value, dict):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    return round(float(value), 4) if isinstance(value, float | np.floating) else value
