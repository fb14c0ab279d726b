"""What is driven: a picture, or a video whose pose, gaze and background move on."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from fetfast import image
from fetfast.face import Face, Landmarker, select
from fetfast.image import Frame
from fetfast.live.channel import Channel, start
from fetfast.live.motion import Neutral, Smoother
from fetfast.live.rest import Watch, calmest, unwatched
from fetfast.live.track import Tracker
from fetfast.spec import REGIONS
from fetfast.step import Target
from fetfast.video import PLAIN, Reader, is_video


@dataclass
class View:
    """A target at one moment: its frame, the faces in it, readied, and the expression that each would have at rest."""

    frame: Frame
    target: Target | None  # None where no face is seen
    resting: list[Face]


class Still:
    """A picture. Raises BadInput, NoFace."""

    regions = REGIONS
    trouble: str | None = None
    colour = PLAIN

    def __init__(self, picture: Any, which: str | int = "largest") -> None:
        (frame, *_), _, _ = image.read(picture, "target")
        name = str(picture) if isinstance(picture, str | os.PathLike) else "target"
        faces = select(Landmarker().detect(frame, everyone=which != "largest"), which, name)
        self._view = View(frame, Target.prepare(frame, faces), faces)

    def at(self, time: Fraction) -> View:
        return self._view

    def close(self) -> None:
        pass


class Moving:
    """A video, read and followed in a thread of its own; from its start again when it ends. Of its face all but the
    gaze is driven. settle: its resting face is found before the first frame is given, for relative mode.
    Attributes: `trouble` (None, or what was wrong with the file when it was read to its end), `colour` (as of
    `Reader`). Raises BadInput."""

    regions = tuple(region for region in REGIONS if region != "gaze")
    trouble: str | None = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        which: str | int = "largest",
        smooth: float = 0.5,
        settle: bool = False,
        hwaccel: str = "auto",
        watch: Watch = unwatched,
    ) -> None:
        self._path, self._which, self._smooth = path, which, smooth
        self._settle, self._hwaccel, self._watch = settle, hwaccel, watch
        with Reader(path, hwaccel) as reader:  # says at once what is wrong with it
            self.colour = reader.colour
        self._channel: Channel[tuple[Fraction, Frame, list[Face], list[Face]]] = Channel(4, drop=False)
        self._thread = start("target", self._frames(), self._channel)
        self._items = iter(self._channel)
        self._next = next(self._items, None)
        self._buffers: dict[Hashable, np.ndarray] = {}
        self._view: View | None = None

    def at(self, time: Fraction) -> View:
        """What is seen at `time`, seconds, never earlier than the last time."""
        while self._next is not None and (self._view is None or self._next[0] <= time):
            _, frame, faces, resting = self._next
            target = Target.prepare(frame, faces) if faces else None
            if target is not None:
                # Only the newest view is ever rendered: all of as many faces share their memory.
                if len(faces) == self._count:
                    target.buffers = self._buffers
                self._buffers, self._count = target.buffers, len(faces)
            self._view, self._next = View(frame, target, resting), next(self._items, None)
        assert self._view is not None  # a video without frames is refused when the first one is awaited
        return self._view

    _count = 0

    def close(self) -> None:
        self._channel.close()
        self._thread.join(timeout=5)

    def _frames(self) -> Iterator[tuple[Fraction, Frame, list[Face], list[Face]]]:
        """Time, frame, its faces, and each of them as it was at rest, for ever."""
        tracker, neutrals = Tracker(Landmarker(threads=1), self._which), dict[int, Neutral]()
        if self._settle:
            for number, face in calmest(self._path, tracker, self._hwaccel, self._watch).items():
                neutrals.setdefault(number, Neutral()).set(face)
        begin = Fraction(0)
        while True:
            smoothers: dict[int, Smoother] = {}
            with Reader(self._path, self._hwaccel) as reader:
                for time, frame in reader:
                    faces = {
                        number: smoothers.setdefault(number, Smoother(self._smooth))(face, float(time))
                        for number, face in tracker(frame).items()
                    }
                    resting = [
                        neutrals.setdefault(number, Neutral()).offer(face, float(begin + time))
                        for number, face in faces.items()
                    ]
                    yield begin + time, frame, list(faces.values()), resting
                self.trouble = reader.trouble
                begin += time + (1 / reader.rate if reader.rate else Fraction(1, 25))


def open_target(
    target: Any,
    which: str | int = "largest",
    smooth: float = 0.5,
    settle: bool = False,
    hwaccel: str = "auto",
    watch: Watch = unwatched,
) -> Still | Moving:
    """A path, or any picture that `image.read` takes. Raises BadInput, NoFace."""
    if isinstance(target, str | os.PathLike) and is_video(target):
        return Moving(target, which, smooth, settle, hwaccel, watch)
    return Still(target, which)
