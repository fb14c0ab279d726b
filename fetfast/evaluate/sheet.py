"""`fetfast sheet`, a picture to look at: portraits down, driving faces across, each result at 512 x 512."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fetfast import assets, image
from fetfast.engine import Engine
from fetfast.errors import BadInput
from fetfast.evaluate import data
from fetfast.face import Face, crop_matrix
from fetfast.ops.crop import crop, to_picture

SIDE = 512


def tile(frame: image.Frame, face: Face) -> NDArray[np.uint8]:
    """The face's crop, u8 [512, 512, 3]."""
    return to_picture(crop(frame, crop_matrix(face.landmarks), SIDE))


def sheet(engine: Engine, targets: list[image.Frame], drivers: list[tuple[image.Frame, Face]]) -> NDArray[np.uint8]:
    """u8 [512 (T + 1), 512 (D + 1), 3]: the drivers in the first row, the targets in the first column."""
    corner = np.full((SIDE, SIDE, 3), 255, np.uint8)
    rows = [np.hstack([corner, *(tile(frame, face) for frame, face in drivers)])]
    for frame in targets:
        target = engine.prepare(frame)
        results = [engine.render(face, target, source) for source, face in drivers]
        rows.append(np.hstack([tile(picture, target.faces[0]) for picture in (frame, *results)]))
    return np.vstack(rows)


def strangers() -> Iterator[image.Frame]:
    """Who is in no portrait: the clip's first frame, and the astronaut."""
    yield next(data.frames(data.default("clips/single_face.mp4")))[1]
    yield image.load(assets.path("astronaut.png"))


def spread(count: int, of: int) -> list[int]:
    """`count` indices evenly over `of`, or all of them."""
    return sorted({round(i) for i in np.linspace(0, of - 1, min(count, of))})


def different(expressions: NDArray[np.float32], count: int) -> list[int]:
    """`count` rows of expressions [N, 52], each the farthest from those chosen before; the strongest first."""
    chosen = [int(np.square(expressions).sum(1).argmax())]
    while len(chosen) < min(count, len(expressions)):
        away = np.square(expressions[:, None] - expressions[chosen]).sum(2).min(1)
        chosen.append(int(away.argmax()))
    return chosen


def choose(
    engine: Engine, targets: Path | None, drivers: Path | None, rows: int, columns: int
) -> tuple[list[image.Frame], list[tuple[image.Frame, Face]]]:
    """At most so many portraits, and so many driving faces that differ. Raises BadInput, MissingAsset, Unavailable.

    targets: None takes those that the plan was not trained on, filled up with strangers; drivers: None the portraits.
    """
    photos = data.photos(targets) if targets else data.unseen(engine.plan, data.photos(data.default("portraits")))
    shown = [image.load(photos[i]) for i in spread(rows, len(photos))]
    if targets is None:  # the rule that holds portraits out may leave fewer
        shown += islice(strangers(), rows - len(shown))
    found = []
    for _, frame in data.frames(drivers or data.default("portraits")):
        found += [(frame, face) for face in engine.landmarker.detect(frame)[:1]]
    if not found:
        raise BadInput(f"choose(): no face in any picture of {drivers}, expected at least one driver")
    return shown, [found[i] for i in different(np.stack([face.blendshapes for _, face in found]), columns)]
