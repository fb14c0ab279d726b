"""What moves in a face between two pictures of it, seen by no face net: dense optical flow (DIS, Kroeger et al. 2016)
over regions that dlib's landmarks place at rest; lids by the eye aspect ratio, irises by their own darkness."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fetfast.evaluate.points import SIDE, Look

# Regions by their landmarks among dlib's 68: of the subject's right side, of the left one.
PARTS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "outer brow": ((17, 18, 19), (24, 25, 26)),
    "inner brow": ((20, 21), (22, 23)),
    "nostril": ((31,), (35,)),
    "corner": ((48,), (54,)),
    "upper lip": ((50, 51), (51, 52)),
    "lower lip": ((58, 57), (57, 56)),
}
SIDES = ("right", "left")
BLUR = 0.05 / 2.8  # crop sides: regions are this wide (a Gaussian's sigma), .05 of the eye distance
SCALES = {"lid": 0.1, "iris": 0.3}  # of their units in eye distances: how far eyes open, how wide they are
OPEN = 0.15  # eye aspect ratio at rest from which an eye can be seen to close: half of the usual
Motion = dict[tuple[str, str], tuple[float, float]]  # (part, side) -> (to the subject's right, up)


@cache
def _flow() -> Any:
    import cv2

    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def flow(before: Look, after: Look) -> NDArray[np.float32]:
    """f32 [S, S, 2]: where each pixel of `before` lies in `after`, less where it lay; crop units."""
    import cv2

    greys = [cv2.cvtColor(look.picture, cv2.COLOR_RGB2GRAY) for look in (before, after)]
    return _flow().calc(*greys, None) / np.float32(SIDE)


def regions(rest: Look) -> dict[tuple[str, str], NDArray[np.float32]]:
    """Weights f32 [S, S], 1 in sum, of each part on each side."""
    centre = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    found = {}
    for part, sides in PARTS.items():
        for side, rows in zip(SIDES, sides, strict=True):
            weight = np.zeros((SIDE, SIDE), np.float32)
            for x, y in rest.points[list(rows)]:
                gauss = [np.exp(-np.square((centre - v) / BLUR) / 2) for v in (x, y)]
                weight += gauss[1][:, None] * gauss[0][None]
            found[part, side] = weight / weight.sum()
    return found


def motion(rest: Look, *steps: Look) -> list[Motion]:
    """Of each part on each side, at each of the `steps` of one movement: how far it has moved from `rest` (to the
    subject's right, up), in eye distances (outer corners). Flow is followed from step to step: a jaw that drops far is
    not found in one. Of a `lid`: (0, how much wider it opens, as a share of its opening at rest, at most twice as
    wide). Of an `iris`: in widths of the eye; 0 where it is hidden. Both NaN where the eye is all but shut at rest, in
    the dark or behind glasses: there is nothing to measure."""
    if all(step.picture is rest.picture for step in steps):
        return [dict.fromkeys([*((p, s) for p in (*PARTS, "lid", "iris") for s in SIDES)], (0.0, 0.0))] * len(steps)
    weights, irises, before = regions(rest), rest.irises, rest
    field, found = np.zeros((SIDE, SIDE, 2), np.float32), []
    for step in steps:
        field, before = field + _seen_through(flow(before, step), field), step
        moved: Motion = {}
        for place, weight in weights.items():
            x, y = np.tensordot(weight, field, 2)
            moved[place] = (float(-x) / rest.unit, float(-y) / rest.unit)
        shut = rest.lids < OPEN
        opened = np.where(shut, np.nan, np.clip(step.lids / np.maximum(rest.lids, OPEN) - 1, -1, 1))
        looked = np.where(shut[:, None], np.nan, np.nan_to_num(step.irises - irises))
        for i, side in enumerate(SIDES):
            moved["lid", side] = (0.0, float(opened[i]))
            moved["iris", side] = (float(-looked[i, 0]), float(-looked[i, 1]))
        found.append(moved)
    return found


def _seen_through(field: NDArray[np.float32], moved: NDArray[np.float32]) -> NDArray[np.float32]:
    """`field` where each pixel has moved to."""
    import cv2

    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    x, y = x + moved[..., 0] * SIDE, y + moved[..., 1] * SIDE
    found: Any = cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found


def along(moved: Motion, part: str, axis: str, side: str) -> float:
    """The motion of a part along an axis: `up`, `open` (of lids), `right` (the subject's), `out` (from the middle)."""
    x, y = moved[part, side]
    return {"up": y, "open": y, "right": x, "out": x if side == "right" else -x}[axis]


def size(moved: Motion, part: str, side: str) -> float:
    """How far a part has moved in any direction, in eye distances."""
    return float(np.hypot(*moved[part, side])) * SCALES.get(part, 1.0)
