"""Videos in and out, as `image` is for pictures: one decoder for all rooms, and what the loop writes."""

from fetfast.video.colour import PLAIN, Colour
from fetfast.video.formats import FORMATS
from fetfast.video.part import Part
from fetfast.video.reader import CLOCK, Reader, frames, is_video, library
from fetfast.video.writer import Writer, is_marked

__all__ = [
    "CLOCK",
    "FORMATS",
    "PLAIN",
    "Colour",
    "Part",
    "Reader",
    "Writer",
    "frames",
    "is_marked",
    "is_video",
    "library",
]
