"""Where the faces are: BlazeFace (short range) over the frame, and over tiles of it for small faces.

The network sees a square of 128 x 128 and finds faces from about a tenth of it upwards. Anchors, decoding and
weighted non-maximum suppression follow MediaPipe's face detector graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fetfast.face.nets import Net
from fetfast.ops.crop import crop

Array = NDArray[np.float32]

SIZE = 128  # the network's input side
MIN_SCORE = 0.5
MIN_OVERLAP = 0.5  # intersection over union from which two boxes of one pass are one face
GRIDS = ((16, 2), (8, 6))  # cells along a side, anchors in each: 896 in all


@dataclass(frozen=True)
class Detection:
    """A face found: its upright `box` f32 [4] (x0, y0, x1, y1), the centres of its `eyes` f32 [2, 2] (the subject's
    right one first), all in frame pixels, and its `score` 0.5 ... 1."""

    box: Array
    eyes: Array
    score: float


class Detector:
    """Finds faces. Not for use by two threads at once."""

    def __init__(self, threads: int | None = None) -> None:
        self._net = Net("face_detector", threads)
        self._input = self._net.input[0].transpose(2, 0, 1)
        self._anchors = np.concatenate([np.repeat(_centres(cells), n, axis=0) for cells, n in GRIDS])

    def __call__(self, frame: NDArray[np.uint8], smallest: int) -> list[Detection]:
        """Faces in a frame u8 [H, W, 3], the first found first; `smallest` is the side in pixels of the smallest
        face looked for.

        Passes go from coarse to fine: the whole frame, then overlapping tiles of a half, a quarter ... of its side.
        They end with the first that shows a face, but never before the tiles of a half, so that a large face does
        not hide the smaller ones beside it.
        """
        found: list[Detection] = []
        side = max(frame.shape[:2])
        for level in range(16):
            window = side / 2**level
            for M in _windows(*frame.shape[:2], window):
                found += [d for d in self._pass(frame, M) if all(overlap(d.box, f.box) < 0.3 for f in found)]
            if level and (found or window < 10 * smallest):
                break
        return found

    def _pass(self, frame: NDArray[np.uint8], M: Array) -> list[Detection]:
        crop(frame, M, SIZE, out=self._input)
        raw, logits = self._net()
        scores = 1 / (1 + np.exp(-np.maximum(logits[0, :, 0], -80)))
        keep = scores >= MIN_SCORE
        # a row: centre x, y, width, height, then six key points, as pixels relative to the anchor's centre
        rows = raw[0, keep].reshape(-1, 8, 2) / SIZE
        rows[:, [0, 2, 3, 4, 5, 6, 7]] += self._anchors[keep, None]
        return [_to_frame(row, float(score), M) for row, score in _suppress(rows, scores[keep])]


def overlap(a: Array, b: Array) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def _centres(cells: int) -> Array:
    """Centres (x, y) of a square's cells in rows, [cells * cells, 2], the square's side being 1."""
    steps = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


def _windows(height: int, width: int, side: float) -> Iterator[Array]:
    """M [2, 3] of squares that cover the frame, each overlapping the next by at least a half."""

    def starts(length: int) -> Array:
        if length <= side:
            return np.array([(length - side) / 2])
        return np.linspace(0, length - side, 1 + int(np.ceil(2 * (length - side) / side)))

    for y in starts(height):
        for x in starts(width):
            yield np.array([[side, 0, x], [0, side, y]], np.float32)


def _suppress(rows: Array, scores: Array) -> Iterator[tuple[Array, float]]:
    """Weighted non-maximum suppression: boxes that overlap the best one are averaged with it by their scores."""
    boxes = np.concatenate([rows[:, 0] - rows[:, 1] / 2, rows[:, 0] + rows[:, 1] / 2], axis=1)
    left = np.argsort(-scores)
    while left.size:
        same = np.array([overlap(boxes[left[0]], boxes[i]) > MIN_OVERLAP for i in left])
        group = left[same]
        weights = scores[group] / scores[group].sum()
        yield np.tensordot(weights, rows[group], axes=1), scores[left[0]]
        left = left[~same]


def _to_frame(row: Array, score: float, M: Array) -> Detection:
    center, *points = row[[0, 2, 3]] @ M[:, :2].T + M[:, 2]
    half = row[1] * np.hypot(*M[:, :2]) / 2
    return Detection(np.concatenate([center - half, center + half]), np.stack(points), score)
