"""Hardware decoders: which of the machine's are worth trying on a stream, and the first of them that starts.

Frames come back into main memory, in the same order and with the same times, colour tags and rotation as in software.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

MODES = ("auto", "off")
ORDER = ("cuda", "videotoolbox", "d3d11va", "vaapi")  # each vendor's own way before the general one
WORTH = 1280 * 720  # pixels a frame: below, software decodes in less time than starting a device and copying back takes


def candidates(available: Collection[str], decodable: Collection[str], pixels: int) -> list[str]:
    """The devices to try, best first. available: those FFmpeg was built with. decodable: those that know the codec.
    pixels: of a frame."""
    return [kind for kind in ORDER if kind in available and kind in decodable] if pixels >= WORTH else []


def device(av: Any, codec: Any, pixels: int) -> str | None:
    """The first device that starts for an `av.Codec`, or None: most machines list devices that they do not have."""
    from av.codec.hwaccel import HWAccel, hwdevices_available

    decodable = {config.device_type.name for config in codec.hardware_configs if config.is_supported}
    for kind in candidates(hwdevices_available(), decodable, pixels):
        try:
            HWAccel(kind).create(codec)
        except (av.FFmpegError, NotImplementedError):
            continue
        return kind
    return None


def surface(codec: Any, kind: str) -> str:
    """The pixel format that a codec context has while `kind` decodes; another one where it fell back to software."""
    return next(config.format.name for config in codec.hardware_configs if config.device_type.name == kind)
