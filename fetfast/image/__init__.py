"""Images in and out: whatever a user has becomes frames u8 [H, W, 3] RGB, and results go back in the same form.

Files that we write say in their metadata that they were synthesised (IPTC digital source type, in XMP).
"""

from fetfast.image.kinds import GiveBack, read
from fetfast.image.pictures import MAX_PIXELS, Frame, is_still, load, open_picture
from fetfast.image.saving import FORMATS, SYNTHESISED, check_output, is_marked, save

__all__ = [
    "FORMATS", "MAX_PIXELS", "SYNTHESISED", "Frame", "GiveBack", "check_output", "is_marked", "is_still", "load",
    "open_picture", "read", "save",
]  # fmt: skip
