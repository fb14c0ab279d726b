"""Video files and streams, read by PyAV: upright, in their own colours and shape, each frame at its own time."""

from __future__ import annotations

import os
import time as clock
import warnings
from collections.abc import Iterator
from contextlib import suppress
from errno import EIO
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from fetfast import image
from fetfast.errors import BadInput, Unavailable
from fetfast.image import MAX_PIXELS, Frame
from fetfast.video import hwaccel as hardware
from fetfast.video.colour import PLAIN, colour_of, rgb
from fetfast.video.formats import FORMATS
from fetfast.video.part import Part

CLOCK = Fraction(1, 90000)  # the time base of what has none of its own, as in MPEG
SEEK = 2  # seconds from the start, up to which all is decoded
# Sent as it happens, and shown as it comes: what had piled up while the stream was probed would stay a delay for ever
# if it were played at its own rate, as other addresses are (they are read ahead).
REALTIME = ("rtsp", "rtsps", "rtmp", "rtp", "srt", "udp")
NO_TIMESTAMPS = 0x80  # AVFMT_NOTIMESTAMPS: what FFmpeg says of such a container is made up, 25 a second
TIMEOUT = 10.0  # seconds until a silent network source is given up


def library() -> ModuleType:
    """PyAV. Raises Unavailable where it is not installed."""
    try:
        import av
    except ImportError:
        raise Unavailable('video needs PyAV: pip install "fetfast[video]"') from None
    return av


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one that moves: any container that FFmpeg knows as a video, and no picture."""
    file = Path(path)
    if not file.is_file() or image.is_still(file):
        return False
    try:
        av = library()
    except Unavailable:  # pictures of any kind need no PyAV
        return file.suffix.lower() in FORMATS
    try:
        with av.open(file) as container:
            pictures = container.format.name.endswith("_pipe") or container.format.name == "image2"
            return bool(container.streams.video) and not pictures
    except (av.FFmpegError, ValueError):
        return file.suffix.lower() in FORMATS  # a damaged one: reading it will say so


class Reader:
    """The frames of a file or an http, rtsp, ... address, in the order of their display.

    Iterating gives (time, frame): seconds from the start, Fraction; u8 [H, W, 3] RGB, turned upright, wide or narrow
    pixels made square, HDR made SDR. What cannot be decoded is left out.

    source may be a `Part`: times then count from its begin.
    hwaccel: "auto" decodes large frames in hardware where the machine can, and silently in software elsewhere; "off".

    Attributes: `name`; `colour` (with which a `Writer` gives untouched pixels back as they were); `rate` (frames a
    second on average, Fraction or None); `time_base`; `seconds` (what the file says of its length, or None); `decoder`
    (what decodes, known from the first frame on); `damaged` (parts that could not be decoded); `trouble` (once all is
    read: None, or what is wrong with the file); `realtime` (an address that is shown as it comes, not at its own
    rate). A stream without time stamps, as of a camera that sends JPEGs, has those of its frames' arrival.
    Raises BadInput, also where there is no frame, and Unavailable.
    """

    def __init__(self, source: str | os.PathLike[str], hwaccel: str = "auto") -> None:
        self._av = av = library()
        self.name, self._part = str(source), Part.of(source)
        if hwaccel not in hardware.MODES:
            raise BadInput(f"hwaccel is {hwaccel!r}, expected {' or '.join(hardware.MODES)}")
        self._live = "://" in self.name
        if self._live and self._part != Part(self.name):
            raise BadInput(f"{self.name} plays as it comes, expected a file where only a part is wanted")
        if not self._live and not Path(source).is_file():
            raise BadInput(f"{self.name}: there is no such file")
        try:
            self._container = self._open()
        except (av.FFmpegError, ValueError) as error:
            raise BadInput(
                f"{self.name} cannot be opened as a video: {reason(error)}; give a file or address that FFmpeg can play"
            ) from None
        if not self._container.streams.video:
            kinds = ", ".join(sorted({stream.type for stream in self._container.streams}))
            self._container.close()
            raise BadInput(f"{self.name} holds {kinds or 'nothing'}, expected video; give another file")
        stream = self._container.streams.video[0]
        pixels, self._size = stream.width * stream.height, _squared(stream)
        if max(pixels, self._size[0] * self._size[1]) > MAX_PIXELS:
            self._container.close()
            raise BadInput(f"{self.name} has more than {MAX_PIXELS:,} pixels a frame; scale it down first")
        try:
            colour = colour_of(stream.codec_context, self.name)
        except BadInput:
            self._container.close()
            raise
        self.colour = PLAIN if colour.hdr else colour
        self._device = hardware.device(av, stream.codec_context.codec, pixels) if hwaccel == "auto" else None
        if self._device:
            self._accelerate(self._device)
        self._stream = self._container.streams.video[0]
        if not self._device:
            self._stream.thread_type = "AUTO"
        self._stamped = not (self._live and self._container.format.flags & NO_TIMESTAMPS)
        self.realtime = self._live and (self.name.partition("://")[0] in REALTIME or not self._stamped)
        self.rate: Fraction | None = None
        if self._stamped:
            self.rate = self._stream.average_rate or self._stream.guessed_rate
        self.time_base: Fraction = self._stream.time_base if self._stamped and self._stream.time_base else CLOCK
        length, whole = self._stream.duration, self._container.duration
        self._length = float(length * self.time_base) if length else whole / 1e6 if whole else None
        last = min((float(end) for end in (self._length, self._part.end) if end is not None), default=None)
        self.seconds = None if last is None else max(last - float(self._part.begin), 0.0)
        self.decoder: str | None = None
        self.damaged = 0
        self.trouble: str | None = None

    def _open(self, **options: Any) -> Any:
        protocol = {"rtsp_transport": "tcp"} if self.name.startswith("rtsp") else {}
        return self._av.open(self.name, timeout=TIMEOUT, options=protocol, **options)

    def _accelerate(self, kind: str) -> None:
        """Opens the source once more, on a device; where it lets nobody in a second time all stays as it is."""
        from av.codec.hwaccel import HWAccel

        try:
            container = self._open(hwaccel=HWAccel(kind, allow_software_fallback=True))
        except (self._av.FFmpegError, ValueError):
            self._device = None
            return
        self._container.close()
        self._container = container

    def __iter__(self) -> Iterator[tuple[Fraction, Frame]]:
        return self.each(1)

    def each(self, every: int) -> Iterator[tuple[Fraction, Frame]]:
        """As iterating, of every `every`-th frame. Instead of iterating: a reader is read once."""
        for time, frame in islice(self._wanted(), 0, None, every):
            coded = frame.width, frame.height  # which may change on the way
            size = self._size if coded == (self._stream.width, self._stream.height) else coded
            yield time, rgb(frame, colour_of(frame, self.name), size)

    def times(self) -> Iterator[Fraction]:
        """The frames' times alone. Instead of iterating: a reader is read once."""
        for time, _ in self._wanted():
            yield time

    def _wanted(self) -> Iterator[tuple[Fraction, Any]]:
        """Those of the part that is asked for."""
        if self._part.begin > SEEK:
            with suppress(self._av.FFmpegError):  # what cannot be sought is read from the start
                self._container.seek(round((self._part.begin + begin(self._container)) * 1_000_000))
        count = 0
        for time, frame in self._timed():
            if self._part.end is not None and time >= self._part.end:
                break
            if time >= self._part.begin:
                count += 1
                yield time - self._part.begin, frame
        if not count:
            span = f"{float(self._part.begin):g} ... {float(self._part.end or self._length or 0):g} s"
            raise BadInput(f"{self.name} shows nothing within {span}, it is {self._length or 0:.2f} s long")

    def _timed(self) -> Iterator[tuple[Fraction, Any]]:
        origin, step = begin(self._container), 1 / self.rate if self.rate else Fraction(1, 25)
        last = -step
        for frame in self._decoded():
            if not self._stamped:
                frame.pts, frame.time_base = round(clock.perf_counter() / CLOCK), CLOCK
            time = frame.pts * frame.time_base - origin if frame.pts is not None else last + step
            if last < 0 and (not self._stamped or self._container.start_time is None):  # it was running already
                origin, time = time, Fraction(0)
            if time <= last:  # damaged time stamps never run backwards
                time = last + step
            self.decoder = self.decoder or self._decoding()
            last = time
            yield time, frame
        if last < 0:
            raise BadInput(f"{self.name} holds no frame that can be decoded; give another file")
        if self.damaged:
            self.trouble = f"{self.name} is damaged: {self.damaged} parts of it could not be decoded"
        elif self._length and last + step + Fraction(1, 4) < self._length:
            self.trouble = f"{self.name} is cut off: it ends after {float(last + step):.2f} of {self._length:.2f} s"
        elif self._live and not self._length:
            self.trouble = f"{self.name} ended after {float(last + step):.2f} s: it was stopped, or the connection lost"

    def _decoded(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                yield from packet.decode()
            except self._av.error.EOFError:
                return
            except self._av.error.OSError as error:
                if self.realtime and error.errno == EIO:  # how some streams end
                    return
                raise BadInput(f"{self.name} can be read no further: {reason(error)}") from None
            except self._av.error.InvalidDataError:
                self.damaged += 1
            except self._av.error.ExitError:
                raise BadInput(f"{self.name} has sent nothing for {TIMEOUT:g} s; is it still there?") from None
            except self._av.FFmpegError as error:
                raise BadInput(f"{self.name} can be read no further: {reason(error)}") from None

    def _decoding(self) -> str:
        context = self._stream.codec_context
        on_device = self._device and context.pix_fmt == hardware.surface(context.codec, self._device)
        return f"{context.codec.name} on {self._device}" if on_device else f"{context.codec.name} in software"

    @property
    def count(self) -> int | None:
        """How many frames there are by what the file says of its length, or None."""
        return round(self.seconds * self.rate) if self.seconds and self.rate else None

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def frames(path: str | os.PathLike[str], every: int = 1) -> Iterator[Frame]:
    """Every `every`-th frame of a video file, u8 [H, W, 3] RGB, turned upright; decoded in software, so that machines
    agree. Warns, once all is read, of what is wrong with the file. Raises as `Reader`."""
    with Reader(path, hwaccel="off") as reader:
        for _, frame in reader.each(every):
            yield frame
        if reader.trouble:
            warnings.warn(reader.trouble, stacklevel=2)


def _squared(stream: Any) -> tuple[int, int]:
    """Width and height that show a stream's pixels, whatever their shape, as they look: none are lost."""
    aspect = stream.sample_aspect_ratio or 1
    if aspect == 1 or not 0.2 < aspect < 5:  # no such pixels exist: a mistake
        return stream.width, stream.height
    return round(stream.width * max(aspect, 1) / 2) * 2, round(stream.height / min(aspect, 1) / 2) * 2


def begin(container: Any) -> Fraction:
    """When the file's first stream begins, seconds: sound and pictures keep their distance."""
    return Fraction(container.start_time or 0, 1_000_000)


def reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
