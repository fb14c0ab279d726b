"""The containers that are written, by the ending of a file's name: what stands in each."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Format:
    """What is written into one container.

    container: FFmpeg's name of its writer. encoder, pixels: of the pictures. sound: its encoder, None where there can
    be none. copied: codecs of sound that are taken over as they are, since what plays the container plays them too;
    None are all that it can hold. tick: the container's own clock, seconds; None takes the pictures'.
    """

    container: str
    encoder: str = "libx264"
    pixels: str = "yuv420p"
    sound: str | None = "aac"
    copied: frozenset[str] | None = frozenset(("aac", "mp3", "ac3", "eac3", "alac"))
    tick: Fraction | None = None


FORMATS = {
    ".mp4": Format("mp4"),
    ".m4v": Format("mp4"),
    ".mov": Format("mov"),
    ".mkv": Format("matroska", copied=None),
    ".webm": Format("webm", "libvpx-vp9", sound="libopus", copied=frozenset(("opus", "vorbis"))),
    # Browsers show a GIF's frame for a tenth of a second where it asks for less than 2 hundredths.
    ".gif": Format("gif", "gif", "pal8", sound=None, tick=Fraction(1, 50)),
    ".webp": Format("webp", "libwebp_anim", "bgra", sound=None, tick=Fraction(1, 1000)),
}


def encoding(format: Format, quality: int, constant: bool, fast: bool) -> dict[str, str]:
    """An encoder's options. quality: 1 ... 100. constant: of the quality, not of the bitrate. fast: for live use."""
    if format.encoder == "libx264":
        # Without B-frames decoding and display times agree, and no reader has to undo a delay.
        preset = {"preset": "ultrafast", "tune": "zerolatency"} if fast else {"preset": "veryfast", "bf": "0"}
        return preset | ({"crf": str(round(36 - quality / 5))} if constant else {})
    if format.encoder == "libvpx-vp9":
        speed = {"deadline": "realtime", "cpu-used": "8"} if fast else {"deadline": "good", "cpu-used": "4"}
        rate = {"crf": str(round(62 - quality * 0.42)), "b": "0"} if constant else {}
        return speed | rate | {"row-mt": "1", "auto-alt-ref": "0", "lag-in-frames": "0"}
    return {"quality": str(quality), "compression_level": "3"} if format.encoder == "libwebp_anim" else {}
