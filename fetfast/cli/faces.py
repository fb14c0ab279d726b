"""Commands that move a face: pictures, videos, cameras."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fetfast.cli.options import FILE, device_of_a_picture, in_a_folder, shared
from fetfast.errors import BadInput
from fetfast.spec import REGIONS

if TYPE_CHECKING:
    from fetfast.engine import Engine
    from fetfast.image import Frame


@click.command()
@click.argument("src", type=FILE)
@click.argument("tgt", type=FILE)
@click.option(
    "-o",
    "--output",
    type=FILE,
    required=True,
    help="The result: .png, .jpg, .webp, .avif; .mp4, .mov, .mkv.",
)
@shared
@click.option("--sheet", is_flag=True, help="Write close-ups of source, target and result side by side.")
@click.option("--mark/--no-mark", default=True, help="Say in the file's metadata that it was synthesised.")
@click.option("--keep-gps", is_flag=True, help="Pictures: leave in the file where TGT was taken.")
def transfer(
    src: Path, tgt: Path, output: Path, plan: str | None, backend: str, intensity: float,
    regions: tuple[str, ...] | None, face: str | int, mode: str, smooth: float, hwaccel: str, sheet: bool, mark: bool,
    keep_gps: bool,
) -> None:  # fmt: skip
    """Puts SRC's expression onto the face in TGT.

    TGT keeps its identity, pose, hair, background and size. The file written carries a machine-readable mark that it
    was synthesised. Show people only as they would agree to be shown.

    SRC may be a video: its times and its sound are kept. TGT may be one too: it goes on as it was filmed, and only its
    expression is replaced. Where SRC is a picture its expression lasts as long as TGT, whose times and sound are kept.
    """
    from fetfast import image
    from fetfast.engine import Engine

    if _is_video(src) or _is_video(tgt):
        if sheet:
            raise BadInput(f"--sheet shows two pictures, and one of {src} and {tgt} is a video; leave it out")
        moves = {"intensity": intensity, "regions": regions, "face": face}
        options = {**moves, "mode": mode, "smooth": smooth, "hwaccel": hwaccel}
        _transfer_video(src, tgt, output, plan, backend, mark, options)
        return
    image.check_output(output)
    engine, target = Engine(plan, backend, device_of_a_picture(backend)), image.open_picture(tgt)
    chosen = REGIONS if regions is None else regions
    result = engine.transfer(src, target, intensity=intensity, regions=chosen, face=face)
    if sheet:
        result = _sheet(engine, image.read([src, target, result])[0], face)
    image.save(output, result, mark=mark, keep_gps=keep_gps)
    click.echo(f"{output}: {engine.plan.name} on {engine.backend}")


def _is_video(path: Path) -> bool:
    from fetfast.video import is_video

    return is_video(path)


def _transfer_video(
    src: Path, tgt: Path, output: Path, plan: str | None, backend: str, mark: bool, options: dict[str, Any]
) -> None:
    from fetfast import image, live
    from fetfast.engine import Engine
    from fetfast.video import FORMATS

    image.check_output(output, FORMATS)
    engine = Engine(plan, backend)
    try:
        figures = live.transfer(engine, src, tgt, output, mark=mark, **options)
    except KeyboardInterrupt:
        click.echo(f"stopped; what was written of {output} can be played", err=True)
        sys.exit(130)
    if figures["trouble"]:
        click.echo(f"fetfast: {figures['trouble']}", err=True)
    speed = f"{figures['frames']} frames, {figures['fps']:.1f} a second"
    click.echo(f"{output}: {engine.plan.name} on {engine.backend}, {speed}")


def _sheet(engine: Engine, frames: list[Frame], face: str | int) -> Frame:
    """Close-ups of source, target and result, 512 x 512 each, side by side."""
    import numpy as np

    from fetfast.ops.crop import crop, to_picture

    source, target, _ = frames
    places = [engine.prepare(source).matrices[0], *[engine.prepare(target, face).matrices[0]] * 2]
    return np.hstack([to_picture(crop(frame, M, 512)) for frame, M in zip(frames, places, strict=True)])


@click.command()
@click.option(
    "--source",
    default="0",
    help="Who drives: a camera's index or path, a video, an rtsp or http address; or a picture, of a video target.",
)
@click.option("--target", required=True, help="Who is driven: a picture or a video.")
@shared
@click.option("--preview/--no-preview", default=True, help="A window; press h in it for its keys. Or a status line.")
@click.option("--virtual-camera", is_flag=True, help="Send the result to a camera that other programs see.")
@click.option("--record", type=FILE, help="Write the result: .mp4, .mov, .mkv.")
@click.option("--stats", is_flag=True, help="At the end, show rates, latencies and dropped frames.")
@click.option("--stats-json", type=FILE, callback=in_a_folder, help="Write these figures to a file.")
def live(source: str, target: str, plan: str | None, backend: str, **options: Any) -> None:
    """Drives a face with your own, from a camera, a stream or a video.

    Ctrl-C ends it; what was recorded by then can be played.
    """
    from fetfast.engine import Engine
    from fetfast.live import console

    console.run(Engine(plan, backend), source, target, **options)
