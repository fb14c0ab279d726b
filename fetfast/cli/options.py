"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fetfast.errors import BadInput
from fetfast.spec import REGIONS

FILE = click.Path(path_type=Path)
PLAN = click.option("--plan", help="A plan file, or the name of one that ships. The best that ships if not given.")
CAPABILITY_HELP = "For a GPU of this compute capability, such as 8.9.  [default: this machine's]"
BACKEND = click.option(
    "--backend",
    default="auto",
    help="auto, or one by name: tensorrt, triton, openvino, eager. auto leaves a single picture to the processor.",
)


def _regions(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(part.strip() for part in value.split(",") if part.strip())


def device_of_a_picture(backend: str) -> str | None:
    """Of an engine for a single picture: the processor, unless a backend is asked for. What a GPU's kernels take to be
    loaded and compiled is seconds, and the processor has done all of it in less than one."""
    return "cpu" if backend == "auto" else None


def in_a_folder(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    """Said before the work, not after it."""
    if value is not None and value.is_dir():
        raise BadInput(f"{value} is a folder, expected a file name")
    if value is not None and not value.parent.is_dir():
        raise BadInput(f"{value}: the folder {value.parent} does not exist; create it first")
    return value


JSON = click.option("--json", "json_file", type=FILE, callback=in_a_folder, help="Write the figures to this file too.")


def _face(_: click.Context, __: click.Parameter, value: str) -> str | int:
    try:
        return int(value)
    except ValueError:
        return value


def shared(command: Any) -> Any:
    """The options of all commands that move a face."""
    for option in (
        click.option(
            "--hwaccel",
            type=click.Choice(("auto", "off")),
            default="auto",
            help="Videos: decode large frames in hardware where there is any, or never.",
        ),
        click.option("--smooth", type=float, default=0.5, help="Videos: 0 (off) to 1, how much jitter is taken out."),
        click.option(
            "--neutral",
            type=click.FloatRange(min=0),
            metavar="SECONDS",
            help="Relative mode: when a driving video shows its resting face.  [default: where it is calmest]",
        ),
        click.option(
            "--mode",
            type=click.Choice(("absolute", "relative")),
            default="absolute",
            help="Videos. absolute: the target shows the driver's expression. relative: the driver's change from their "
            "resting face, on top of the expression of a picture, or of a film's face at rest. "
            "A film's own expressions are replaced either way.",
        ),
        click.option(
            "--face",
            callback=_face,
            default="largest",
            help="Which of the target: largest, all, or an index from left.",
        ),
        click.option(
            "--regions",
            callback=_regions,
            help=f"What moves, separated by commas.  [default: {','.join(REGIONS)}; of a video without the gaze]",
        ),
        click.option("--intensity", type=float, default=1.0, help="0: the target as it is; 1: as the driver; up to 2."),
        BACKEND,
        PLAN,
    ):
        command = option(command)
    return command
