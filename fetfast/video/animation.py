"""GIF and animated WebP, what FFmpeg leaves to others: palettes, and the mark that they were synthesised."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fetfast.image.metadata import SYNTHESISED, mark

# XMP in GIF stands as it is, not in blocks: whoever reads blocks falls into this run and finds the end.
RUN = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"
HEAD = 1 << 16  # bytes within which a GIF's mark stands


class Palette:
    """Gives `av.VideoFrame`s in 256 colours, the best ones of each frame, dithered."""

    def __init__(self, av: Any, width: int, height: int, tick: Any) -> None:
        self._end = (av.error.BlockingIOError, av.error.EOFError)
        self._graph = graph = av.filter.Graph()
        source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=tick)
        split, make = graph.add("split"), graph.add("palettegen", "stats_mode=single")
        use = graph.add("paletteuse", "new=1")
        source.link_to(split)
        split.link_to(use, 0, 0)
        split.link_to(make, 1, 0)
        make.link_to(use, 0, 1)
        use.link_to(graph.add("buffersink"))
        graph.configure()

    def __call__(self, frame: Any) -> Iterator[Any]:
        """What is ready after a frame, or after None, the end."""
        self._graph.push(frame)
        while True:
            try:
                yield self._graph.pull()
            except self._end:
                return


class MarkedGif:
    """A file to write a GIF to, which puts XMP (an application extension, XMP part 3, 1.1.2) behind its header. FFmpeg
    loses errors of what it calls: `check` raises the first one."""

    def __init__(self, path: Path) -> None:
        self._file, self._begun = path.open("wb", buffering=0), False
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        pieces = [data]
        if not self._begun:  # the first piece holds the header and, if there is one, the palette of all frames
            self._begun = True
            size = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
            pieces = [data[:size], b"\x21\xff\x0bXMP DataXMP" + mark(None) + RUN, data[size:]]
        try:
            for piece in pieces if self._error is None else ():
                self._file.write(piece)
        except OSError as error:
            self._error = error
        return len(data)

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self._file.close()
        self.check()


def mark_webp(path: Path, width: int, height: int) -> None:
    """Appends XMP to a WebP and says so in its VP8X header, which one of a single frame lacks."""
    xmp = mark(None)
    with path.open("r+b") as file:
        if file.read(16)[12:] != b"VP8X":
            file.seek(12)
            pixels = file.read()
            size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
            file.seek(12)
            file.write(b"VP8X\x0a\0\0\0\0\0\0\0" + size + pixels)
        file.seek(20)
        flags = file.read(1)[0]
        file.seek(20)
        file.write(bytes([flags | 0x04]))
        file.seek(0, os.SEEK_END)
        file.write(b"XMP " + len(xmp).to_bytes(4, "little") + xmp + b"\0" * (len(xmp) % 2))
        size = (file.tell() - 8).to_bytes(4, "little")
        file.seek(4)
        file.write(size)


def gif_is_marked(path: Path) -> bool:
    with path.open("rb") as file:
        return SYNTHESISED.encode() in file.read(HEAD)


def playable_frames(path: Path) -> int:
    """How many frames of a GIF or WebP that may be cut off can be shown."""
    from PIL import Image

    count = 0
    try:
        with Image.open(path) as picture:
            while True:
                picture.seek(count)
                picture.load()
                count += 1
    except (OSError, EOFError, ValueError, SyntaxError):
        return count
