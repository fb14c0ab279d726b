"""`fetfast live`: a loop, and all that looks at it."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fetfast.engine import Engine
from fetfast.errors import BadInput
from fetfast.files import write_json
from fetfast.live.loop import Loop
from fetfast.live.preview import Controls, VirtualCamera, Window
from fetfast.live.stats import table

UNNAMED = "fetfast.mp4"  # where the record key writes without --record


def run(
    engine: Engine,
    source: str,
    target: str,
    *,
    preview: bool = True,
    virtual_camera: bool = False,
    record: Path | None = None,
    stats: bool = False,
    stats_json: Path | None = None,
    **options: Any,
) -> None:
    """Runs until the source ends, the window is closed or Ctrl-C. options: as of `Loop`.

    Raises BadInput, NoFace, Unavailable; also where a recording failed, once all is over. Exits with 1 where nobody was
    seen.
    """
    with ExitStack() as stack:
        loop = stack.enter_context(Loop(engine, source, target, paced=True, side_by_side=preview, **options))
        controls = Controls(loop, str(record or UNNAMED))
        window = Window(controls) if preview else None
        if window:
            stack.callback(window.close)
        if record:
            loop.record(str(record))
        stack.callback(_report, loop, stats, stats_json)
        try:
            _show(loop, controls, window, virtual_camera, stack)
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
    if record:
        print(f"{record}: {loop.recorded} frames")
    if loop.trouble:
        raise BadInput(loop.trouble)
    if loop.unseen:
        print(f"fetfast: {loop.unseen}", file=sys.stderr)
        sys.exit(1)


def _show(loop: Loop, controls: Controls, window: Window | None, virtual_camera: bool, stack: ExitStack) -> None:
    begun = said = time.monotonic()
    terminal = sys.stderr.isatty()
    camera = None
    try:
        for frame, stats in loop:
            if virtual_camera and camera is None:
                camera = VirtualCamera(frame, float(loop.source.rate or 30))
                stack.callback(camera.close)
                print(f"virtual camera: {camera.name}", file=sys.stderr)
            if camera:
                camera.send(frame)
            if window:
                window.show(frame, loop.driver)
            elif terminal and time.monotonic() - said > 1:
                said = time.monotonic()
                latency = stats.summary()["latency_ms"]["p95"]
                line = f"{stats.fps:.1f} frames/s   p95 {latency:.0f} ms   {stats.dropped} dropped"
                print(f"\r{line}   {loop.trouble or ''}", end="", file=sys.stderr, flush=True)
            if controls.quitting:
                return
    finally:
        if said != begun:  # the status line ends
            print(file=sys.stderr)


def _report(loop: Loop, stats: bool, stats_json: Path | None) -> None:
    figures = loop.stats.summary()
    if stats:
        print(table(figures))
    if stats_json:
        write_json(stats_json, figures)
