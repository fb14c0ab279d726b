"""Videos written by PyAV, with their times and another file's sound.

What is written is a fragmented MP4 until it is closed, so that it can be played however the writing ends, and an
ordinary one afterwards (Matroska needs no such care).
"""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fetfast import image
from fetfast.errors import BadInput
from fetfast.files import beside
from fetfast.image import SYNTHESISED, Frame
from fetfast.video.reader import BT709, CLOCK, FORMATS, FULL, LIMITED, TIMEOUT, begin, library

MARK = f"Synthesised by fetfast. Digital source type: {SYNTHESISED}"


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
        self._aside = beside(self.path)
        kind = FORMATS[self.path.suffix.lower()]
        options = (
            {} if kind == "matroska" else {"movflags": "hybrid_fragmented+frag_keyframe+default_base_moof+delay_moov"}
        )
        try:
            self._container = av.open(str(self._aside), "w", format=kind, timeout=TIMEOUT, options=options)
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
                    aside.replace(self.path)
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
        self._origin = begin(self._from)
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
