"""A recording on its own thread, so that encoding delays no frame that is shown."""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from threading import Thread

from fetfast.image import Frame
from fetfast.live.channel import Channel, Closed
from fetfast.live.stats import Stats
from fetfast.video import PLAIN, Colour, Writer
from fetfast.video.reader import reason
from fetfast.video.writer import QUALITY

WAITING = 8  # frames


class Recorder:
    """Writes frames until it is closed or the disk is full; either way what was written can be played.

    live: where encoding is too slow the oldest frames are dropped, counted in `dropped`; otherwise `put` waits.
    Attributes: `path`, `frames` (written), `trouble` (None, or why it ended by itself). Raises BadInput, Unavailable.
    """

    def __init__(
        self,
        path: str,
        rate: Fraction | None,
        time_base: Fraction,
        sound: str | os.PathLike[str] | None,
        live: bool,
        stats: Stats,
        colour: Colour = PLAIN,
    ) -> None:
        self.path = path
        self._writer = Writer(path, rate, time_base, sound, fast=live, colour=colour, quality=80 if live else QUALITY)
        self._stats, self._begin = stats, Fraction(-1)
        self._given: Channel[tuple[Fraction, Frame]] = Channel(WAITING, drop=live)
        self.trouble: str | None = None
        self._whole = False
        self._thread = Thread(target=self._write, name="record", daemon=True)
        self._thread.start()

    @property
    def frames(self) -> int:
        return self._writer.frames

    @property
    def dropped(self) -> int:
        return self._given.dropped

    def put(self, time: Fraction, frame: Frame) -> None:
        """The next frame, and when it is shown; the first one begins the recording. Ignored once there is trouble."""
        if self._begin < 0:
            self._begin = time
        with suppress(Closed):
            self._given.put((time - self._begin, frame))

    def close(self, whole: bool = False) -> None:
        """Ends the file. whole: with the rest of the sound."""
        self._whole = whole
        self._given.end()
        self._thread.join()

    def _write(self) -> None:
        trouble = None
        try:
            for time, frame in self._given:
                with self._stats.timed("encode"):
                    self._writer.write(time, frame)
        except Exception as error:  # whatever it is: the loop goes on without its recording
            self._given.close()
            trouble = error
        try:
            self._writer.close(self._whole and trouble is None)
        except Exception as error:
            trouble = trouble or error
        if trouble is not None:  # known by now: how much of it can be played
            self.trouble = f"the recording ended after {self.frames} frames: {reason(trouble)}"
        else:
            self.trouble = self._writer.trouble
