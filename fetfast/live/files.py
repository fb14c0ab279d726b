"""`fetfast transfer` for video files: from end to end, nothing dropped."""

from __future__ import annotations

import os
from typing import Any

from fetfast.engine import Engine
from fetfast.errors import BadInput
from fetfast.live.loop import Loop
from fetfast.live.rest import Watch, unwatched
from fetfast.live.sources import Source
from fetfast.video import Writer
from fetfast.video.reader import reason
from fetfast.video.writer import QUALITY

AnyPath = str | os.PathLike[str]


def transfer(
    engine: Engine,
    driver: AnyPath | Source,
    target: AnyPath,
    output: AnyPath,
    *,
    mark: bool = True,
    timing: str = "target",
    quality: int = QUALITY,
    bitrate: int | None = None,
    watch: Watch = unwatched,
    **options: Any,
) -> dict[str, Any]:
    """Writes `target`, a picture or a video, driven by the picture or video `driver`.

    driver, target: also a `Part`, of a video. timing: whose rate, length and sound the result has where both are
    videos: "target" or "driver"; else there is but one. quality, bitrate: as of `Writer`. watch: shows how far it is,
    as `tqdm` does.
    options: as of `Loop`. Returns `Stats.summary()`, "trouble" (None, or what is wrong with a file) and "unseen" (None,
    or whose face no frame showed: then nothing is written).
    Where the work ends early (an error, a full disk, Ctrl-C) what was written by then is a file that can be played.
    Raises BadInput, NoFace, Unavailable.
    """
    with Loop(engine, driver, target, timing=timing, watch=watch, **options) as loop:
        source = loop.source
        loop.check_output(output)
        writer = Writer(
            output, source.rate, source.time_base, source.sound,
            mark=mark, colour=loop.target.colour, quality=quality, bitrate=bitrate,
        )  # fmt: skip
        unseen = None
        try:
            with writer:
                for moment in watch(loop.moments(), desc=os.fspath(output), total=source.count):
                    with loop.stats.timed("encode"):
                        assert moment.frame is not None
                        writer.write(moment.time, moment.frame)
                unseen = loop.unseen
                if unseen:
                    writer.discard()
        except OSError as error:
            if isinstance(error, BadInput):
                raise
            left = f"its {writer.frames} frames can be played" if writer.frames else "nothing of it could be kept"
            raise BadInput(f"{output}: {reason(error)}; {left}") from None
        return loop.stats.summary() | {"trouble": loop.trouble or writer.trouble, "unseen": unseen}
