"""Makes training pairs from videos: two frames of one person who holds still while the face moves (self-reenactment).

The pairs are written as those of portraits are (`train/data.py`); what differs between the two frames of a pair beside
the expression is noise to learning, so only frames with the head in nearly the same pose become pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fetfast.errors import BadInput
from fetfast.face import Landmarker, crop_matrix, to_crop
from fetfast.face.pose import head_rotation
from fetfast.ops.crop import crop, to_picture
from fetfast.synth.labels import LABELS, classify
from fetfast.synth.portrait_dataset import held_out
from fetfast.video import frames

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
STILL = np.radians(4)  # the head may turn by between the two frames
MOVED = 0.01  # mean change of the blendshapes that makes two frames worth pairing
FRAMES = 400  # of a video, at most: crops are held in memory


@dataclass(frozen=True)
class Clip:
    """The faces of a video: images u8 [F, S, S, 3] in their own crops, points f32 [F, 478, 2] crop units, blendshapes
    f32 [F, 52], the heads' rotations f32 [F, 3, 3]; couples i64 [C, 2]: frames that may be paired."""

    images: np.ndarray
    points: np.ndarray
    blendshapes: np.ndarray
    rotations: np.ndarray

    @property
    def couples(self) -> np.ndarray:
        trace = np.einsum("aij,bij->ab", self.rotations, self.rotations)  # of Ra^T Rb: 1 + 2 cos(angle)
        moved = np.abs(self.blendshapes[:, None] - self.blendshapes[None]).mean(2)
        return np.argwhere((trace > 1 + 2 * np.cos(STILL)) & (moved > MOVED))


def read(path: Path, landmarker: Landmarker, size: int, every: int) -> Clip:
    """The largest face of every frame that shows one, first frames first. Raises BadInput where the file is no video,
    Unavailable without PyAV."""
    images, points, blendshapes, rotations = [], [], [], []
    for frame in islice(frames(path, every), FRAMES):
        for face in landmarker.detect(frame)[:1]:
            M = crop_matrix(face.landmarks)
            images.append(to_picture(crop(frame, M, size)))
            points.append(to_crop(face.landmarks[:, :2], M))
            blendshapes.append(face.blendshapes)
            rotations.append(head_rotation(face.landmarks))
    return Clip(
        np.array(images, np.uint8).reshape(-1, size, size, 3),
        np.array(points, np.float32).reshape(-1, 478, 2),
        np.array(blendshapes, np.float32).reshape(-1, 52),
        np.array(rotations, np.float32).reshape(-1, 3, 3),
    )


def generate(videos: Path, folder: Path, count: int, size: int = 256, seed: int = 0, every: int = 2) -> dict[str, Any]:
    """Write `count` pairs with pictures of size x size to `folder`, as `train/data.py` reads them.

    videos: a folder of videos, one person each; videos whose face never moves are left out. every: take each N-th
    frame. The same seed gives the same pairs. Returns how many pairs and videos. Raises BadInput where no video gives
    a pair.
    """
    from fetfast.train import data

    files = sorted(p for p in videos.glob("*") if p.suffix.lower() in VIDEOS)
    landmarker = Landmarker(threads=1)
    clips = [(file, read(file, landmarker, size, every)) for file in tqdm(files, "read", disable=None)]
    clips = [(file, clip) for file, clip in clips if len(clip.couples)]
    if not clips:
        raise BadInput(f"generate(): no video in {videos} shows one face moving; give clips of one person each")
    about = {
        "seed": seed, "every": every, "videos": [file.name for file, _ in clips],
        "held_out": [n for n, (file, _) in enumerate(clips) if held_out(file)], "labels": LABELS,
    }  # fmt: skip
    arrays = data.create(folder, count, size, about, ["label"])
    for person, (_, clip) in enumerate(clips):
        rows = np.arange(person, count, len(clips))
        couples = clip.couples
        drawn = couples[np.random.default_rng([seed, person]).integers(len(couples), size=len(rows))]
        for end, (image, points, shapes) in enumerate(
            (("target", "target_points", "target_blendshapes"), ("truth", "driven_points", "source_blendshapes"))
        ):
            frame = drawn[:, end]
            arrays[image][rows], arrays[points][rows] = clip.images[frame], clip.points[frame]
            arrays[shapes][rows] = clip.blendshapes[frame]
        arrays["label"][rows] = [classify(shapes) for shapes in clip.blendshapes[drawn[:, 1]]]
        arrays["person"][rows] = person
    return {"pairs": count, "videos": len(clips)}
