"""Videos written by PyAV, with their times and another file's sound.

What is written is a fragmented MP4 until it is closed, so that it can be played however the writing ends, and an
ordinary one afterwards (Matroska, WebM and GIF need no such care; a WebP is written at its end).
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fetfast import image
from fetfast.errors import BadInput
from fetfast.files import beside
from fetfast.image import SYNTHESISED, Frame
from fetfast.video import animation
from fetfast.video.colour import PLAIN, Colour, tag, yuv
from fetfast.video.formats import FORMATS, encoding
from fetfast.video.reader import CLOCK, TIMEOUT, library
from fetfast.video.sound import Sound

QUALITY = 90
LEAST = 10_000  # bits a second
MARK = f"Synthesised by fetfast. Digital source type: {SYNTHESISED}"


class Writer:
    """Writes frames as a video, with another file's sound, and a mark that they were synthesised.

    path: where the result goes; its ending says what it is (`FORMATS`): H.264 in MP4, MOV or Matroska, VP9 in WebM, an
    animated GIF or WebP. Written aside and renamed by `close`.
    rate, time_base: of what the frames come from; a GIF takes 50 frames a second at most and leaves others out.
    sound: a file or address whose sound is taken along, as in `Sound`.
    fast: for live use, larger files. colour: as of the `Reader` whose frames come back; BT.709 for pictures.
    quality: 1 ... 100, of each frame; a GIF has but one. bitrate: bits a second on average, in place of it.
    Frames of an odd width or height lose their last column or row where colours have half the resolution.
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
        quality: int = QUALITY,
        bitrate: int | None = None,
    ) -> None:
        self._av = av = library()
        image.check_output(path, FORMATS)
        self.path, self.frames, self._failed = Path(path), 0, False
        self._format = format = FORMATS[self.path.suffix.lower()]
        self._rate, self._time_base, self._last = rate or Fraction(25), format.tick or time_base, -1
        self._colour, self._mark, self._bitrate = colour, mark, bitrate
        if not 1 <= quality <= 100:
            raise BadInput(f"quality is {quality}, expected 1 ... 100")
        if bitrate is not None and format.tick:
            raise BadInput(f"{path}: a {format.container} has no bitrate; give a quality")
        if bitrate is not None and bitrate < LEAST:
            raise BadInput(f"bitrate is {bitrate}, expected at least {LEAST} bits a second")
        self._options = encoding(format, quality, bitrate is None, fast)
        self._aside = beside(self.path)
        fragments = {"movflags": "hybrid_fragmented+frag_keyframe+default_base_moof+delay_moov"}
        options = fragments if format.container in ("mp4", "mov") else {"loop": "0"} if format.tick else {}
        try:
            marked = mark and format.container == "gif"
            self._file = animation.MarkedGif(self._aside) if marked else None
            to = self._file or str(self._aside)
            self._container = av.open(to, "w", format=format.container, timeout=TIMEOUT, options=options)
            if mark and not format.tick:
                self._container.metadata["comment"] = MARK
            self._video: Any = None
            self._palette: animation.Palette | None = None
            self._sound: Sound | None = None
            if sound is not None and format.sound is not None:
                self._sound = Sound(av, sound, self._container, format)
        except BaseException:
            self._aside.unlink()
            raise

    @property
    def trouble(self) -> str | None:
        """None, or why there is no sound."""
        return self._sound.trouble if self._sound else None

    def write(self, time: Fraction, frame: Frame) -> None:
        """The next frame u8 [H, W, 3], shown from `time` on, seconds."""
        halved = self._format.pixels == "yuv420p"
        height, width = (side // 2 * 2 if halved else side for side in frame.shape[:2])
        if self._video is None:
            self._video = self._open(width, height)
        if (width, height) != (self._video.width, self._video.height):
            expected = f"{self._video.width} x {self._video.height}"
            raise BadInput(f"{self.path}: a frame has {width} x {height} pixels, expected {expected} as the first")
        tick = round(time / self._time_base)
        if self._format.tick and tick <= self._last:
            return
        self._last = max(tick, self._last + 1)
        self._encode(self._picture(frame[:height, :width]))
        if self._sound:
            self._sound.copy(time)
        self.frames += 1

    def _picture(self, frame: Frame) -> Any:
        if self._format.pixels == "yuv420p":
            picture = yuv(frame, self._colour, "yuv420p", self._av)
        else:
            picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts, picture.time_base = self._last, self._time_base
        return picture if self._format.pixels != "bgra" else picture.reformat(format="bgra")

    def _encode(self, picture: Any) -> None:
        """A picture, or None for the end."""
        try:
            for frame in self._palette(picture) if self._palette else [picture] if picture else []:
                self._container.mux(self._video.encode(frame))
            if picture is None:
                self._container.mux(self._video.encode(None))
            if self._file:
                self._file.check()
        except Exception:
            self._failed = True
            raise

    def close(self, whole: bool = True) -> None:
        """Ends the file and gives it its name, and does nothing the second time. whole: take the rest of the sound
        along, for the frames ended by themselves. Without frames no file remains."""
        if self._aside is None:
            return
        aside, self._aside = self._aside, None  # type: ignore[assignment]
        with ExitStack() as steps:  # each is done whatever becomes of the others, the last one first
            steps.push(lambda error, *_: self._publish(aside, whole=error is None))
            if self._file:
                steps.callback(self._file.close)
            steps.callback(self._container.close)
            if self._sound:
                steps.callback(self._sound.close)
            if self._video is None or self._failed:  # libav crashes where it is given more after a failure
                return
            if self._sound:
                steps.callback(self._sound.end, None if whole else self._last * self._time_base)
            steps.callback(self._encode, None)

    def _publish(self, aside: Path, whole: bool) -> None:
        if self.frames and (self._failed or not whole):
            self.frames = (animation.playable_frames if self._format.tick else playable)(aside)
        try:
            if self.frames:
                if self._mark and self._format.container == "webp":
                    animation.mark_webp(aside, self._video.width, self._video.height)
                aside.replace(self.path)
        except OSError:
            self.frames = 0
            raise
        finally:
            aside.unlink(missing_ok=True)

    def discard(self) -> None:
        """Ends without a file."""
        self.frames = 0
        self.close(whole=False)

    def _open(self, width: int, height: int) -> Any:
        stream = self._container.add_stream(self._format.encoder, rate=self._rate)
        stream.width, stream.height, stream.pix_fmt = width, height, self._format.pixels
        context = stream.codec_context
        context.time_base, context.options = self._time_base, self._options
        context.gop_size = round(2 * self._rate) or 1
        if self._bitrate:
            context.bit_rate = self._bitrate
        if self._format.pixels == "yuv420p":
            tag(context, self._colour)
        if self._format.pixels == "pal8":
            self._palette = animation.Palette(self._av, width, height, self._time_base)
        return stream

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(whole=kind is None)


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
    if Path(path).suffix.lower() == ".webp":
        return image.is_marked(path)
    if Path(path).suffix.lower() == ".gif":
        return animation.gif_is_marked(Path(path))
    with library().open(str(path)) as container:
        return any(SYNTHESISED in value for value in container.metadata.values())
