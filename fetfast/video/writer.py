"""Videos written by PyAV, with their times and another file's sound.

What is written is a fragmented MP4 until it is closed, so that it can be played however the writing ends, and an
ordinary one afterwards (Matroska needs no such care).
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from fetfast import image
from fetfast.errors import BadInput
from fetfast.files import beside
from fetfast.image import SYNTHESISED, Frame
from fetfast.video.colour import PLAIN, Colour, tag, yuv
from fetfast.video.formats import FORMATS
from fetfast.video.reader import CLOCK, TIMEOUT, library
from fetfast.video.sound import Sound

MARK = f"Synthesised by fetfast. Digital source type: {SYNTHESISED}"


class Writer:
    """Writes frames as H.264, with another file's sound, and a mark that they were synthesised.

    path: where the result goes, by its ending an MP4, MOV or Matroska file; written aside and renamed by `close`.
    rate, time_base: of what the frames come from. sound: a file or address whose sound is taken along, as in `Sound`.
    fast: for live use, larger files. colour: as of the `Reader` whose frames come back; BT.709 for pictures.
    Frames of an odd width or height lose their last column or row: H.264 halves the colours' resolution.
    Attributes: `frames`, written so far; once closed, those that can be played. Raises BadInput, Unavailable; OSError
    of `write` and `close` is a full disk: what is there can be played, and gets its name, if anything can.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        rate: Fraction | None = None,
        time_base: Fraction = CLOCK,
        sound: str | os.PathLike[str] | None = None,
        fast: bool = False,
        mark: bool = True,
        colour: Colour = PLAIN,
    ) -> None:
        self._av = av = library()
        image.check_output(path, FORMATS)
        self.path, self.frames, self._whole = Path(path), 0, True
        self._rate, self._time_base, self._last = rate or Fraction(25), time_base, -1
        self._colour = colour
        self._preset = _FAST if fast else _GOOD
        self._aside = beside(self.path)
        format = FORMATS[self.path.suffix.lower()]
        fragments = {"movflags": "hybrid_fragmented+frag_keyframe+default_base_moof+delay_moov"}
        options = fragments if format.container in ("mp4", "mov") else {}
        try:
            self._container = av.open(str(self._aside), "w", format=format.container, timeout=TIMEOUT, options=options)
            if mark:
                self._container.metadata["comment"] = MARK
            self._video: Any = None
            self._sound = Sound(av, sound, self._container, format) if sound is not None else None
        except BaseException:
            self._aside.unlink()
            raise

    @property
    def trouble(self) -> str | None:
        """None, or why there is no sound."""
        return self._sound.trouble if self._sound else None

    def write(self, time: Fraction, frame: Frame) -> None:
        """The next frame u8 [H, W, 3], shown from `time` on, seconds."""
        height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
        if self._video is None:
            self._video = self._open(width, height)
        if (width, height) != (self._video.width, self._video.height):
            expected = f"{self._video.width} x {self._video.height}"
            raise BadInput(f"{self.path}: a frame has {width} x {height} pixels, expected {expected} as the first")
        picture = yuv(frame[:height, :width], self._colour, "yuv420p", self._av)
        self._last = max(round(time / self._time_base), self._last + 1)
        picture.pts, picture.time_base = self._last, self._time_base
        self._whole = False  # until it is known to be on the disk
        self._container.mux(self._video.encode(picture))
        if self._sound:
            self._sound.copy(time)
        self.frames, self._whole = self.frames + 1, True

    def close(self, whole: bool = True) -> None:
        """Ends the file and gives it its name, and does nothing the second time. whole: take the rest of the sound
        along, for the frames ended by themselves. Without frames no file remains."""
        if self._aside is None:
            return
        aside, self._aside = self._aside, None  # type: ignore[assignment]
        with ExitStack() as steps:  # each is done whatever becomes of the others, the last one first
            steps.push(lambda error, *_: self._publish(aside, whole=error is None))
            steps.callback(self._container.close)
            if self._sound:
                steps.callback(self._sound.close)
            if self._video is None or not self._whole:  # libav crashes where it is given more after a failure
                return
            if self._sound:
                steps.callback(self._sound.end, None if whole else self._last * self._time_base)
            steps.callback(lambda: self._container.mux(self._video.encode(None)))

    def _publish(self, aside: Path, whole: bool) -> None:
        if self.frames and not (whole and self._whole):
            self.frames = playable(aside)
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
        tag(context, self._colour)
        return stream

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(whole=kind is None)


# Without B-frames decoding and display times agree, and no reader has to undo a delay.
_GOOD = {"preset": "veryfast", "crf": "18", "bf": "0"}
_FAST = {"preset": "ultrafast", "tune": "zerolatency", "crf": "20"}


def playable(path: Path) -> int:
    """How many frames of a file that may be cut off can be played: counted, not decoded."""
    av = library()
    count = 0
    with suppress(av.FFmpegError, ValueError), av.open(path) as container:
        for packet in container.demux(container.streams.video[0]):
            count += packet.size > 0 and not packet.is_corrupt
    return count


def is_marked(path: str | os.PathLike[str]) -> bool:
    """Whether a video file says of itself that it was synthesised."""
    with library().open(str(path)) as container:
        return any(SYNTHESISED in value for value in container.metadata.values())
