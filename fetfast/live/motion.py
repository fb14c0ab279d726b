"""How a driver's face moves a target's: smoothed, relative to a resting face or as it is, and what happens without one.

A `Face` goes in and a `Face` comes out: the engine does not know that it was smoothed, or made from three.
"""

from __future__ import annotations

from dataclasses import replace
from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fetfast.errors import BadInput
from fetfast.face import Face, crop_matrix
from fetfast.spec import BLENDSHAPES

Array = NDArray[np.float32]

MODES = ("absolute", "relative")
EYE_CORNERS = (33, 263)

# Cutoff of what stands still, Hz, from smooth 0 (exclusive) to 1. The middle, 1.5 Hz, leaves 0.4 of a white noise's
# amplitude at 25 frames/s.
LOOSEST, TIGHTEST = 7.5, 0.3
SPEED = 2.0  # Hz more for each unit a second: eye distances for landmarks, whole ranges for blendshapes
SPEED_CUTOFF = 1.0  # Hz, of the speed itself, as in the paper

CALIBRATION = 1.0  # seconds, from the first face on, of which the calmest frame is neutral
HOLD, FADE, RISE = 0.5, 0.5, 0.1  # seconds: a lost face stays, goes, and comes back


class OneEuro:
    """The 1 EUR filter (Casiez, Roussel, Vogel, CHI 2012) on all elements of an array at once.

    A low pass whose cutoff (Hz) is `least` where the value stands still and `speed` more per unit a second:
    little jitter at rest, little lag in motion.
    """

    def __init__(self, least: float, speed: float = SPEED) -> None:
        self._least, self._speed = least, speed
        self._value: Array | None = None

    def __call__(self, value: Array, time: float) -> Array:
        """The filtered value at `time`, seconds; values may come unevenly, and one at no later time changes nothing."""
        if self._value is None:
            self._value, self._slope, self._time = value, np.zeros_like(value), time
        elif time > self._time:
            step = time - self._time
            slope = (value - self._value) / step
            self._slope = self._slope + _share(SPEED_CUTOFF, step) * (slope - self._slope)
            share = _share(self._least + self._speed * np.abs(self._slope), step)
            self._value, self._time = self._value + share * (value - self._value), time
        return self._value


def _share(cutoff: Any, step: float) -> Any:
    """How far a first-order low pass goes towards its input in one step."""
    turn = 2 * pi * step * cutoff
    return turn / (1 + turn)


class Smoother:
    """One-Euro filters on a face's landmarks (in its eye distances) and blendshapes. smooth: 0 (off) ... 1."""

    def __init__(self, smooth: float = 0.5) -> None:
        if not 0 <= smooth <= 1:
            raise BadInput(f"smooth is {smooth!r}, expected a number in 0 (off) ... 1")
        self._least = LOOSEST * (TIGHTEST / LOOSEST) ** smooth if smooth else None
        self.reset()

    def reset(self) -> None:
        """The next face has nothing to do with the last one."""
        if self._least is not None:
            self._points, self._blendshapes = OneEuro(self._least), OneEuro(self._least)
        self._unit: float | None = None

    def __call__(self, face: Face, time: float) -> Face:
        if self._least is None:
            return face
        if self._unit is None:  # one for all frames: a changing unit would itself be motion
            right, left = face.landmarks[list(EYE_CORNERS), :2]
            self._unit = max(float(np.hypot(*(left - right))), 1.0)
        points = self._points(face.landmarks / self._unit, time) * self._unit
        blendshapes = self._blendshapes(face.blendshapes, time)
        return replace(face, landmarks=points.astype(np.float32), blendshapes=blendshapes.astype(np.float32))


class Neutral:
    """A resting face: the calmest of the first second, so far as it has been seen, or whatever is set by hand.

    Attributes: `face` (None before the first one), `settled` (it changes no more by itself).
    """

    def __init__(self) -> None:
        self.face: Face | None = None
        self.settled = False

    def offer(self, face: Face, time: float) -> Face:
        """A face seen at `time`, seconds. Returns the resting face."""
        if self.face is None:
            self.face, self._since = face, time
        self.settled = self.settled or time - self._since >= CALIBRATION
        if not self.settled and unrest(face) < unrest(self.face):
            self.face = face
        return self.face

    def set(self, face: Face) -> None:
        self.face, self.settled = face, True


def unrest(face: Face) -> float:
    """How far a face is from rest: the square sum of all blendshapes but the gaze's."""
    return float(np.square(face.blendshapes[_EXPRESSIVE]).sum())


_EXPRESSIVE = np.array([i for i, name in enumerate(BLENDSHAPES) if not name.startswith(("eyeLook", "_"))])


def relative(driver: Face, neutral: Face, target: Face) -> Face:
    """The target's face, changed as the driver's has changed from neutral: what stands for the source in relative mode.

    Blendshapes: target + (driver - neutral), within 0 ... 1. Landmarks likewise, each face in its own crop, laid onto
    the target's crop; where the head has gone and turned to in the picture's plane does not matter.
    """
    blendshapes = np.clip(target.blendshapes + (driver.blendshapes - neutral.blendshapes), 0, 1)
    change = _in_crop(driver) - _in_crop(neutral)
    M = crop_matrix(target.landmarks)
    landmarks = target.landmarks.copy()
    landmarks[:, :2] += change[:, :2] @ M[:, :2].T
    landmarks[:, 2] += change[:, 2] * np.hypot(*M[:, 0])
    return Face(landmarks, blendshapes.astype(np.float32), driver.score)


def _in_crop(face: Face) -> Array:
    """Landmarks f32 [478, 3] in sides of the face's own crop."""
    M = crop_matrix(face.landmarks)
    flat = (face.landmarks[:, :2] - M[:, 2]) @ np.linalg.inv(M[:, :2]).T
    return np.concatenate([flat, face.landmarks[:, 2:] / np.hypot(*M[:, 0])], axis=1).astype(np.float32)


class Presence:
    """How much of the driven face shows, 0 ... 1: all of it while a face is seen and HOLD seconds longer; then the
    plain target fades in within FADE, and out again within RISE when a face is back."""

    def __init__(self) -> None:
        self.weight = 0.0
        self._seen: float | None = None
        self._time = 0.0

    def __call__(self, seen: bool, time: float) -> float:
        """Whether a face was seen at `time`, seconds."""
        step, self._time = time - self._time, time
        if seen:
            self.weight = 1.0 if self._seen is None else min(self.weight + step / RISE, 1.0)
            self._seen = time
        elif self._seen is not None and time - self._seen > HOLD:
            self.weight = max(self.weight - step / FADE, 0.0)
        return self.weight


def blend(plain: NDArray[np.uint8], driven: NDArray[np.uint8], weight: float) -> NDArray[np.uint8]:
    """plain + weight (driven - plain), in 1/256."""
    share = round(weight * 256)
    return ((plain * np.uint16(256 - share) + driven * np.uint16(share)) >> 8).astype(np.uint8)
