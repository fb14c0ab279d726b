"""Faces followed from frame to frame, each under its own number for as long as it lives.

Who is who: a face is looked for where it was; how it looks tells it from others that cross its way, and knows it again
when it comes back elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fetfast.face import Face, Landmarker, crop_matrix, select
from fetfast.face.detect import thinned
from fetfast.ops.crop import crop

Array = NDArray[np.float32]

EVERY = 15  # frames: how often new faces are looked for where all are wanted
PATIENCE = 2  # frames until any other face may stand in for the lost largest one
NEAR = 1.0  # face sizes: how far a face may have gone while it was lost
FORGET = 100  # frames after which a lost face is given up, where all are wanted
SMALLEST = 30  # pixels

# Differences of appearance, 0 ... 2. One person at rest and smiling: at most 0.09; two people: 0.24 and more in 99 of
# 100 portraits, 0.08 under one light and camera.
SAME = 0.2  # up to here two faces are one person wherever they are
ALIKE = 0.4  # up to here they are where one is lost and the other one turns up near by
OTHERS = 32  # of whom the appearance is kept
ADAPTING = 0.1  # how much of each frame's appearance goes into the one that is remembered: light and pose change


def appearance(frame: NDArray[np.uint8], face: Face) -> Array:
    """How a face in a frame u8 [H, W, 3] looks, f32 [768] of length 1: the aligned crop's middle in 16 x 16 colours,
    less their mean, so that brightness and contrast do not matter. What differs is 1 - a @ b."""
    M = crop_matrix(face.landmarks)
    colours = crop(*thinned(frame, M, GRID), GRID)
    centred = (colours - (colours * WEIGHT).sum()) * np.sqrt(WEIGHT)
    return (centred / max(float(np.linalg.norm(centred)), 1e-6)).reshape(-1).astype(np.float32)


GRID = 16
_across = (np.arange(GRID) + 0.5) / GRID - 0.5
WEIGHT = np.exp(-(_across**2 + _across[:, None] ** 2) / (2 * 0.17**2))  # of the face, hardly any background
WEIGHT = (WEIGHT / (3 * WEIGHT.sum())).astype(np.float32)


@dataclass
class Person:
    face: Face  # where it was last
    looks: Array
    lost: int = 0  # for how many frames

    def differs(self, looks: Array) -> float:
        return float(1 - self.looks @ looks)

    def seen(self, face: Face, looks: Array) -> None:
        self.face, self.lost = face, 0
        looks = self.looks + ADAPTING * (looks - self.looks)
        self.looks = looks / np.linalg.norm(looks)


class Tracker:
    """Follows the faces of a video. Not for use by two threads at once.

    which: "largest" as in the first frame that shows faces, and for as long as it is away whoever is there; an index
    from left to right in that frame: that person and nobody else; "all": every face, also those that come later.
    Raises BadInput for an index that is not there.
    """

    def __init__(self, landmarker: Landmarker, which: str | int = "largest") -> None:
        self._landmarker, self._which = landmarker, which
        self._people: dict[int, Person] = {}  # who is followed
        self._others: list[Array] = []  # how people look who are not
        self._frames = self._numbers = 0

    def __call__(self, frame: NDArray[np.uint8]) -> dict[int, Face]:
        """The faces seen in the next frame u8 [H, W, 3], by number."""
        self._frames += 1
        seen = self._followed(frame)
        for number in self._people.keys() - seen.keys():
            self._people[number].lost += 1
            if self._which == "all" and self._people[number].lost > FORGET:
                del self._people[number]
        if len(seen) < max(len(self._people), 1) or (self._which == "all" and self._frames % EVERY == 0):
            self._find(frame, seen)
        return dict(sorted(seen.items()))

    def _followed(self, frame: NDArray[np.uint8]) -> dict[int, Face]:
        """Those who are still where they were, and still look like themselves."""
        found = []
        for number, person in self._people.items():
            face = None if person.lost else self._landmarker.track(frame, person.face)
            if face is not None:
                looks = appearance(frame, face)
                if self._is(number, looks, ALIKE):
                    found.append((person.differs(looks), number, face, looks))
        seen: dict[int, Face] = {}
        for _, number, face, looks in sorted(found, key=lambda row: row[0]):  # of two on one face the likelier
            if not any(_distance(face, other) < 0.5 for other in seen.values()):
                seen[number] = face
                self._people[number].seen(face, looks)
        return seen

    def _is(self, number: int, looks: Array, most: float) -> bool:
        """Whether a face may be the person of this number: like enough, and more than like anybody else, or surely."""
        differs = self._people[number].differs(looks)
        rivals = [person.differs(looks) for other, person in self._people.items() if other != number]
        rivals += [float(1 - other @ looks) for other in self._others]
        return differs < most and (differs < min(rivals, default=2.0))

    def _find(self, frame: NDArray[np.uint8], seen: dict[int, Face]) -> None:
        """Adds the faces that are lost or new."""
        # Small faces take many tiles: they are looked for in every third frame, large ones in each.
        smallest = SMALLEST if self._frames % 3 == 1 else max(SMALLEST, max(frame.shape[:2]) // 8)
        found = self._landmarker.detect(frame, smallest, everyone=self._which != "largest")
        chosen = select(found, self._which) if found and not self._people else []
        for face in [*chosen, *(face for face in found if all(face is not other for other in chosen))]:
            if any(_distance(face, other) <= 0.5 for other in seen.values()):
                continue
            looks = appearance(frame, face)
            number = self._whose(face, looks, seen)
            if number is None and (self._which == "all" or not self._people):
                if self._covered(face):
                    continue
                number, self._numbers = self._numbers, self._numbers + 1
                self._people[number] = Person(face, looks)
            if number is not None:
                seen[number] = face
                self._people[number].seen(face, looks)
                self._others = [other for other in self._others if 1 - other @ looks > SAME]
            elif all(1 - other @ looks > SAME for other in self._others):
                self._others = [*self._others, looks][-OTHERS:]

    def _whose(self, face: Face, looks: Array, seen: dict[int, Face]) -> int | None:
        """The lost person whose face this is."""
        lost = {number: person for number, person in self._people.items() if number not in seen}
        for number in sorted(lost, key=lambda number: lost[number].differs(looks)):
            near = _distance(lost[number].face, face) < NEAR
            if self._is(number, looks, ALIKE if near else SAME):
                return number
            if self._which == "largest" and lost[number].lost > PATIENCE:
                self._people[number].looks = looks  # whoever it is
                return number
        return None

    def _covered(self, face: Face) -> bool:
        """Whether a face that looks like nobody may be somebody's whom another one is just about to hide."""
        return any(0 < p.lost <= PATIENCE and _distance(p.face, face) < NEAR for p in self._people.values())


def _distance(a: Face, b: Face) -> float:
    """Between the middles of two faces, in sizes of the larger one."""
    boxes = np.array([a.box, b.box])
    (ax, ay), (bx, by) = (boxes[:, :2] + boxes[:, 2:]) / 2
    return float(np.hypot(ax - bx, ay - by) / max((boxes[:, 2:] - boxes[:, :2]).max(), 1.0))
