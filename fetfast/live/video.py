"""Video files and streams in and out, by PyAV: times, rotation, colours and sound survive.

Times are exact `Fraction`s of a second from the start of the file. What is written is a fragmented MP4 until it is
closed, so that it can be played however the writing ends, and an ordinary one afterwards (Matroska needs no such care).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fetfast import image
from fetfast.errors import BadInput, Unavailable
from fetfast.image import MAX_PIXELS, SYNTHESISED, Frame
from fetfast.live import hwaccel as hardware

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
MARK = f"Synthesised by fetfast. Digital source type: {SYNTHESISED}"
CLOCK = Fraction(1, 90000)  # the time base of what has none of its own, as in MPEG
BT709, BT601, UNSPECIFIED, LIMITED, FULL = 1, 5, 2, 1, 2  # of H.273; ranges as FFmpeg numbers them
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
    if not file.is_file() or file.suffix.lower() in image.FORMATS:
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

    Iterating gives (time, frame): seconds from the start, Fraction; u8 [H, W, 3] RGB, turned upright. What cannot be
    decoded is left out.

    hwaccel: "auto" decodes large frames in hardware where the machine can, and silently in software elsewhere; "off".

    Attributes: `name`; `rate` (frames a second on average, Fraction or None); `time_base`; `seconds` (what the file
    says of its length, or None); `decoder` (what decodes, known from the first frame on); `damaged` (parts that could
    not be decoded); `trouble` (once all is read: None, or what is wrong with the file). Raises BadInput, also where
    there is no frame, and Unavailable.
    """

    def __init__(self, source: str | os.PathLike[str], hwaccel: str = "auto") -> None:
        self._av = av = library()
        self.name = str(source)
        if hwaccel not in hardware.MODES:
            raise BadInput(f"hwaccel is {hwaccel!r}, expected {' or '.join(hardware.MODES)}")
        self._live = "://" in self.name
        if not self._live and not Path(source).is_file():
            raise BadInput(f"{self.name}: there is no such file")
        try:
            self._container = self._open()
        except (av.FFmpegError, ValueError) as error:
            raise BadInput(f"{self.name} cannot be opened as a video: {_reason(error)}") from None
        if not self._container.streams.video:
            self._container.close()
            raise BadInput(f"{self.name} holds no video")
        stream = self._container.streams.video[0]
        pixels = stream.width * stream.height
        if pixels > MAX_PIXELS:
            self._container.close()
            raise BadInput(f"{self.name} has more than {MAX_PIXELS:,} pixels a frame; scale it down first")
        self._device = hardware.device(av, stream.codec_context.codec, pixels) if hwaccel == "auto" else None
        if self._device:
            self._accelerate(self._device)
        self._stream = self._container.streams.video[0]
        if not self._device:
            self._stream.thread_type = "AUTO"
        self.rate: Fraction | None = self._stream.average_rate or self._stream.guessed_rate
        self.time_base: Fraction = self._stream.time_base or CLOCK
        length, whole = self._stream.duration, self._container.duration
        self.seconds = float(length * self.time_base) if length else whole / 1e6 if whole else None
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
        for time, frame in self._timed():
            yield time, rgb(frame)

    def times(self) -> Iterator[Fraction]:
        """The frames' times alone. Instead of iterating: a reader is read once."""
        for time, _ in self._timed():
            yield time

    def _timed(self) -> Iterator[tuple[Fraction, Any]]:
        origin, step = _origin(self._container), 1 / self.rate if self.rate else Fraction(1, 25)
        last = -step
        for frame in self._decoded():
            time = frame.pts * frame.time_base - origin if frame.pts is not None else last + step
            if last < 0 and self._container.start_time is None:  # a stream that was running already
                origin, time = time, Fraction(0)
            if time <= last:  # damaged time stamps never run backwards
                time = last + step
            self.decoder = self.decoder or self._decoding()
            last = time
            yield time, frame
        if last < 0:
            raise BadInput(f"{self.name} holds no frame that can be decoded")
        if self.damaged:
            self.trouble = f"{self.name} is damaged: {self.damaged} parts of it could not be decoded"
        elif self.seconds and last + step + Fraction(1, 4) < self.seconds:
            self.trouble = f"{self.name} is cut off: it ends after {float(last + step):.2f} of {self.seconds:.2f} s"
        elif self._live and not self.seconds:
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
            except self._av.error.InvalidDataError:
                self.damaged += 1
            except self._av.error.ExitError:
                raise BadInput(f"{self.name} has sent nothing for {TIMEOUT:g} s; is it still there?") from None
            except self._av.FFmpegError as error:
                raise BadInput(f"{self.name} can be read no further: {_reason(error)}") from None

    def _decoding(self) -> str:
        context = self._stream.codec_context
        on_device = self._device and context.pix_fmt == hardware.surface(context.codec, self._device)
        return f"{context.codec.name} on {self._device}" if on_device else f"{context.codec.name} in software"

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def rgb(frame: Any) -> Frame:
    """An `av.VideoFrame` as u8 [H, W, 3] RGB, its colour matrix, range and rotation applied. A video that does not name
    its matrix is BT.709 from 720 lines on and BT.601 below, as everywhere."""
    matrix = frame.colorspace if frame.colorspace != UNSPECIFIED else BT709 if frame.height >= 720 else BT601
    full = frame.color_range == FULL or frame.format.name.startswith("yuvj")
    converted = frame.reformat(
        format="rgb24", src_colorspace=matrix, src_color_range=FULL if full else LIMITED, dst_color_range=FULL
    )
    pixels = np.asarray(converted.to_ndarray(), np.uint8)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


class Writer:
    """Writes frames as H.264, with another file's sound, and a mark that they were synthesised.

    path: where the result goes, by its ending an MP4, MOV or Matroska file; written aside and renamed by `close`.
    rate, time_base: of what the frames come from. sound: a file or address whose sound is taken along, copied where
    the container can hold its codec and encoded as AAC elsewhere. fast: for live use, larger files.
    Frames of an odd width or height lose their last column or row: H.264 halves the colours' resolution.
    Attributes: `frames`, written so far. Raises BadInput, Unavailable; OSError of `write` and `close` is a full disk.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        rate: Fraction | None = None,
        time_base: Fraction = CLOCK,
        sound: str | os.PathLike[str] | None = None,
        fast: bool = False,
        mark: bool = True,
    ) -> None:
        self._av = av = library()
        image.check_output(path, FORMATS)
        self.path, self.frames = Path(path), 0
        self._rate, self._time_base, self._last = rate or Fraction(25), time_base, -1
        self._preset = _FAST if fast else _GOOD
        handle, aside = tempfile.mkstemp(prefix=f".{self.path.stem}-", suffix=self.path.suffix, dir=self.path.parent)
        os.close(handle)
        self._aside = Path(aside)
        kind = FORMATS[self.path.suffix.lower()]
        options = (
            {} if kind == "matroska" else {"movflags": "hybrid_fragmented+frag_keyframe+default_base_moof+delay_moov"}
        )
        try:
            self._container = av.open(aside, "w", format=kind, timeout=TIMEOUT, options=options)
            if mark:
                self._container.metadata["comment"] = MARK
            self._video: Any = None
            self._sound = _Sound(av, sound, self._container) if sound is not None else None
        except BaseException:
            self._aside.unlink()
            raise

    def write(self, time: Fraction, frame: Frame) -> None:
        """The next frame u8 [H, W, 3], shown from `time` on, seconds."""
        height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
        if self._video is None:
            self._video = self._open(width, height)
        if (width, height) != (self._video.width, self._video.height):
            expected = f"{self._video.width} x {self._video.height}"
            raise BadInput(f"{self.path}: a frame has {width} x {height} pixels, expected {expected} as the first")
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
        picture = picture.reformat(
            format="yuv420p", dst_colorspace=BT709, src_color_range=FULL, dst_color_range=LIMITED
        )
        picture.colorspace, picture.color_range = BT709, LIMITED
        self._last = max(round(time / self._time_base), self._last + 1)
        picture.pts, picture.time_base = self._last, self._time_base
        self._container.mux(self._video.encode(picture))
        if self._sound:
            self._sound.copy(time)
        self.frames += 1

    def close(self, whole: bool = True) -> None:
        """Ends the file and gives it its name, and does nothing the second time. whole: take the rest of the sound
        along, for the frames ended by themselves. Without frames no file remains."""
        if self._aside is None:
            return
        aside, self._aside = self._aside, None  # type: ignore[assignment]
        try:
            if self._video is not None:
                self._container.mux(self._video.encode(None))
                if self._sound:
                    self._sound.copy(None if whole else self._last * self._time_base)
        finally:
            try:
                if self._sound:
                    self._sound.close()
                self._container.close()
            finally:
                if self.frames:
                    image.publish(aside, self.path)
                else:
                    aside.unlink()

    def discard(self) -> None:
        """Ends without a file."""
        self.frames = 0
        self.close(whole=False)

    def _open(self, width: int, height: int) -> Any:
        stream = self._container.add_stream("libx264", rate=self._rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.time_base, context.options, context.gop_size = self._time_base, self._preset, round(2 * self._rate) or 1
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED
        return stream

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(whole=kind is None)


# Without B-frames decoding and display times agree, and no reader has to undo a delay.
_GOOD = {"preset": "veryfast", "crf": "18", "bf": "0"}
_FAST = {"preset": "ultrafast", "tune": "zerolatency", "crf": "20"}


class _Sound:
    """The sound of a file on its way into another one. What is damaged is left out."""

    def __init__(self, av: ModuleType, source: str | os.PathLike[str], to: Any) -> None:
        self._from, self._to = av.open(str(source), timeout=TIMEOUT), to
        self._origin = _origin(self._from)
        self._stream = next(iter(self._from.streams.audio), None)
        self._packets = self._from.demux(self._stream) if self._stream else iter(())
        self._next: Any = None
        error = av.error
        self._damage = (error.InvalidDataError, error.ArgumentError, error.EOFError, error.PatchWelcomeError)
        if self._stream is None:
            return
        codec = self._stream.codec_context
        name = codec.codec.canonical_name
        # browsers play no uncompressed sound in MP4
        self._copies = name in to.supported_codecs and not name.startswith("pcm")
        if self._copies:
            self._out = to.add_stream_from_template(self._stream)
        else:
            self._out = to.add_stream("aac", rate=codec.sample_rate, layout="stereo" if codec.channels > 1 else "mono")

    def copy(self, until: Fraction | None) -> None:
        """Takes along what is heard until then, or all."""
        while (packet := self._next or self._read()) is not None:
            self._next = packet
            if packet.pts is not None and until is not None and packet.pts * packet.time_base - self._origin > until:
                return
            self._next = None
            with suppress(*self._damage):
                if self._copies:
                    self._copy(packet)
                else:
                    for frame in packet.decode():
                        frame.pts = None  # the encoder counts samples itself
                        self._to.mux(self._out.encode(frame))
        if self._stream is not None and not self._copies:
            self._to.mux(self._out.encode(None))
            self._copies = True  # all is encoded: nothing is left to flush

    def _read(self) -> Any:
        with suppress(*self._damage):
            return next(self._packets, None)
        return None

    def _copy(self, packet: Any) -> None:
        if packet.dts is None:
            return
        shift = round(self._origin / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = self._out
        self._to.mux(packet)

    def close(self) -> None:
        self._from.close()


def is_marked(path: str | os.PathLike[str]) -> bool:
    """Whether a video file says of itself that it was synthesised."""
    with library().open(str(path)) as container:
        return any(SYNTHESISED in value for value in container.metadata.values())


def _origin(container: Any) -> Fraction:
    """When the file's first stream begins, seconds: sound and pictures keep their distance."""
    return Fraction(container.start_time or 0, 1_000_000)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
