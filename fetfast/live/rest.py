"""How a file's faces look at rest: what relative mode takes for neutral."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Protocol, TypeVar

from fetfast.errors import NoFace
from fetfast.face import Face
from fetfast.live.motion import unrest
from fetfast.live.track import Tracker
from fetfast.video import Part, Reader

T = TypeVar("T")
EACH_SECOND = 12  # frames that are looked at: a face takes longer than that to leave its rest


class Watch(Protocol):
    """Gives the items of an iterable as they come, and shows somebody how far it is: `tqdm.tqdm` is one."""

    def __call__(self, iterable: Iterable[T], /, *, desc: str, total: int | None) -> Iterable[T]: ...


def unwatched(iterable: Iterable[T], /, *, desc: str, total: int | None) -> Iterable[T]:
    """Shows nobody anything."""
    return iterable


def calmest(
    path: str | os.PathLike[str], tracker: Tracker, hwaccel: str = "auto", watch: Watch = unwatched
) -> dict[int, Face]:
    """The calmest face of everybody whom a tracker follows through a file, by number; none where nobody is seen."""
    resting: dict[int, Face] = {}
    with Reader(path, hwaccel) as reader:
        every = max(round((reader.rate or 25) / EACH_SECOND), 1)
        total = reader.count // every if reader.count else None
        for _, frame in watch(reader.each(every), desc="resting faces", total=total):
            for number, face in tracker(frame).items():
                if number not in resting or unrest(face) < unrest(resting[number]):
                    resting[number] = face
    return resting


def resting_at(path: str | os.PathLike[str], seconds: float, tracker: Tracker, hwaccel: str = "auto") -> Face:
    """The face that a file shows at a time. Raises NoFace, BadInput."""
    with Reader(Part.of(str(path), seconds), hwaccel) as reader:
        _, frame = next(iter(reader))
    for face in tracker(frame).values():
        return face
    raise NoFace(f"{path} shows no face at {seconds:g} s; name a time at which the driver's face is seen, at rest")
