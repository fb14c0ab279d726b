"""Commands that move a face: pictures, videos, cameras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fetfast.cli import videos
from fetfast.cli.options import FILE, device_of_a_picture, in_a_folder, shared
from fetfast.cli.signals import stoppable
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
    help="The result: .png, .jpg, .webp, .avif; of videos .mp4, .mov, .mkv, .webm, .gif, .webp.",
)
@shared
@videos.options
@click.option("--sheet", is_flag=True, help="Write close-ups of source, target and result side by side.")
@click.option("--mark/--no-mark", default=True, help="Say in the file's metadata that it was synthesised.")
@click.option("--keep-gps", is_flag=True, help="Pictures: leave in the file where TGT was taken.")
def transfer(
    src: Path, tgt: Path, output: Path, plan: str | None, backend: str, intensity: float,
    regions: tuple[str, ...] | None, face: str | int, mode: str, neutral: float | None, smooth: float, hwaccel: str,
    sheet: bool, mark: bool, keep_gps: bool, **given: Any,
) -> None:  # fmt: skip
    """Puts SRC's expression onto the face in TGT.

    TGT keeps its identity, pose, hair, background and size. The file written carries a machine-readable mark that it
    was synthesised. Show people only as they would agree to be shown.

    Either may be a video. TGT goes on as it was filmed, with its own times and sound, and only its expression is
    replaced; with --timing driver, and where TGT is a picture, times and sound are those of SRC.
    """
    from fetfast import image
    from fetfast.engine import Engine
    from fetfast.video import FORMATS, is_video

    if is_video(src) or is_video(tgt):
        if sheet:
            raise BadInput(f"--sheet shows two pictures, and one of {src} and {tgt} is a video; leave it out")
        image.check_output(output, FORMATS)
        options = {"intensity": intensity, "regions": regions, "face": face, "mode": mode, "neutral": neutral}
        options |= {"smooth": smooth, "hwaccel": hwaccel, "mark": mark}
        videos.transfer(Engine(plan, backend), src, tgt, output, given, options)
        return
    if needless := [part for part in videos.PARTS if given[part] is not None]:
        raise BadInput(f"--{needless[0].replace('_', '-')}: {src} and {tgt} are pictures, of which there are no parts")
    image.check_output(output)
    engine, target = Engine(plan, backend, device_of_a_picture(backend)), image.open_picture(tgt)
    chosen = REGIONS if regions is None else regions
    result = engine.transfer(src, target, intensity=intensity, regions=chosen, face=face)
    if sheet:
        result = _sheet(engine, image.read([src, target, result])[0], face)
    image.save(output, result, mark=mark, keep_gps=keep_gps)
    click.echo(f"{output}: {engine.plan.name} on {engine.backend}")


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
@click.option("--record", type=FILE, help="Write the result: .mp4, .mov, .mkv, .webm, .gif, .webp.")
@click.option("--stats", is_flag=True, help="At the end, show rates, latencies and dropped frames.")
@click.option("--stats-json", type=FILE, callback=in_a_folder, help="Write these figures to a file.")
def live(source: str, target: str, plan: str | None, backend: str, **options: Any) -> None:
    """Drives a face with your own, from a camera, a stream or a video.

    Ctrl-C ends it; what was recorded by then can be played.
    """
    from fetfast.engine import Engine
    from fetfast.live import console

    engine = Engine(plan, backend)
    with stoppable():
        console.run(engine, source, target, **options)
