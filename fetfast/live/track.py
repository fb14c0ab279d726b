"""Faces followed from frame to frame, each under its own number for as long as it lives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fetfast.face import Face, Landmarker, select

EVERY = 15  # frames: how often new faces are looked for where all are wanted
PATIENCE = 2  # frames until a face somewhere else may be the lost one
NEAR = 1.0  # face sizes: how far a face may have gone while it was lost
FORGET = 100  # frames after which a lost face is given up, where all are wanted
SMALLEST = 30  # pixels


class Tracker:
    """Follows the faces of a video. Not for use by two threads at once.

    which: "largest" or an index from left to right, as in the first frame that shows faces: the same one from then
    on; "all": every face, also those that come later. Raises BadInput for an index that is not there.
    """

    def __init__(self, landmarker: Landmarker, which: str | int = "largest") -> None:
        self._landmarker, self._which = landmarker, which
        self._known: dict[int, Face] = {}  # where each was last
        self._lost: dict[int, int] = {}  # for how many frames
        self._frames = self._numbers = 0

    def __call__(self, frame: NDArray[np.uint8]) -> dict[int, Face]:
        """The faces seen in the next frame u8 [H, W, 3], by number."""
        self._frames += 1
        seen: dict[int, Face] = {}
        for number, last in self._known.items():
            if number in self._lost:
                continue
            face = self._landmarker.track(frame, last)
            if face is not None and not any(_distance(face, other) < 0.5 for other in seen.values()):
                seen[number] = face
        for number in self._known.keys() - seen.keys():
            self._lost[number] = self._lost.get(number, 0) + 1
            if self._which == "all" and self._lost[number] > FORGET:
                del self._known[number], self._lost[number]
        if self._lost or not self._known or (self._which == "all" and self._frames % EVERY == 0):
            self._find(frame, seen)
        self._known |= seen
        return dict(sorted(seen.items()))

    def _find(self, frame: NDArray[np.uint8], seen: dict[int, Face]) -> None:
        """Adds the faces that are lost or new."""
        # Small faces take many tiles: they are looked for in every third frame, large ones in each.
        smallest = SMALLEST if self._frames % 3 == 1 else max(SMALLEST, max(frame.shape[:2]) // 8)
        found = self._landmarker.detect(frame, smallest)
        found = [face for face in found if all(_distance(face, other) > 0.5 for other in seen.values())]
        for face in found if self._known or not found else select(found, self._which):
            number = self._whose(face)
            if number is None and (self._which == "all" or not self._known):
                number, self._numbers = self._numbers, self._numbers + 1
            if number is not None and number not in seen:
                seen[number] = face
                self._known[number] = face
                self._lost.pop(number, None)

    def _whose(self, face: Face) -> int | None:
        """The lost face that this one is: one that was near, else, for a single one, after a while any."""
        near = {number: _distance(self._known[number], face) for number in self._lost}
        number = min(near, key=near.__getitem__, default=None)
        if number is None or near[number] < NEAR:
            return number
        return number if self._which != "all" and self._lost[number] > PATIENCE else None


def _distance(a: Face, b: Face) -> float:
    """Between the middles of two faces, in sizes of the larger one."""
    boxes = np.array([a.box, b.box])
    (ax, ay), (bx, by) = (boxes[:, :2] + boxes[:, 2:]) / 2
    return float(np.hypot(ax - bx, ay - by) / max((boxes[:, 2:] - boxes[:, :2]).max(), 1.0))
