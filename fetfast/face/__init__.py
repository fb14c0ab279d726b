"""Faces: found, read (478 landmarks, 52 blendshapes, pose), chosen among several, and framed by a crop."""

from fetfast.face.align import crop_matrix, select, to_crop, to_frame
from fetfast.face.landmarks import Face, Landmarker

__all__ = ["Face", "Landmarker", "crop_matrix", "select", "to_crop", "to_frame"]
