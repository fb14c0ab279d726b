"""A sheet to look at: portraits down, driving faces across, each result at 512 x 512.

python -m fetfast.evaluate.sheet [PLAN] -o out/sheet.jpg
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from fetfast import image
from fetfast.engine import Engine
from fetfast.evaluate import data
from fetfast.face import Face, crop_matrix
from fetfast.ops.crop import crop

SIDE = 512
FILE = click.Path(path_type=Path)


def tile(frame: image.Frame, face: Face) -> NDArray[np.uint8]:
    """The face's crop, u8 [512, 512, 3]."""
    pixels = crop(frame, crop_matrix(face.landmarks), SIDE)
    return ((pixels + 1) * 127.5 + 0.5).astype(np.uint8).transpose(1, 2, 0)


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
    """Who is in no portrait: the clip's first frame, and the astronaut of scikit-image, where that is installed."""
    yield next(data.frames(data.default("clips/single_face.mp4")))[1]
    if find_spec("skimage"):
        from skimage.data import astronaut

        yield astronaut()


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


@click.command()
@click.argument("plan", required=False)
@click.option("--targets", type=FILE, help="A folder of portraits.  [default: those the plan was not trained on]")
@click.option("--drivers", type=FILE, help="A clip or a folder of images.  [default: the shared portraits]")
@click.option("--rows", type=click.IntRange(1), default=12, show_default=True, help="Faces, at most.")
@click.option("--columns", type=click.IntRange(1), default=6, show_default=True)
@click.option("-o", "--output", type=FILE, default=Path("out/sheet.jpg"), show_default=True)
def main(plan: str | None, targets: Path | None, drivers: Path | None, rows: int, columns: int, output: Path) -> None:
    """Portraits under other faces' expressions, to be looked at and never published."""
    engine = Engine(plan)
    photos = data.photos(targets) if targets else data.unseen(engine.plan, data.photos(data.default("portraits")))
    shown = [image.load(photos[i]) for i in spread(rows, len(photos))]
    if targets is None:  # the rule that holds portraits out may leave fewer
        shown += islice(strangers(), rows - len(shown))
    found = []
    for _, frame in data.frames(drivers or data.default("portraits")):
        found += [(frame, face) for face in engine.landmarker.detect(frame)[:1]]
    chosen = [found[i] for i in different(np.stack([face.blendshapes for _, face in found]), columns)]
    output.parent.mkdir(parents=True, exist_ok=True)
    image.save(output, sheet(engine, shown, chosen))
    click.echo(f"{output}: {engine.plan.name} on {engine.backend}")


if __name__ == "__main__":
    main()
