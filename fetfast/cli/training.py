"""Commands that make training pairs, and networks from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fetfast.cli.options import FILE, in_a_folder


@click.command()
@click.option("--facekit", type=FILE, help="ICT-FaceKit's folder, or the packed npz; alone: renders of nobody.")
@click.option("--portraits", type=FILE, help="A folder of pictures, one person each; re-expressed by the --facekit.")
@click.option("--videos", type=FILE, help="Instead: a folder of videos, one person each; two frames are a pair.")
@click.option("-o", "--output", type=FILE, required=True, help="The folder to write.")
@click.option("--count", type=click.IntRange(1), default=8000, help="How many pairs.")
@click.option("--size", type=click.IntRange(32, 1024), default=256, help="Side of their pictures; twice a network's.")
@click.option("--seed", type=int, default=0, help="The same seed gives the same bytes.")
@click.option("--workers", type=click.IntRange(1), help="Processes.  [default: one for each core]")
def synth(
    facekit: Path | None, portraits: Path | None, videos: Path | None, output: Path, count: int, size: int, seed: int,
    workers: int | None,
) -> None:  # fmt: skip
    """Makes training pairs: one person under two expressions, and where the landmarks go."""
    from fetfast.synth import portrait_dataset, rendered_dataset, video_dataset

    if bool(facekit) == bool(videos) or (portraits and not facekit):
        raise click.UsageError("give --facekit, with --portraits or without, or --videos")
    if videos:
        made = video_dataset.generate(videos, output, count, size, seed)
        click.echo(f"{output}: {made['pairs']} pairs of {made['videos']} videos")
        return
    assert facekit is not None
    if portraits:
        made = portrait_dataset.generate(facekit, portraits, output, count, size, seed, workers)
        people = f"{made['portraits']} portraits"
    else:
        made = rendered_dataset.generate(facekit, output, count, size, seed, workers)
        people = f"{made['identities']} identities"
    click.echo(
        f"{output}: {made['pairs']} pairs of {people} in {made['seconds']:.0f} s, {made['rate']:.1f} pairs/s per core"
    )


@click.command()
@click.argument("family")
@click.option("--data", type=FILE, required=True, help="A folder of training pairs, made by: fetfast synth.")
@click.option("-o", "--output", type=FILE, required=True, help="The .safetensors file to write, for fetfast build.")
@click.option("--size", default="small", help="The size row.")
@click.option("--stage", help="Train this stage alone. All of them, in order, if not given.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="End each stage after so long.")
@click.option("--steps", type=click.IntRange(1), help="End each stage after so many.  [default: the recipe's own]")
@click.option("--seed", type=int, default=0)
@click.option("--device", help="cpu, cuda or cuda:N. A GPU where there is one, if not given.")
@click.option("--folder", type=FILE, help="Logs, sheets and checkpoints.  [default: beside OUTPUT]")
@click.option("--begin", help="A plan to begin with, for example to teach it your own pictures.")
def train(family: str, data: Path, output: Path, begin: str | None, **options: Any) -> None:
    """Trains FAMILY's networks. A run that was stopped goes on where it was: give the same command again."""
    from fetfast.plan import Plan
    from fetfast.train import loop

    plan = Plan.open(begin) if begin else None
    for stage, found in loop.train(family, data, output, begin=plan, **options).items():
        click.echo(f"{stage:<6} " + "   ".join(f"{name} {value:.3f}" for name, value in found.items()))
    click.echo(f"{output}: build it with: fetfast build {family} --weights {output} --precision fp16 -o FILE.plan")


@click.group()
def make() -> None:
    """Makes what is taken from the morphable model: needs ICT-FaceKit, its folder or the packed npz."""


@make.command()
@click.option("--facekit", type=FILE, required=True, help="ICT-FaceKit's folder or the packed npz.")
@click.option("-o", "--output", type=FILE, required=True, callback=in_a_folder, help="The .safetensors file to write.")
def basis(facekit: Path, output: Path) -> None:
    """Makes the weights of family `flow`, for fetfast build."""
    from fetfast.synth import basis as maker

    maker.make(facekit, output)
    click.echo(output)


@make.command()
@click.option("--facekit", type=FILE, required=True, help="ICT-FaceKit's folder or the packed npz.")
@click.option("--data", type=FILE, required=True, help="A folder of training pairs, made by: fetfast synth.")
@click.option("--portraits", type=FILE, required=True, help="A folder of pictures, one person each, to act.")
@click.option("-o", "--output", type=FILE, required=True, callback=in_a_folder, help="The .safetensors file to write.")
def retarget(facekit: Path, data: Path, portraits: Path, output: Path) -> None:
    """Solves for the weights of the retarget stage of family `unet`: minutes, most of them for reading the pairs."""
    from fetfast.train import retarget as maker

    left = maker.make(facekit, data, portraits, output)
    click.echo(f"{output}: misses {left:.2f} of a motion of people for validation (root mean square)")


@make.command()
@click.option("--facekit", type=FILE, help="ICT-FaceKit's folder or the packed npz.")
@click.option("-o", "--output", type=FILE, callback=in_a_folder, help="The .npy file to write.")
@click.option("--portraits", type=FILE, help="Instead, say how much lower the teeth of these photos' people hang.")
def teeth(facekit: Path | None, output: Path | None, portraits: Path | None) -> None:
    """Makes the table of where the front teeth stand, which ships as fetfast/ops/teeth.npy: three minutes."""
    from fetfast.synth import teeth as maker

    if bool(portraits) == bool(facekit and output):
        raise click.UsageError("give --facekit and --output, or --portraits")
    if portraits:
        low, count = maker.measure(portraits)
        click.echo(f"upper teeth end {low:+.4f} crop sides lower than they are drawn: median, {count} faces")
        return
    assert facekit is not None and output is not None
    maker.make(facekit, output)
    click.echo(output)
