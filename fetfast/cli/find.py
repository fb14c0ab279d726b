"""The command that says who is in a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fetfast.cli.options import FILE

if TYPE_CHECKING:
    from fetfast.face import Face
    from fetfast.image import Frame


@click.command()
@click.argument("picture", type=FILE)
@click.option("-o", "--output", type=FILE, help="Write the picture with the faces' numbers: .png, .jpg, .webp, .avif.")
@click.option("--json", "as_json", is_flag=True, help="For other programs.")
def faces(picture: Path, output: Path | None, as_json: bool) -> None:
    """Lists the faces in PICTURE, from left to right: the numbers that --face takes.

    Shown are a face's size and place in pixels, and how far it is turned in the picture (degrees, clockwise) and to the
    side.
    """
    from fetfast import image
    from fetfast.face import Landmarker, select

    if output is not None:
        image.check_output(output)
    opened = image.open_picture(picture)
    (frame,), _, give_back = image.read(opened, str(picture))
    found = select(Landmarker().detect(frame, everyone=True), "all", str(picture))
    if output is not None:
        image.save(output, give_back([numbered(frame, found)]))
    rows = [about(i, face) for i, face in enumerate(found)]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        (x, y, _, _), (width, height) = row["box"], row["size"]
        click.echo(f"{row['index']:>3}  {width} x {height} at {x}, {y}  turned {row['turn']}, to the side {row['yaw']}"
                   + ("  turned away or covered" if row["trust"] < 0.8 else ""))  # fmt: skip


def about(index: int, face: Face) -> dict[str, Any]:
    """What `fetfast faces --json` says of a face: pixels and degrees, whole ones."""
    x0, y0, x1, y1 = (round(value) for value in face.box)
    return {
        "index": index,
        "box": [x0, y0, x1, y1],
        "size": [x1 - x0, y1 - y0],
        "turn": round(face.roll),
        "yaw": round(face.yaw),
        "trust": round(face.trust, 2),
    }


def numbered(frame: Frame, faces: list[Face]) -> Frame:
    """A copy of a frame u8 [H, W, 3] in which each face has a frame round it and its number."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(frame)
    draw = ImageDraw.Draw(picture)
    for i, face in enumerate(faces):
        x0, y0, x1, y1 = face.box
        size = max((y1 - y0) / 4, 10)
        draw.rectangle((x0, y0, x1, y1), outline="white", width=max(round(size / 12), 1))
        draw.text((x0 + size / 6, y0), str(i), "white", ImageFont.load_default(size), stroke_width=size / 12,
                  stroke_fill="black")  # fmt: skip
    return np.asarray(picture)
