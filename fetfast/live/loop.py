"""The loop: a driver's frames in, the target's frames out, in threads that overlap.

    source -> capture -> face -> render -> whoever iterates (shows, writes)
                                   |
    target (picture or video) -----+---> recorder

Between two threads stands a bounded channel. A live source loses its oldest frames where a thread is too slow; of a
file none is lost. On a GPU render keeps two frames under way: whoever iterates waits for one to come down, while the
next one is worked on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from fetfast.engine import Engine
from fetfast.errors import BadInput, Unavailable
from fetfast.face import Face, Landmarker
from fetfast.image import Frame
from fetfast.live.channel import Channel, start
from fetfast.live.motion import MODES, Neutral, Presence, Smoother, blend, relative
from fetfast.live.record import Recorder
from fetfast.live.rest import Watch, calmest, resting_at, unwatched
from fetfast.live.sources import Picture, Source, is_file, is_picture, open_source
from fetfast.live.stats import Stats
from fetfast.live.targets import Moving, Still, View, open_target
from fetfast.live.track import Tracker
from fetfast.place import HOST
from fetfast.spec import REGIONS

WAITING = 2  # frames between two threads: a third one would only be older


@dataclass
class Moment:
    """One frame on its way."""

    time: Fraction  # seconds from the driver's first frame
    captured: float  # perf_counter
    driver: Frame | None  # let go once its face is read, where nothing else needs it
    face: Face | None = None  # smoothed; the last one while there is none
    seen: bool = False  # the driver's face, in this very frame
    driven: bool = False  # whether the target shows one
    weight: float = 0.0  # how much of the driven face shows
    take: Callable[[], Frame] | None = None  # waits for the result
    frame: Frame | None = None  # the result, for whoever iterates


class Loop:
    """Drives a target with a camera, a file or a stream.

        with Loop(engine, source=0, target="portrait.jpg") as loop:
            for frame, stats in loop: ...

    source: a camera's index or path, a video file, an rtsp or http address, or a `Source`; or a picture, for as long as
        the video goes on that is its target.
    target: a picture, or a video file whose pose, gaze and background move on.
    mode: "absolute" puts the driver's expression onto the target; "relative" adds the driver's change from its own
        resting face to a picture's own expression, or to a film's resting face: a film's own expressions are replaced
        in both. A resting face is the calmest of a whole file, which is read twice, and of a camera's first second.
    neutral: of a driving file, the time (seconds) of its resting face. `recalibrate` sets it on the way.
    timing: whose rate, length and sound the result has where a file drives a video: "driver" or "target"; the other
        one begins again when it ends.
    smooth: 0 (off) ... 1, of the One-Euro filters on landmarks and blendshapes.
    intensity, regions: as in `Engine.transfer`, and changeable on the way; regions of None are all, and all but the
        gaze for a video target. face: which face of the target, as in `Tracker`. The driver's is its largest.
    watch: shows how far reading for the resting faces is, as `tqdm` does.
    paced: a file is played at its own rate. hwaccel: "auto" decodes in hardware where there is any and frames are
        large, "off" never. side_by_side: keep the driver's frames for `Loop.driver`.

    Iterating gives (frame u8 [H, W, 3] of the target's size, `Stats`). Errors of the threads come up there; leaving the
    block ends the recording, so that it can be played. Raises BadInput, NoFace, Unavailable.
    """

    def __init__(
        self,
        engine: Engine,
        source: int | str | os.PathLike[str] | Source = 0,
        target: Any = None,
        *,
        mode: str = "absolute",
        neutral: float | None = None,
        timing: str = "driver",
        smooth: float = 0.5,
        intensity: float = 1.0,
        regions: Iterable[str] | None = None,
        face: str | int = "largest",
        paced: bool = False,
        side_by_side: bool = False,
        hwaccel: str = "auto",
        watch: Watch = unwatched,
    ) -> None:
        if mode not in MODES:
            raise BadInput(f"mode is {mode!r}, expected {' or '.join(MODES)}")
        if mode == "relative" and is_picture(source):
            raise BadInput(f"{source} is a picture: nothing in it changes; expected a video, or mode absolute")
        if neutral is not None and not (mode == "relative" and is_file(source)):
            raise BadInput("neutral is a time at which a driving file shows its resting face: it needs mode relative")
        needed = {tensor.name for stage in engine.plan.spec.stages for tensor in stage.inputs}
        if mode == "relative" and "source" in needed:
            raise Unavailable(f"{engine.plan.name} looks at the driver's picture: it has no relative mode")
        self._engine, self.mode, self._smooth, self._which = engine, mode, smooth, face
        self._reads = {"source": source}
        self._keeps_driver = side_by_side or bool(needed & {"source"})
        self._smoother, self._neutral = Smoother(smooth), Neutral()
        # One core: the stages share the others, and a network on all of them waits for the slowest.
        self._landmarker = Landmarker(threads=1)
        self._hwaccel, self._watch = hwaccel, watch
        self._target = self._open_target(target)
        self.stats = Stats()
        self.driver: Frame | None = None  # of the frame given last
        self._recorder: Recorder | None = None
        self._trouble: str | None = None  # of recordings that have ended
        self.recorded = 0  # frames, in those
        self._lock = Lock()  # of the target and the recorder, which other threads use and the user replaces
        self._last: Face | None = None
        self._ended = False  # by itself: the source has no more
        try:
            options = engine.options(intensity, self._target.regions if regions is None else regions)
            film = target if isinstance(self._target, Moving) else None
            self.source = open_source(source, film, paced, hwaccel, timing)
            if mode == "relative" and is_file(source):
                self._settle(source, neutral)
        except BaseException:
            self._target.close()
            raise
        self._options = options
        drop = self.source.live
        captured: Channel[Moment] = Channel(WAITING, drop)
        read: Channel[Moment] = Channel(WAITING, drop)
        rendered: Channel[Moment] = Channel(WAITING, drop)
        self._channels = captured, read, rendered
        self._threads = [
            start("capture", self._capture(), captured),
            start("face", self._read(captured), read),
            start("render", self._render(read), rendered),
        ]

    # --- what the user does -----------------------------------------------------------------------------------------

    @property
    def intensity(self) -> float:
        """0 ... 2, from the next frame on. Raises BadInput."""
        return self._options["intensity"]

    @intensity.setter
    def intensity(self, value: float) -> None:
        self._options = self._options | {"intensity": self._engine.options(value, REGIONS)["intensity"]}

    @property
    def regions(self) -> tuple[str, ...]:
        """What moves, from the next frame on; none of them: the target as it is. Raises BadInput."""
        return self._options["regions"]

    @regions.setter
    def regions(self, value: Iterable[str]) -> None:
        self._options = self._options | {"regions": self._engine.options(1.0, value)["regions"] if value != () else ()}

    def __iter__(self) -> Iterator[tuple[Frame, Stats]]:
        for moment in self.moments():
            assert moment.frame is not None
            with self.stats.timed("show"):
                yield moment.frame, self.stats

    def moments(self) -> Iterator[Moment]:
        """As iterating, with each frame's time."""
        for moment in self._channels[-1]:
            self.driver = moment.driver
            assert moment.take is not None
            with self.stats.timed("download") if self._engine.place is not HOST else nullcontext():
                moment.frame = moment.take()
            yield moment
            self.stats.shown(moment.captured, moment.seen, moment.driven)
            self.stats.decoder = self.source.decoder
            self.stats.dropped = sum(channel.dropped for channel in self._channels)
        self._ended = True

    def recalibrate(self) -> None:
        """Takes the driver's face as it is now for its resting face."""
        if self._last is not None:
            self._neutral.set(self._last)

    @property
    def target(self) -> Still | Moving:
        return self._target

    @target.setter
    def target(self, target: Any) -> None:
        """Another target from the next frame on. Raises BadInput, NoFace, and the old one stays."""
        new = self._open_target(target)
        with self._lock:
            old, self._target = self._target, new
        old.close()

    def _open_target(self, target: Any) -> Still | Moving:
        settle = self.mode == "relative"
        opened = open_target(target, self._which, self._smooth, settle, self._hwaccel, self._watch)
        self._reads["target"] = target
        return opened

    def _settle(self, driver: str | os.PathLike[str], neutral: float | None) -> None:
        tracker = Tracker(self._landmarker)
        if neutral is not None:
            self._neutral.set(resting_at(driver, neutral, tracker, self._hwaccel))
        for face in calmest(driver, tracker, self._hwaccel, self._watch).values() if neutral is None else ():
            self._neutral.set(face)

    def check_output(self, path: str | os.PathLike[str]) -> None:
        """Raises BadInput for a file that is being read: to write it would be its end."""
        read = [Path(name) for name in self._reads.values() if isinstance(name, str | os.PathLike)]
        if any(file.exists() and Path(path).exists() and file.samefile(path) for file in read):
            raise BadInput(f"{os.fspath(path)} is being read, expected another file to write to")

    def record(self, path: str) -> None:
        """Writes all that comes from now on, with the driving file's sound if it is recorded from the start."""
        self.check_output(path)
        sound = self.source.sound if self.stats.frames == 0 else None
        source, colour = self.source, self._target.colour
        recorder = Recorder(path, source.rate, source.time_base, sound, source.live, self.stats, colour)
        self.stop_recording()
        with self._lock:
            self._recorder = recorder

    def stop_recording(self, whole: bool = False) -> None:
        with self._lock:
            recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.close(whole)
            self.stats.dropped_recording += recorder.dropped
            self.recorded += recorder.frames
            self._trouble = recorder.trouble or self._trouble

    @property
    def recording(self) -> Recorder | None:
        return self._recorder

    @property
    def trouble(self) -> str | None:
        """What went wrong without ending the loop: a damaged file, a recording that the disk has no room for."""
        recorder = self._recorder
        recording = recorder.trouble if recorder else self._trouble
        return recording or self.source.trouble or self._target.trouble

    @property
    def unseen(self) -> str | None:
        """None, or whose face no frame has shown so far."""
        figures = self.stats
        for who, count in (("source", figures.driver_faces), ("target", figures.target_faces)):
            if figures.frames and not count:
                name = self._reads[who] if isinstance(self._reads[who], str | os.PathLike) else f"the {who}"
                return f"no face found in {name}, in none of {figures.frames} frames"
        return None

    def close(self) -> None:
        """Ends all threads and the recording."""
        for channel in self._channels:
            channel.close()
        self._target.close()
        for thread in self._threads:
            thread.join(timeout=5)
        if not self._threads[0].is_alive():  # else a driver hangs: closing under its feet would crash
            self.source.close()
        self.stop_recording(whole=self._ended)

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what the threads do ----------------------------------------------------------------------------------------

    def _capture(self) -> Iterator[Moment]:
        frames = iter(self.source)
        while True:
            begin = time.perf_counter()
            item = next(frames, None)
            if item is None:
                return
            captured = time.perf_counter()
            self.stats.add("capture", captured - begin)
            yield Moment(item[0], captured, item[1])

    def _read(self, moments: Iterable[Moment]) -> Iterator[Moment]:
        tracker, presence = Tracker(self._landmarker), Presence()
        still = self.source.face if isinstance(self.source, Picture) else None
        for moment in moments:
            assert moment.driver is not None
            with self.stats.timed("face"):
                seen = still or next(iter(tracker(moment.driver).values()), None)
                at = float(moment.time)
                if seen is not None:
                    if presence.weight == 0:
                        self._smoother.reset()
                    self._last = self._smoother(seen, at)
                    self._neutral.offer(self._last, at)
                moment.face, moment.seen = self._last, seen is not None
                moment.weight = presence(moment.seen, at)
            if not self._keeps_driver:
                moment.driver = None
            yield moment

    def _render(self, moments: Iterable[Moment]) -> Iterator[Moment]:
        for moment in moments:
            with self._lock, self.stats.timed("target"):
                view = self._target.at(moment.time)
            moment.take, moment.driven = self._driven(view, moment), view.target is not None
            with self._lock:
                if self._recorder is not None:
                    self._recorder.put(moment.time, moment.take())
            yield moment

    def _driven(self, view: View, moment: Moment) -> Callable[[], Frame]:
        weight = moment.weight
        if view.target is None or moment.face is None or weight == 0:
            plain = view.frame.copy()
            return lambda: plain
        with self.stats.timed("step"):
            step = self._engine.step(
                "transfer",
                self._sources(view, moment.face),
                view.target,
                moment.driver,
                **self._options,
            )
            results = self._engine.begin(step)
        if weight == 1:
            return lambda: results()[0]
        return cache(lambda: blend(view.frame, results()[0], weight))

    def _sources(self, view: View, face: Face) -> Face | list[Face]:
        neutral = self._neutral.face
        if self.mode == "absolute" or neutral is None:
            return face
        return [relative(face, neutral, resting) for resting in view.resting]
