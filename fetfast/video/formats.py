"""The containers that are written, by the ending of a file's name: what stands in each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """container: FFmpeg's name of its writer. pictures, sound: the encoders. copied: codecs of sound that are taken
    over as they are, since what plays the container plays them too; None are all that it can hold."""

    container: str
    pictures: str = "libx264"
    sound: str = "aac"
    copied: frozenset[str] | None = frozenset(("aac", "mp3", "ac3", "eac3", "alac"))


FORMATS = {
    ".mp4": Format("mp4"),
    ".m4v": Format("mp4"),
    ".mov": Format("mov"),
    ".mkv": Format("matroska", copied=None),
}
