"""The options and the end of `fetfast transfer` where a video drives, or is driven."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fetfast.cli.signals import status, stoppable
from fetfast.errors import BadInput

if TYPE_CHECKING:
    from fetfast.engine import Engine

PARTS = tuple(f"{who}_{end}" for who in ("driver", "target") for end in ("from", "to"))


def _bits(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", value)
    if not found:
        raise BadInput(f"--bitrate is {value!r}, expected a number of bits a second, such as 800k or 4M")
    return round(float(found[1]) * {"": 1, "k": 1e3, "m": 1e6}[found[2].lower()])


def options(command: Any) -> Any:
    """The options that only videos have."""
    for option in (
        *(
            click.option(
                f"--{part.replace('_', '-')}",
                type=click.FloatRange(min=0),
                metavar="SECONDS",
                help=f"Videos: where the part of {'SRC' if part.startswith('driver') else 'TGT'} that is used "
                f"{'begins' if part.endswith('from') else 'ends'}.",
            )
            for part in reversed(PARTS)
        ),
        click.option(
            "--bitrate",
            callback=_bits,
            metavar="RATE",
            help="Videos: bits a second on average, such as 800k or 4M, in place of a quality.",
        ),
        click.option(
            "--quality", type=click.IntRange(1, 100), default=90, help="Videos: of each frame; a GIF has but one."
        ),
        click.option(
            "--timing",
            type=click.Choice(("target", "driver")),
            default="target",
            help="Two videos: whose rate, length and sound the result has. The other one begins again where it is "
            "shorter.",
        ),
    ):
        command = option(command)
    return command


def transfer(
    engine: Engine, src: Path, tgt: Path, output: Path, given: dict[str, Any], options: dict[str, Any]
) -> None:
    """given: the values of `options` above; options: as of `live.transfer`. Exits with 1 where nobody was seen."""
    from tqdm import tqdm

    from fetfast import live

    driver, target = (_part(path, given[f"{who}_from"], given[f"{who}_to"]) for who, path in _people(src, tgt))
    watch = partial(tqdm, unit=" frames", leave=False, disable=None, dynamic_ncols=True)  # on a terminal only
    options = {key: given[key] for key in ("timing", "quality", "bitrate")} | options
    try:
        with stoppable():
            figures = live.transfer(engine, driver, target, output, watch=watch, **options)
    except KeyboardInterrupt as stop:
        click.echo(f"stopped; what was written of {output} can be played", err=True)
        sys.exit(status(stop))
    if figures["trouble"]:
        click.echo(f"fetfast: {figures['trouble']}", err=True)
    if figures["unseen"]:
        click.echo(f"fetfast: {figures['unseen']}; nothing is written", err=True)
        sys.exit(1)
    count = figures["frames"]
    line = f"{output}: {engine.plan.name} on {engine.backend}, {count} frames, {figures['fps']:.1f} a second"
    for who, path in _people(src, tgt):
        if figures[f"{who}_faces"] < count:
            line += f", a face of {path} in {figures[f'{who}_faces']}"
    click.echo(line)


def _people(src: Path, tgt: Path) -> tuple[tuple[str, Path], tuple[str, Path]]:
    return ("driver", src), ("target", tgt)


def _part(path: Path, begin: float | None, end: float | None) -> Any:
    from fetfast.video import Part, is_video

    if begin is None and end is None:
        return path
    if path.exists() and not is_video(path):
        raise BadInput(f"{path} is a picture: no part of it can be taken, expected a video")
    return Part.of(str(path), begin, end)
