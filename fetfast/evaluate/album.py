"""The worst and the best results of each protocol, kept for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np

from fetfast.image import Frame, metadata
from fetfast.ops.crop import crop, to_picture

KEPT = 12  # of the worst, and of the best, each of another person where there are as many
MOST = 640  # pixels: the side of a face's picture; smaller where the frame is coarser


@dataclass(frozen=True)
class Shot:
    """score: the larger, the better. pictures: JPEG files, by what they show."""

    score: float
    person: str
    case: str
    pictures: dict[str, bytes]


@dataclass
class Album:
    """shots by protocol. Keeps none unless `open`. Of each person the worst and the best are kept alone."""

    open: bool = False
    worst: dict[str, dict[str, Shot]] = field(default_factory=dict)
    best: dict[str, dict[str, Shot]] = field(default_factory=dict)

    def add(
        self, protocol: str, score: float, person: str, case: str, pictures: Mapping[str, tuple[Frame, np.ndarray]]
    ) -> None:
        """pictures: frame u8 [H, W, 3] and the crop f32 [2, 3] of the face in it, by name."""
        if not self.open or not np.isfinite(score):
            return
        for kept, sign in ((self.worst, 1), (self.best, -1)):
            shots = kept.setdefault(protocol, {})
            least = sorted((sign * shot.score for shot in shots.values()), reverse=True)
            beaten = person in shots and sign * shots[person].score <= sign * score
            full = person not in shots and len(least) >= KEPT and least[0] <= sign * score
            if beaten or full:
                continue
            shots[person] = Shot(score, person, case, {name: jpeg(*picture) for name, picture in pictures.items()})
            if len(shots) > KEPT:
                del shots[max(shots, key=lambda name: sign * shots[name].score)]

    def pages(self) -> dict[str, tuple[list[Shot], list[Shot]]]:
        """protocol -> the worst, worst first, and the best, best first."""
        return {
            name: (
                sorted(self.worst[name].values(), key=lambda shot: shot.score),
                sorted(self.best[name].values(), key=lambda shot: -shot.score),
            )
            for name in self.worst
        }


def jpeg(frame: Frame, M: np.ndarray) -> bytes:
    """The face's crop at the frame's own resolution, a JPEG file that says that it was synthesised."""
    from PIL import Image

    side = int(min(MOST, np.hypot(*M[:, 0])))
    out = BytesIO()
    Image.fromarray(to_picture(crop(frame, M, max(side, 64)))).save(out, "JPEG", quality=90, xmp=metadata.mark(None))
    return out.getvalue()
