"""`fetfast transfer` for video files: from end to end, nothing dropped."""

from __future__ import annotations

import os
from typing import Any

from fetfast.engine import Engine
from fetfast.errors import BadInput
from fetfast.live.loop import Loop
from fetfast.live.sources import Source
from fetfast.video import Writer
from fetfast.video.reader import reason

AnyPath = str | os.PathLike[str]


def transfer(
    engine: Engine, driver: AnyPath | Source, target: AnyPath, output: AnyPath, *, mark: bool = True, **options: Any
) -> dict[str, Any]:
    """Writes `target`, a picture or a video, driven by the video `driver`, with the driver's times and sound.

    A picture may drive a video: its expression then lasts as long as the target, whose times and sound are kept.
    options: as of `Loop`. Returns `Stats.summary()` and "trouble": None, or what is wrong with the driver's file.
    Where the work ends early (an error, a full disk, Ctrl-C) what was written by then is a file that can be played.
    Raises BadInput, NoFace, Unavailable.
    """
    with Loop(engine, driver, target, **options) as loop:
        source = loop.source
        loop.check_output(output)
        writer = Writer(output, source.rate, source.time_base, source.sound, mark=mark, colour=loop.target.colour)
        try:
            with writer:
                for moment in loop.moments():
                    with loop.stats.timed("encode"):
                        assert moment.frame is not None
                        writer.write(moment.time, moment.frame)
        except OSError as error:
            if isinstance(error, BadInput):
                raise
            left = f"its {writer.frames} frames can be played" if writer.frames else "nothing of it could be kept"
            raise BadInput(f"{output}: {reason(error)}; {left}") from None
        return loop.stats.summary() | {"trouble": loop.trouble or writer.trouble}
