"""Where driving frames come from: cameras, files, http and rtsp addresses.

A source is iterated once and gives (time, frame): seconds from its first frame, Fraction; u8 [H, W, 3] RGB.
`live` ones do not wait: what cannot be handled in time is dropped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import numpy as np

from fetfast import image
from fetfast.errors import BadInput, Unavailable
from fetfast.face import Landmarker, select
from fetfast.image import Frame
from fetfast.video import CLOCK, Part, Reader, is_video

TIMINGS = ("driver", "target")


class Source(Protocol):
    name: str
    live: bool
    time_base: Fraction

    @property
    def sound(self) -> str | os.PathLike[str] | None: ...  # a file whose sound belongs to it
    @property
    def decoder(self) -> str | None: ...  # what decodes it, known from the first frame on
    @property
    def rate(self) -> Fraction | None: ...
    @property
    def count(self) -> int | None: ...  # of its frames, as far as it says
    @property
    def trouble(self) -> str | None: ...  # what was wrong with it, once all is read

    def __iter__(self) -> Iterator[tuple[Fraction, Frame]]: ...
    def close(self) -> None: ...


def open_source(
    source: int | str | os.PathLike[str] | Source,
    film: str | os.PathLike[str] | None = None,
    paced: bool = False,
    hwaccel: str = "auto",
    timing: str = "driver",
) -> Source:
    """A camera for an index or a path in /dev, an address that is played as it comes, or a file.

    film: the video that is driven, if it is one: for as long as that goes on a picture drives it, and any file where
    timing is "target". paced: a file is played at its own rate instead of as fast as it goes. hwaccel: as of `Reader`.
    Raises BadInput, also for a picture without a film, NoFace, Unavailable.
    """
    if timing not in TIMINGS:
        raise BadInput(f"timing is {timing!r}, expected {' or '.join(TIMINGS)}")
    if isinstance(source, int) or (isinstance(source, str) and (source.isdecimal() or source.startswith("/dev/"))):
        return Camera(int(source) if str(source).isdecimal() else str(source))
    if is_picture(source):
        if film is None:
            raise BadInput(f"{source} is no video, and what it drives is none either; expected one of the two")
        if isinstance(source, Part):
            raise BadInput(f"{source} is a picture: no part of it can be taken, expected a video")
        return Picture(source, film, paced, hwaccel)
    if film is not None and is_file(source) and timing == "target":
        return Retimed(source, film, paced, hwaccel)
    if isinstance(source, str | os.PathLike):
        return Clip(source, live="://" in str(source), paced=paced, hwaccel=hwaccel)
    return source


def is_file(source: Any) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a source is a file, which can be read again, and not a camera or an address."""
    return isinstance(source, str | os.PathLike) and Path(source).is_file()


def is_picture(source: Any) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a source is a file that does not move."""
    return is_file(source) and not is_video(source)


class Clip:
    """A file or an address. live: it is played as a camera would be, at its own rate, and may lose frames.
    paced: a file is played at its own rate."""

    def __init__(
        self, path: str | os.PathLike[str], live: bool = False, paced: bool = False, hwaccel: str = "auto"
    ) -> None:
        self._reader = Reader(path, hwaccel)
        self.name, self.live = str(path), live
        self._paced = (paced or live) and not self._reader.realtime
        self.rate, self.time_base = self._reader.rate, self._reader.time_base
        self.sound = None if "://" in self.name else path

    @property
    def decoder(self) -> str | None:
        return self._reader.decoder

    @property
    def count(self) -> int | None:
        return self._reader.count

    @property
    def trouble(self) -> str | None:
        return self._reader.trouble

    def __iter__(self) -> Iterator[tuple[Fraction, Frame]]:
        begin: float | None = None
        for at, frame in self._unpaced():
            if self._paced:
                now = time.perf_counter()
                begin = now - float(at) if begin is None else begin
                time.sleep(max(begin + float(at) - now, 0))
            yield at, frame

    def _unpaced(self) -> Iterator[tuple[Fraction, Frame]]:
        return iter(self._reader)

    def close(self) -> None:
        self._reader.close()


class Picture(Clip):
    """A picture for as long as a video goes on: its frame at each of the video's times, and the video's sound.

    Attribute `face`: its largest, read once. Raises BadInput, NoFace.
    """

    def __init__(
        self, picture: str | os.PathLike[str], video: str | os.PathLike[str], paced: bool = False, hwaccel: str = "auto"
    ) -> None:
        self._frame = image.load(picture)
        (self.face,) = select(Landmarker().detect(self._frame), "largest", str(picture))
        super().__init__(video, paced=paced, hwaccel=hwaccel)

    def _unpaced(self) -> Iterator[tuple[Fraction, Frame]]:
        for at in self._reader.times():
            yield at, self._frame


class Retimed(Clip):
    """A video at the times of the one that it drives, and with that one's sound: at each of them its newest frame. It
    begins again where it is the shorter one."""

    def __init__(
        self, driver: str | os.PathLike[str], video: str | os.PathLike[str], paced: bool = False, hwaccel: str = "auto"
    ) -> None:
        super().__init__(video, paced=paced, hwaccel=hwaccel)
        self._driver, self._hwaccel = driver, hwaccel
        Reader(driver, hwaccel).close()  # says at once what is wrong with it
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        return self._trouble or self._reader.trouble

    def _unpaced(self) -> Iterator[tuple[Fraction, Frame]]:
        frames = self._frames()
        newest, coming = next(frames), next(frames)
        for at in self._reader.times():
            while coming[0] <= at:
                newest, coming = coming, next(frames)
            yield at, newest[1]

    def _frames(self) -> Iterator[tuple[Fraction, Frame]]:
        """For ever."""
        begin = Fraction(0)
        while True:
            with Reader(self._driver, self._hwaccel) as reader:
                for at, frame in reader:
                    yield begin + at, frame
                self._trouble = reader.trouble
                begin += at + (1 / reader.rate if reader.rate else Fraction(1, 25))


class Camera:
    """A camera, by OpenCV. index: 0 for the first one, or its path.

    MJPG is asked for: raw pictures of 720p and more do not fit through USB 2 at full rate. `rate` is measured, since
    cameras slow down in the dark and say nothing. Raises Unavailable where it cannot be opened, or stops.
    """

    live, time_base = True, CLOCK
    sound: str | None = None
    decoder: str | None = None
    trouble: str | None = None
    count: int | None = None

    def __init__(self, index: int | str = 0, width: int = 1280, height: int = 720) -> None:
        try:
            import cv2
        except ImportError:
            raise Unavailable('cameras need OpenCV: pip install "fetfast[video]"') from None
        self.name = f"camera {index}"
        self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            raise Unavailable(f"{self.name} cannot be opened; is it plugged in, free, and may you use it?")
        if isinstance(index, int) or not Path(index).is_file():
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # older pictures are of no use
        self._frames, self._first, self._last = 0, 0.0, 0.0

    @property
    def rate(self) -> Fraction:
        """Frames a second as they came; as the camera says before there are 10."""
        if self._frames >= 10 and self._last > self._first:
            return Fraction((self._frames - 1) / (self._last - self._first)).limit_denominator(1000)
        import cv2

        said = self._capture.get(cv2.CAP_PROP_FPS)
        return Fraction(said if 0 < said <= 240 else 30).limit_denominator(1000)

    def __iter__(self) -> Iterator[tuple[Fraction, Frame]]:
        while True:
            good, picture = self._capture.read()
            if not good:
                raise Unavailable(f"{self.name} gives no more pictures after {self._frames}; is it still plugged in?")
            self._last = time.perf_counter()
            self._first = self._first or self._last
            self._frames += 1
            if picture.ndim != 3:
                raise BadInput(f"{self.name} gives no colour pictures, expected 3 channels")
            yield (
                Fraction(round((self._last - self._first) / float(CLOCK))) * CLOCK,
                np.ascontiguousarray(picture[:, :, ::-1]),
            )

    def close(self) -> None:
        self._capture.release()
