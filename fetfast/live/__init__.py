"""Video: the real-time loop, and files from end to end. `Loop` is the whole of it; the rest are its parts."""

from fetfast.live.files import transfer
from fetfast.live.loop import Loop

__all__ = ["Loop", "transfer"]
