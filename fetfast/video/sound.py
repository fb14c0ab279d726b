"""The sound of a file on its way into another one: copied where that holds its codec, encoded anew elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np

from fetfast.video.formats import Format
from fetfast.video.part import Part
from fetfast.video.reader import TIMEOUT, begin

SLACK = 0.03  # seconds: time stamps are rounded; what is further off is a gap, or comes twice
LONGEST_GAP = 10.0  # seconds after the last picture; a longer one is a damaged time stamp


class Sound:
    """Copies packets, or decodes, places and encodes samples: each is heard when it was heard before.

    source: a file or address, or a `Part` of a file. to, format: the `av` container that is being written.
    Silence fills what comes before the sound, gaps in it, and what is damaged. Encoders hear some samples late; their
    time stamps say by how much, and the containers have players skip that.
    Attribute `trouble`: None, or why there is no sound. Raises what `av.open` does.
    """

    def __init__(self, av: ModuleType, source: str | os.PathLike[str], to: Any, format: Format) -> None:
        self._av, self._from, self._to = av, av.open(str(source), timeout=TIMEOUT), to
        part = Part.of(source)
        self._last = None if part.end is None else part.end - part.begin
        self._origin, self._trims = begin(self._from) + part.begin, part.begin > 0
        if self._trims:
            with suppress(av.FFmpegError):
                self._from.seek(round(self._origin * 1_000_000))
        self.trouble: str | None = None
        error = av.error
        self._damage = (error.InvalidDataError, error.ArgumentError, error.EOFError, error.PatchWelcomeError)
        streams = self._from.streams.audio
        self._stream = next((stream for stream in streams if stream.codec_context is not None), None)
        self._packets = self._from.demux(self._stream) if self._stream else iter(())
        self._next: Any = None
        if self._stream is None:
            if streams:
                self.trouble = f"{source}: its sound is left out, FFmpeg knows no decoder for it"
            return
        codec = self._stream.codec_context
        name = codec.codec.canonical_name
        # Uncompressed sound is large, and browsers play none.
        known = name in (to.supported_codecs if format.copied is None else format.copied)
        self._copies = known and not name.startswith("pcm")
        if self._copies:
            self._out = to.add_stream_from_template(self._stream)
            # Streams carry AAC's parameters in each packet, files once for all.
            loose = name == "aac" and not codec.extradata
            self._filter = av.BitStreamFilterContext("aac_adtstoasc", self._stream) if loose else None
        else:
            assert format.sound is not None  # whoever holds none is not asked to
            rates = av.Codec(format.sound, "w").audio_rates or [codec.sample_rate]
            self._rate: int = min(rates, key=lambda rate: (rate < codec.sample_rate, abs(rate - codec.sample_rate)))
            self._layout = "stereo" if codec.channels > 1 else "mono"
            self._out = to.add_stream(format.sound, rate=self._rate, layout=self._layout)
            self._resampler, self._kind = self._to_samples(), ("", "", 0)  # of the frames that it takes
            self._count: int | None = None  # of the samples encoded

    def copy(self, until: Fraction | None) -> None:
        """Takes along what is heard until then, seconds, or all."""
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
                        self._encode(frame, until)

    def end(self, until: Fraction | None) -> None:
        """The same, for the last time."""
        self.copy(self._last if until is None else until)
        if self._stream is not None and not self._copies and self._count is not None:
            for samples in self._resampler.resample(None):
                self._put(samples.to_ndarray())
            self._to.mux(self._out.encode(None))

    def close(self) -> None:
        self._from.close()

    def _read(self) -> Any:
        with suppress(*self._damage):
            return next(self._packets, None)
        return None

    def _copy(self, packet: Any) -> None:
        for part in self._filter.filter(packet) if self._filter else [packet]:
            if part.dts is None:
                continue
            shift = round(self._origin / part.time_base)
            part.pts, part.dts = part.pts - shift, part.dts - shift
            if self._trims and part.pts < 0:
                continue
            part.stream = self._out
            self._to.mux(part)

    def _to_samples(self) -> Any:
        return self._av.AudioResampler("fltp", self._layout, self._rate)

    def _encode(self, frame: Any, until: Fraction | None) -> None:
        kind = frame.format.name, frame.layout.name, frame.sample_rate
        if kind != self._kind:  # it may change on the way
            self._resampler, self._kind = self._to_samples(), kind
        for part in self._resampler.resample(frame):
            samples = part.to_ndarray()
            if part.pts is not None:
                samples = self._placed(samples, part.pts * part.time_base - self._origin, until)
            self._put(samples)

    def _placed(self, samples: Any, time: Fraction, until: Fraction | None) -> Any:
        """The samples [channels, N] that are heard from `time` on, seconds, less those that come too late; silence is
        put before them where nothing is heard."""
        ahead = round(time * self._rate) - (self._count or 0)
        if self._count is not None and abs(ahead) <= SLACK * self._rate:
            return samples
        if until is not None or ahead <= LONGEST_GAP * self._rate:
            for silent in _pieces(ahead, self._rate):
                self._put(np.zeros((len(samples), silent), np.float32))
        return samples[:, max(-ahead, 0) :]

    def _put(self, samples: Any) -> None:
        if not samples.shape[1]:
            return
        frame = self._av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", self._layout)
        frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
        frame.pts = self._count = self._count or 0
        self._count += samples.shape[1]
        self._to.mux(self._out.encode(frame))


def _pieces(count: int, most: int) -> Iterator[int]:
    while count > 0:
        yield min(count, most)
        count -= most
