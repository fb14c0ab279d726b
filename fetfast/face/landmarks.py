"""The landmarks and the expression of each face in a frame.

Regions of interest, the rotated crop and the way back to the frame follow MediaPipe's face landmarker graph in stream
mode, without its smoothing. What `detect` finds is read again where its own landmarks say that it lies, as a stream's
next frames are: where the detector's box alone puts the landmarks is .8 % of the eye distance (outer corners) off. Two
things differ. Pixel centres lie at + 0.5, where MediaPipe's CPU path is off by up to half a pixel of the crop (mirrored
pictures show less bias in ours). And the expression is read off the landmarks of the upright face, not of the frame: it
does not change as the head is tilted.

What the landmark network says of itself (`score`) does not tell a face from a hand, or one that stands on its head from
one that does not: 1.00 for each. What tells is that a face is read alike when it is seen a little turned. Two readings
turned by 20 degrees to either side differ from the first by less than BELIEVED for 99.3 % of 822 that were right (230
portraits, also upside down) and for none of 171 that were wrong. Where half of a face is covered they differ more, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fetfast.face.detect import MAX_OVERLAP, Detection, Detector, overlap, thinned
from fetfast.face.nets import Net
from fetfast.face.pose import head_rotation
from fetfast.locks import Lock
from fetfast.ops.crop import crop
from fetfast.spec import LANDMARKS

Array = NDArray[np.float32]

SIZE = 256  # the landmark network's input side
MIN_PRESENCE = 0.5
SETTLING = 2  # readings more of a face that is found; each moves its landmarks half as far as the one before
MARGIN = 1.5  # the region of interest over the face's box
EYE_CORNERS = (33, 263)  # outer corners; the subject's right eye first
TURN = np.radians(20)  # to either side: how else a face is read that was found
# Mean distance of landmarks, in distances of the eyes' outer corners in space, between a reading and
SURE = 0.035  # a turned one: enough to see
BELIEVED, DOUBTFUL = 0.058, 0.1  # both, in the mean: a face; and, beside one, perhaps a face
STEADY, TIGHTER = 0.04, 0.85  # one of a smaller region: perhaps a face where there is none to be believed
# Between which an expression is taken back: degrees of yaw (a profile of 80 is found no more), and doubts.
TURNED, COVERED = (45.0, 72.0), (0.045, 0.1)

# The landmarks that the blendshape network reads.
BLENDSHAPE_POINTS = np.array(
    """0 1 4 5 6 7 8 10 13 14 17 21 33 37 39 40 46 52 53 54 55 58 61 63 65 66 67 70 78 80 81 82 84 87 88 91 93 95 103
    105 107 109 127 132 133 136 144 145 146 148 149 150 152 153 154 155 157 158 159 160 161 162 163 168 172 173 176
    178 181 185 191 195 197 234 246 249 251 263 267 269 270 276 282 283 284 285 288 291 293 295 296 297 300 308 310
    311 312 314 317 318 321 323 324 332 334 336 338 356 361 362 365 373 374 375 377 378 379 380 381 382 384 385 386
    387 388 389 390 397 398 400 402 405 409 415 454 466 468 469 470 471 472 473 474 475 476 477""".split(),
    dtype=np.intp,
)


@dataclass(frozen=True)
class Face:
    """One face in one frame.

    landmarks: f32 [478, 3], frame pixels: x right, y down, z on the same scale, away from the viewer (what is nearer
    than the head's middle is negative). Face Landmarker's order: 468 of the mesh, then 5 of each iris.
    blendshapes: f32 [52] in 0 ... 1, in the order of `fetfast.spec.BLENDSHAPES`.
    score: the network's belief that this is a face, 0.5 ... 1.
    doubt: how far, in distances of its eyes, turned readings were from it when it was found; more where it is covered.
    """

    landmarks: Array
    blendshapes: Array
    score: float
    doubt: float = 0.0

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of all landmarks, frame pixels."""
        (x0, y0), (x1, y1) = self.landmarks[:, :2].min(0), self.landmarks[:, :2].max(0)
        return float(x0), float(y0), float(x1), float(y1)

    @cached_property
    def pose(self) -> Array:
        """The head's rotation f32 [3, 3]: turns the axes of an upright head that faces the viewer (x right, y down,
        z away from the viewer) into the frame's. A frontal face has the identity."""
        return head_rotation(self.landmarks)

    @property
    def yaw(self) -> float:
        """Degrees by which the head looks past the viewer, to one side (above 0) or the other."""
        return float(np.degrees(np.arctan2(self.pose[2, 0], self.pose[2, 2])))

    @property
    def roll(self) -> float:
        """Degrees by which the head is turned in the picture, clockwise."""
        right, left = self.landmarks[list(EYE_CORNERS), :2]
        return float(np.degrees(np.arctan2(*(left - right)[::-1])))

    @property
    def trust(self) -> float:
        """How much of an expression the face takes without harm, 0 ... 1: all of it up to 45 degrees of yaw, none in
        profile; up to 0.6 less where turned readings differ, as where half of it is covered."""
        return (1 - _rise(abs(self.yaw), *TURNED)) * (1 - 0.6 * _rise(self.doubt, *COVERED))


def _rise(value: float, low: float, high: float) -> float:
    """0 up to low, 1 from high on, smoothly between."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


class Landmarker:
    """Finds faces and reads them.

    threads: how many of the CPU's threads the networks use; None leaves it to OpenVINO.
    Threads may share one: they take turns. Raises MissingAsset where the networks cannot be had; Unavailable in a
    forked child of a process that has used networks.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._detector = Detector(threads)
        self._landmarks = Net("face_landmarks_detector", threads)
        self._blendshapes = Net("face_blendshapes", threads)
        self._input = self._landmarks.input[0].transpose(2, 0, 1)
        self._lock = Lock()  # of the networks' inputs and outputs

    def detect(self, frame: NDArray[np.uint8], smallest: int = 30, everyone: bool = False) -> list[Face]:
        """Faces in a frame u8 [H, W, 3], the largest first, none twice; an empty list where there is none.

        smallest: the side in pixels of the smallest face worth looking for.
        everyone: all of those faces; else those below 1/16 of the frame's longer side are looked for only where there
        is no larger one. 0.15 s for 30 pixels in 1920 x 1080, 0.6 s in 3840 x 2160.

        Where no upright face is found that can be believed the frame is turned too, and looked at for faces of at
        least 1/16.
        """
        levels = range(self._detector.levels(frame, smallest))
        upright, turned = ([(level, turn) for turn in turns for level in levels[:2]] for turns in ((0,), (2, 1, 3)))
        finer = [(level, 0) for level in levels[2:]]
        stages = [upright + finer, turned] if everyone else [upright, turned, *([step] for step in finer)]
        found: list[tuple[float, Face]] = []  # with what there is to doubt
        with self._lock:
            for i, stage in enumerate(stages):
                strict = bool(found)  # what has been read, if doubtfully, is only given up for what can be believed
                for level, turn in stage:
                    found += self._readings(frame, self._detector.find(frame, level, turn), found, strict)
                if found and (i or min(doubt for doubt, _ in found) < BELIEVED):
                    break
        least = min((doubt for doubt, _ in found), default=0.0)
        faces: list[Face] = []
        for doubt, face in sorted(found, key=lambda item: item[0]):
            if (doubt < DOUBTFUL or least >= BELIEVED) and not any(_same(face, other) for other in faces):
                faces.append(face)
        return sorted(faces, key=_area, reverse=True)

    def _readings(
        self, frame: NDArray[np.uint8], detections: list[Detection], known: list[tuple[float, Face]], strict: bool
    ) -> list[tuple[float, Face]]:
        """What is found, read and doubted; without what is believed already. Unless strict a face that is not believed
        (hidden in part, close up) will do if only it is steady."""
        boxes = [np.array(face.box) for doubt, face in known if doubt < BELIEVED]
        read = []
        for found in detections:
            if any(overlap(found.box, box) > MAX_OVERLAP for box in boxes):
                continue
            face = self._read(frame, _region(found.box, *found.eyes))
            for _ in range(SETTLING):
                face = face and (self.track(frame, face) or face)
            if face is None:
                continue
            doubt = self._difference(frame, face, TURN)
            if doubt > SURE:
                doubt = (doubt + self._difference(frame, face, -TURN)) / 2
            if doubt < BELIEVED or (not strict and self._difference(frame, face, scale=TIGHTER) < STEADY):
                read.append((doubt, replace(face, doubt=doubt)))
        return read

    def _difference(self, frame: NDArray[np.uint8], face: Face, turn: float = 0.0, scale: float = 1.0) -> float:
        """How far a reading of the region round a face, turned or scaled, is from it, in distances of its eyes."""
        other, _ = self._points(frame, _around(face, turn, scale))
        eyes = np.linalg.norm(np.subtract(*face.landmarks[list(EYE_CORNERS)]))
        return float(np.linalg.norm(other[:, :2] - face.landmarks[:, :2], axis=1).mean() / max(eyes, 1e-6))

    def track(self, frame: NDArray[np.uint8], previous: Face) -> Face | None:
        """The face `previous` in the next frame u8 [H, W, 3] of a stream, looked for where it was; None where it is
        lost. Costs no detection."""
        with self._lock:
            found = self._read(frame, _around(previous))
        return found and replace(found, doubt=previous.doubt)

    def _read(self, frame: NDArray[np.uint8], M: Array) -> Face | None:
        landmarks, score = self._points(frame, M)
        if score < MIN_PRESENCE:
            return None
        axes = M[:, :2] / np.hypot(*M[:, :2])
        self._blendshapes.input[0] = landmarks[BLENDSHAPE_POINTS, :2] @ axes
        return Face(landmarks, self._blendshapes()[0].reshape(-1).copy(), score)

    def _points(self, frame: NDArray[np.uint8], M: Array) -> tuple[Array, float]:
        """The landmarks f32 [478, 3] in frame pixels of the face in a region, and how sure the network is that it is
        one, 0 ... 1."""
        crop(*thinned(frame, M, SIZE), SIZE, out=self._input)
        self._input += 1  # the network wants 0 ... 1
        self._input *= 0.5
        points, presence, _ = self._landmarks()
        score = float(1 / (1 + np.exp(-presence.item())))
        unit = points.reshape(LANDMARKS, 3) / SIZE
        landmarks = np.empty((LANDMARKS, 3), np.float32)
        landmarks[:, :2] = unit[:, :2] @ M[:, :2].T + M[:, 2]
        landmarks[:, 2] = unit[:, 2] * np.hypot(*M[:, 0])
        return landmarks, score


def _around(face: Face, turn: float = 0.0, scale: float = 1.0) -> Array:
    """M f32 [2, 3] of the region of interest round a face that is known; turned by an angle, and scaled."""
    x0, y0, x1, y1 = face.box
    half = scale * max(x1 - x0, y1 - y0) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    box = np.array([x - half, y - half, x + half, y + half], np.float32)
    right, left = face.landmarks[list(EYE_CORNERS), :2]
    return _region(box, right, left, turn)


def _region(box: Array, right_eye: Array, left_eye: Array, turn: float = 0.0) -> Array:
    """M f32 [2, 3] of the region of interest: the box about its centre, enlarged and turned so that the eyes lie
    level, and by an angle more."""
    (x, y), c, s = (left_eye - right_eye) / np.hypot(*(left_eye - right_eye)), np.cos(turn), np.sin(turn)
    x, y = c * x - s * y, s * x + c * y
    width, height = MARGIN * (box[2:] - box[:2])
    axes = np.array([[x * width, -y * height], [y * width, x * height]])
    corner = (box[:2] + box[2:]) / 2 - axes.sum(axis=1) / 2
    return np.concatenate([axes, corner[:, None]], axis=1).astype(np.float32)


def _area(face: Face) -> float:
    x0, y0, x1, y1 = face.box
    return (x1 - x0) * (y1 - y0)


def _same(a: Face, b: Face) -> bool:
    """Whether two readings are of one face: most of the smaller one's box lies in the other."""
    ax0, ay0, ax1, ay1 = a.box
    bx0, by0, bx1, by1 = b.box
    shared = max(min(ax1, bx1) - max(ax0, bx0), 0) * max(min(ay1, by1) - max(ay0, by0), 0)
    return shared > 0.5 * min(_area(a), _area(b))
