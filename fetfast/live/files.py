"""`fetfast transfer` for video files: from end to end, nothing dropped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fetfast.engine import Engine
from fetfast.errors import BadInput
from fetfast.live.loop import Loop
from fetfast.live.sources import Picture, Source
from fetfast.video import Writer, is_video
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
    with Loop(engine, _source(driver, target, options), target, **options) as loop:
        source = loop.source
        writer = Writer(output, source.rate, source.time_base, source.sound, mark=mark)
        try:
            with writer:
                for moment in loop.moments():
                    with loop.stats.timed("encode"):
                        assert moment.frame is not None
                        writer.write(moment.time, moment.frame)
        except OSError as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(
                f"{output}: {reason(error)} after {writer.frames} frames; what was written can be played"
            ) from None
        return loop.stats.summary() | {"trouble": loop.trouble}


def _source(driver: AnyPath | Source, target: AnyPath, options: dict[str, Any]) -> AnyPath | Source:
    """The driver, or a `Picture` where a picture drives a video."""
    if not isinstance(driver, str | os.PathLike) or not Path(driver).is_file() or is_video(driver):
        return driver
    if not is_video(target):
        raise BadInput(f"{driver} and {target} are pictures, expected a video among them")
    if options.get("mode") == "relative":
        raise BadInput(f"{driver} is a picture: nothing in it changes; expected a video, or mode absolute")
    return Picture(driver, target, options.get("hwaccel", "auto"))
