"""What dlib sees in a face: its 68 landmarks (Kazemi and Sullivan 2014), and lids, mouth and irises by them.

A judge of its own: fetfast neither runs this regressor nor was trained with it. It is given the face upright in its
crop, and its first guess lies where dlib's own detector puts its box in such crops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fetfast.errors import MissingAsset
from fetfast.image import Frame
from fetfast.ops.crop import crop, to_picture

Array = NDArray[np.float32]

SIDE = 384  # of the crop that judges see, in pixels: the outer eye corners lie 137 apart
FINER = 2  # dlib rounds its landmarks to pixels: it is shown a larger picture
BOX = (0.496, 0.475, 0.595)  # dlib's detector's box in a crop: centre and side, the median of 44 photographs
SHIFTS = ((0, 0), (0.02, 0.01), (-0.02, -0.01))  # of the box; the landmarks are the mean, which halves their noise
FILES = {  # of the package face-recognition-models 0.3.0
    "shape_predictor_68_face_landmarks.dat": "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
    "shape_predictor_5_face_landmarks.dat": "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    "dlib_face_recognition_resnet_model_v1.dat": "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
}
EYES = (36, 42)  # the first of each eye's six points; the subject's right eye first
IRIS = 0.2  # its radius in eye widths: 11.7 of 30 mm across


def why_not() -> str | None:
    missing = [name for name in ("dlib", "face_recognition_models", "cv2") if find_spec(name) is None]
    return f'{" and ".join(missing)} not installed; pip install "fetfast[judges]"' if missing else None


def model(name: str) -> str:
    """The path of one of FILES, its hash found right. Raises MissingAsset."""
    package = find_spec("face_recognition_models")  # importing it needs pkg_resources, which is gone
    assert package is not None and package.origin is not None
    path = Path(package.origin).parent / "models" / name
    with path.open("rb") as stream:
        found = file_digest(stream, "sha256").hexdigest()
    if found != FILES[name]:
        raise MissingAsset(f"{path} has SHA-256 {found}, expected {FILES[name]}; install face-recognition-models 0.3.0")
    return str(path)


@dataclass(frozen=True)
class Look:
    """An upright face as the judge sees it. picture u8 [S, S, 3]; points f32 [68, 2], crop units; lids f32 [2]: the eye
    aspect ratios, right and left (Soukupova and Cech 2016), each judged on a face that has this eye on both sides."""

    picture: Frame
    points: Array
    lids: Array

    @property
    def unit(self) -> float:
        """The distance between the outer corners of the eyes, crop units."""
        return float(np.linalg.norm(self.points[45] - self.points[36]))

    @property
    def mouth(self) -> Array:
        """f32 [3]: how far the lips part, how wide the mouth is, and how high its corners stand above the middle of
        the lips; in distances between the outer corners of the eyes."""
        points = self.points
        corners = points[[48, 54]]
        middle = points[[51, 57], 1].mean()
        gap = (points[[67, 66, 65], 1] - points[[61, 62, 63], 1]).mean()
        width, height = np.linalg.norm(corners[1] - corners[0]), middle - corners[:, 1].mean()
        return (np.array([gap, width, height]) / self.unit).astype(np.float32)

    @property
    def irises(self) -> Array:
        """f32 [2, 2]: how far each iris stands from the middle between the eye's corners, in widths of the eye (x
        right, y down): where a disc of its size is darkest against what surrounds it between the lids."""
        return np.stack([_iris(self.picture, self.points[first : first + 6]) for first in EYES])


def judge() -> Callable[[Frame, Array], Look]:
    """look(frame u8 [H, W, 3], M f32 [2, 3]): the face whose crop M takes."""
    import cv2
    import dlib

    net = dlib.shape_predictor(model("shape_predictor_68_face_landmarks.dat"))

    def read(picture: Frame, shifts: tuple[tuple[float, float], ...]) -> Array:
        side = len(picture)
        found = []
        for shift in shifts:
            found.append([(part.x, part.y) for part in net(picture, box(side, shift)).parts()])
        return (np.mean(found, axis=0) / side).astype(np.float32)

    def look(frame: Frame, M: Array) -> Look:
        picture = upright(frame, M)
        large: Any = cv2.resize(picture, None, fx=FINER, fy=FINER, interpolation=cv2.INTER_CUBIC)
        points = read(large, SHIFTS)
        lids = []
        for first, other in (EYES, EYES[::-1]):
            alike = read(twice(large, points * len(large), first, other), SHIFTS[1:])
            lids.append((_ratio(alike[first : first + 6]) + _ratio(alike[other : other + 6])) / 2)
        return Look(picture, points, np.array(lids, np.float32))

    return look


def box(side: int, shift: tuple[float, float] = (0, 0)) -> Any:
    """Where dlib's own detector would put its box in a crop of that side, a dlib.rectangle."""
    import dlib

    x, y, half = BOX[0] + shift[0], BOX[1] + shift[1], BOX[2] / 2
    return dlib.rectangle(*(round(side * v) for v in (x - half, y - half, x + half, y + half)))


def twice(picture: Frame, points: Array, first: int, other: int) -> Frame:
    """A face with one eye on both sides, the `other` eye covered by the mirror image of the `first`: the regressor
    learned from faces whose eyes close together, and reads half a blink off a wink."""
    import cv2

    eye, there = points[[first, first + 3]], points[[other + 3, other]]
    width, centre = float(np.linalg.norm(there[1] - there[0])), there.mean(0)
    corner = np.maximum((centre - 1.1 * width).astype(int), 0)  # only what is covered is drawn
    part = picture[corner[1] : int(centre[1] + 1.1 * width), corner[0] : int(centre[0] + 1.1 * width)]
    # Corner onto corner, and a third point on the other side of the line between: a similarity with a mirror in it.
    three = [
        np.array([a, b, a + turn * np.array([a[1] - b[1], b[0] - a[0]])], np.float32)
        for turn, (a, b) in ((1, eye), (-1, there - corner))
    ]
    size = part.shape[1::-1]
    M = cv2.getAffineTransform(*three)
    mirrored = cv2.warpAffine(picture, M, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    y, x = np.mgrid[: size[1], : size[0]] - (centre - corner)[::-1, None, None]
    # all of it within an ellipse of .65 x .35 of the eye's width, nothing beyond .95 x .65
    cover = np.clip(2.2 - np.hypot(x / (0.65 * width), y / (0.4 * width)) * 1.2, 0, 1)[..., None]
    out = picture.copy()
    out[corner[1] : corner[1] + size[1], corner[0] : corner[0] + size[0]] = part + cover * (
        mirrored.astype(float) - part
    )
    return out


def upright(frame: Frame, M: Array, side: int = SIDE) -> Frame:
    """The face's crop as a picture u8 [side, side, 3]."""
    return to_picture(crop(frame, M, side))


def _ratio(eye: Array) -> float:
    across = float(np.linalg.norm(eye[3] - eye[0]))
    return float((np.linalg.norm(eye[1] - eye[5]) + np.linalg.norm(eye[2] - eye[4])) / (2 * max(across, 1e-6)))


def _iris(picture: Frame, eye: Array) -> Array:
    import cv2

    width = 96  # of the eye, in pixels of a patch of 2 x 1 eye widths
    right, left = eye[[0, 3]] * len(picture)  # in the picture's order: from its left to its right
    along = (left - right) / width
    across = np.array([-along[1], along[0]])
    middle = (right + left) / 2
    corner = middle - width * along - width / 2 * across
    M = np.stack([along, across, corner], 1).astype(np.float32)
    patch = cv2.warpAffine(picture, M, (2 * width, width), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside = np.zeros(grey.shape, np.uint8)
    local = (eye * len(picture) - corner) @ np.linalg.inv(M[:, :2]).T
    cv2.fillPoly(inside, [np.round(local).astype(np.int32)], 1)
    seen = inside > 0
    if seen.sum() < width:  # shut
        return np.full(2, np.nan, np.float32)
    dark = np.where(seen, np.clip(np.percentile(grey[seen], 80) - grey, 0, None), 0).astype(np.float32)
    radius = round(IRIS * width)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.float32)
    found = cv2.filter2D(dark, -1, disc, borderType=cv2.BORDER_CONSTANT)
    peak = np.clip(found - 0.85 * found.max(), 0, None)
    y, x = np.mgrid[: len(grey), : 2 * width]
    return (np.array([(peak * x).sum(), (peak * y).sum()]) / peak.sum() - (width, width / 2)).astype(np.float32) / width
