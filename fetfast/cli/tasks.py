"""Commands for what plans do beside transfer: swap, edit, recognize."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from fetfast.cli.options import BACKEND, FILE, device_of_a_picture, in_a_folder
from fetfast.errors import BadInput, FetfastError

if TYPE_CHECKING:
    from fetfast.engine import Engine

Row = dict[str, Any]
PLAN = click.option("--plan", help="A plan file, or the name of one that ships. The best that does this if not given.")
INTENSITY = click.option("--intensity", type=float, default=1.0, help="0: as it is; 1: all of it; up to 2.")
MARK = click.option("--mark/--no-mark", default=True, help="Say in the files' metadata that they were synthesised.")
FACE = click.option("--face", default="largest", help="Which: largest, or an index from left.")


def _engine(task: str, plan: str | None, backend: str, device: str | None) -> Engine:
    from fetfast.engine import Engine
    from fetfast.plan import Plan

    return Engine(plan or Plan.best(task).name, backend, device)


def _which(face: str) -> str | int:
    return int(face) if face.isdecimal() else face


@click.command()
@click.argument("a", type=FILE)
@click.argument("b", type=FILE)
@click.option("-o", "--output", type=FILE, nargs=2, required=True, help="Two pictures: A changed, and B changed.")
@PLAN
@BACKEND
@INTENSITY
@FACE
@MARK
def swap(
    a: Path, b: Path, output: tuple[Path, Path], plan: str | None, backend: str, intensity: float, face: str, mark: bool
) -> None:
    """Exchanges the expressions of the faces in A and B."""
    from fetfast import image

    for file in output:
        image.check_output(file)
    engine = _engine("swap", plan, backend, device_of_a_picture(backend))
    pictures = engine.swap(image.open_picture(a), image.open_picture(b), intensity=intensity, face=_which(face))
    for file, picture in zip(output, pictures, strict=True):
        image.save(file, picture, mark=mark)
    click.echo(f"{output[0]}, {output[1]}: {engine.plan.name} on {engine.backend}")


@click.command()
@click.argument("picture", type=FILE)
@click.argument("expression")
@click.option("-o", "--output", type=FILE, required=True, help="The result: .png, .jpg, .webp, .avif.")
@PLAN
@BACKEND
@INTENSITY
@FACE
@MARK
def edit(
    picture: Path, expression: str, output: Path, plan: str | None, backend: str, intensity: float, face: str,
    mark: bool,
) -> None:  # fmt: skip
    """Gives the face in PICTURE the EXPRESSION of that name; which names a plan knows says: fetfast info."""
    from fetfast import image

    image.check_output(output)
    engine = _engine("edit", plan, backend, device_of_a_picture(backend))
    result = engine.edit(image.open_picture(picture), expression, intensity=intensity, face=_which(face))
    image.save(output, result, mark=mark)
    click.echo(f"{output}: {engine.plan.name} on {engine.backend}")


@click.command()
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option("-o", "--output", type=FILE, callback=in_a_folder, help="Write .csv or .json.  [default: CSV, shown]")
@click.option("--every", type=click.IntRange(1), default=1, help="Of a video, each Nth frame.")
@PLAN
@BACKEND
def recognize(files: tuple[Path, ...], output: Path | None, every: int, plan: str | None, backend: str) -> None:
    """Says which expression the largest face in each of FILES shows: pictures, videos, folders of them.

    A row each: file, time in seconds (of a video's frame), label, and the probability of every label. A file that
    shows no face, or cannot be read, is reported and left out; exit status 1 where that happened. An expression on a
    picture is not an emotion in a person.
    """
    from fetfast import image
    from fetfast.files import written

    if output is not None and output.suffix not in (".csv", ".json"):
        raise BadInput(f"{output} is no .csv or .json; give such a name")
    single = len(files) == 1 and image.is_still(files[0])
    engine = _engine("recognize", plan, backend, device_of_a_picture(backend) if single else None)
    failed: list[str] = []
    rows = _rows(engine, _expanded(files), every, failed)
    if output is None:
        _write_csv(sys.stdout, engine.plan.spec.labels, rows)
    else:
        with written(output) as aside, aside.open("w", newline="") as file:
            if output.suffix == ".json":
                json.dump(list(rows), file, indent=1)
            else:
                _write_csv(file, engine.plan.spec.labels, rows)
    for line in failed:
        click.echo(f"fetfast: {line}", err=True)
    if failed:
        sys.exit(1)


def _expanded(files: Iterable[Path]) -> Iterator[Path]:
    """The files, and those in folders, by name."""
    from fetfast import image
    from fetfast.video import is_video

    for file in files:
        if file.is_dir():
            yield from sorted(f for f in file.iterdir() if f.is_file() and (image.is_still(f) or is_video(f)))
        else:
            yield file


def _rows(engine: Engine, files: Iterable[Path], every: int, failed: list[str]) -> Iterator[Row]:
    from fetfast.video import is_video

    for file in files:
        try:
            if is_video(file):
                yield from _of_video(engine, file, every, failed)
            else:
                yield _row(file, None, engine.recognize(file))
        except FetfastError as error:
            failed.append(f"{file}: {error}")


def _of_video(engine: Engine, file: Path, every: int, failed: list[str]) -> Iterator[Row]:
    from fetfast.video import Reader

    face, faceless, count = None, 0, 0
    with Reader(file) as reader:
        for count, (time, frame) in enumerate(reader, 1):
            face = engine.follow(frame, face)
            faceless += face is None
            if face is not None and (count - 1) % every == 0:
                yield _row(file, float(time), engine.recognize(frame, face=face))
    if faceless:
        failed.append(f"{file}: no face in {faceless} of {count} frames")


def _row(file: Path, time: float | None, probabilities: dict[str, float]) -> Row:
    best = max(probabilities, key=lambda label: probabilities[label])
    return {"file": str(file), "time": time, "label": best, "probabilities": probabilities}


def _write_csv(file: IO[str], labels: tuple[str, ...], rows: Iterable[Row]) -> None:
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["file", "time", "label", *labels])
    for row in rows:
        time = "" if row["time"] is None else f"{row['time']:.3f}"
        table.writerow([row["file"], time, row["label"], *(f"{p:.4f}" for p in row["probabilities"].values())])
