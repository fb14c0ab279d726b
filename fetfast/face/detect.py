"""Where the faces are: BlazeFace (short range) over the frame, and over tiles of it for small faces.

The network sees a square of 128 x 128. Anchors, decoding and weighted non-maximum suppression follow MediaPipe's face
detector graph; the tiles are ours. Faces turned in the picture's plane by up to 60 degrees are found as they are,
others by turning the squares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from fetfast.face.nets import Net
from fetfast.ops.crop import crop

Array = NDArray[np.float32]

SIZE = 128  # the network's input side
SMALLEST_SHARE = 1 / 8  # faces of this share of the square's side are found surely (portraits: all; 1/10: 3 in 4)
MIN_SCORE = 0.5
MIN_TILE_SCORE = 0.7  # tiles show much that is no face; true ones of at least SMALLEST_SHARE score above 0.75
MIN_OVERLAP = 0.5  # intersection over union from which boxes of one pass are averaged
MAX_OVERLAP = 0.3  # and from which those of different passes are one face
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

    def levels(self, frame: NDArray[np.uint8], smallest: int) -> int:
        """How many levels there are to look at until faces of `smallest` pixels are found: the whole frame u8
        [H, W, 3], then overlapping tiles of a half, a quarter ... of its longer side."""
        return 1 + max(ceil(log2(max(frame.shape[:2]) * SMALLEST_SHARE / smallest)), 0)

    def find(self, frame: NDArray[np.uint8], level: int, turn: int = 0) -> list[Detection]:
        """Faces in one level of a frame, the surest first, that are turned by so many quarters of a turn, clockwise.
        Another level may find a face again.

        On two cores a tile takes 1 to 2 ms; halves and quarters of 16:9 are 6 and 18 tiles, and each level has about 4
        times as many as the one before.
        """
        least = MIN_TILE_SCORE if level else MIN_SCORE
        windows = _windows(frame, max(frame.shape[:2]) / 2**level)
        level_found = [d for M in windows for d in self._pass(frame, _turned(M, turn), least)]
        found: list[Detection] = []
        for detection in sorted(level_found, key=lambda d: -d.score):
            if all(overlap(detection.box, other.box) < MAX_OVERLAP for other in found):
                found.append(detection)
        return found

    def _pass(self, frame: NDArray[np.uint8], M: Array, least: float) -> list[Detection]:
        crop(*thinned(frame, M, SIZE), SIZE, out=self._input)
        raw, logits = self._net()
        scores = (1 / (1 + np.exp(-np.maximum(logits[0, :, 0], -80)))).astype(np.float32)
        keep = scores >= least
        # a row: centre x, y, width, height, then six key points, as pixels relative to the anchor's centre
        rows = raw[0, keep].reshape(-1, 8, 2) / SIZE
        rows[:, [0, 2, 3, 4, 5, 6, 7]] += self._anchors[keep, None]
        return [_to_frame(row, float(score), M) for row, score in _suppress(rows, scores[keep])]


def thinned(frame: NDArray[np.uint8], M: Array, size: int) -> tuple[NDArray[np.uint8], Array]:
    """A view of every n-th pixel of a frame, and M for it, for a crop that shrinks by 1.25 n or more. Averaging all
    pixels, as `crop` does, would take longer than the networks; MediaPipe's own crops average none."""
    n = min(int(np.hypot(*M[:, 0]) / (1.25 * size)), *frame.shape[:2])
    n = max(n - 1 + n % 2, 1)  # odd: then the pixels kept are those in the middle of n x n
    return frame[n // 2 :: n, n // 2 :: n], M / np.float32(n)


def overlap(a: Array, b: Array) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def _centres(cells: int) -> Array:
    """Centres (x, y) of a square's cells in rows, [cells * cells, 2], the square's side being 1."""
    steps = ((np.arange(cells) + 0.5) / cells).astype(np.float32)
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


def _windows(frame: NDArray[np.uint8], side: float) -> Iterator[Array]:
    """M [2, 3] of squares that cover the frame, each overlapping the next by at least 0.3 of its side: more
    than a face that the squares twice as large were too coarse for."""

    def starts(length: int) -> NDArray[np.float64]:
        if length <= side:
            return np.array([(length - side) / 2])
        return np.linspace(0, length - side, 1 + ceil((length - side) / (0.7 * side)))

    for y in starts(frame.shape[0]):
        for x in starts(frame.shape[1]):
            yield np.array([[side, 0, x], [0, side, y]], np.float32)


def _turned(M: Array, quarters: int) -> Array:
    """M of the same square, in which what stands so many quarters of a turn from upright, clockwise, is upright."""
    axes = M[:, :2] @ np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), quarters)
    return np.concatenate([axes, (M @ (0.5, 0.5, 1) - axes.sum(1) / 2)[:, None]], axis=1).astype(np.float32)


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
