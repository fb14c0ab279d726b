"""Lids that close on this very face: at `eyeBlink` 1 the upper lid's edge lands on the lower one's.

The model's own mode closes the mean eye by four fifths and wide ones by half, and misses the corners. So for each eye
the amount is solved for at which the edges meet on average, and what is left between them is taken away edge point by
edge point. A photo's own opening belongs to the coefficient of its fit: from there on a coefficient closes the eye
evenly, below it is the model's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fetfast.synth.face_submesh import EYE_EDGES, OPENINGS, FaceSubmesh
from fetfast.synth.facekit import Facekit
from fetfast.synth.fit import Fit

LOWER = len(EYE_EDGES[0][1])
MOST = 2.0  # of the model's mode; what is open then is closed point by point
STEPS = 4  # of the secant method: the gap is nearly linear in the amount
BARE = 0.15  # of an eye's width between its lids' edges: more is open, for what a photo shows there
OVERLAP = 0.002  # crop sides by which a shut lid covers the other one's edge: rounding leaves no slit


@dataclass(frozen=True)
class Blink:
    """expression f32 [53] with the amounts of `eyeBlink` at which this face's eyes close as far as was asked;
    shut f32 [2], the subject's left and right eye: 0 as open as the photo, 1 shut; down f32 [2, 7]: how far points of
    the upper edge have still to be moved down the screen, crop units."""

    expression: np.ndarray
    shut: np.ndarray
    down: np.ndarray


def blink(
    kit: Facekit,
    submesh: FaceSubmesh,
    fit: Fit,
    base: np.ndarray,  # f32 [N, 3] the person's shape without expression
    expression: np.ndarray,  # f32 [53]
    residual: np.ndarray,  # f32 [N, 2] what is added on the screen, crop units
) -> Blink:
    """Solve for the amounts."""
    modes = kit.index("eyeBlink")
    out, shut, down = expression.copy(), np.zeros(2, np.float32), np.zeros((2, len(OPENINGS[0][0])), np.float32)
    others = np.setdiff1d(np.flatnonzero(expression), modes)
    for side, (upper, lower) in enumerate(EYE_EDGES):
        asked, start = min(float(expression[modes[side]]), 1.0), min(float(fit.expression[modes[side]]), 0.95)
        if asked <= start:
            continue
        rows = submesh.landmarks[[*upper[1:-1], *lower]]  # nothing is to be closed at the corners
        still = base[rows] + np.tensordot(
            expression[others].astype(np.float32), submesh.expressions[np.ix_(others, rows)], 1
        )
        step = submesh.expressions[modes[side], rows]

        def gaps(amount: float, still=still, step=step, rows=rows) -> np.ndarray:
            seen = fit.pose.project(fit.pose.place(still + np.float32(amount) * step))[:, :2] + residual[rows]
            return between(seen[:-LOWER], seen[-LOWER:])

        amounts, means = [start, 1.0], [gaps(start).mean(), gaps(1.0).mean()]
        for _ in range(STEPS):
            slope = (means[1] - means[0]) / (amounts[1] - amounts[0])
            if slope >= 0 or abs(means[1]) < 1e-5:
                break
            new = float(np.clip(amounts[1] - means[1] / slope, start, MOST))
            if new == amounts[1]:
                break
            amounts, means = [amounts[1], new], [means[1], gaps(new).mean()]
        shut[side] = (asked - start) / (1 - start)
        out[modes[side]] = start + shut[side] * (amounts[1] - start)
        down[side] = shut[side] * (gaps(amounts[1]) + OVERLAP)
    return Blink(out, shut, down)


def between(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """How far the lower edge [L, 2], corners included, lies below each point of the upper one [U, 2]."""
    order = np.argsort(lower[:, 0])
    return np.interp(upper[:, 0], lower[order, 0], lower[order, 1]) - upper[:, 1]


def lower_lids(submesh: FaceSubmesh, screen: np.ndarray, blink: Blink) -> None:
    """Moves the upper lids on the screen [N, 3] by what the solved amounts leave, exactly so at the edges' points."""
    for (upper, _), down in zip(EYE_EDGES, blink.down, strict=True):
        if down.any():
            edge = list(upper[1:-1])
            weights = submesh.spread[:, edge]
            at_edge = weights[submesh.landmarks[edge]]
            screen[:, 1] += weights @ np.linalg.solve(at_edge, down)


def stays(left_over: np.ndarray, blink: Blink) -> np.ndarray:
    """What landmarks miss of the fitted mesh, f32 [478, 2]: of a lid the less the more it is shut."""
    out = left_over.copy()
    for (upper, lower), shut in zip(EYE_EDGES, blink.shut, strict=True):
        out[[*upper[1:-1], *lower[1:-1]]] *= 1 - shut
    return out


def shows_eyes(points: np.ndarray) -> np.ndarray:
    """f32 [2]: do landmarks [478, 2] show the subject's left and right eye open? 0 shut ... 1: the lids' edges stand
    apart by BARE of the eye's width and more."""
    out = []
    for upper, lower in EYE_EDGES:
        width = np.linalg.norm(points[upper[0]] - points[upper[-1]])
        out.append(between(points[list(upper[1:-1])], points[list(lower)]).mean() / max(width, 1e-6) / BARE)
    return np.clip(out, 0, 1).astype(np.float32)
