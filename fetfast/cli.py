"""The command line. Exit status: 0, 2 for a mistake of the user's (one line on stderr), 1 for one of ours."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fetfast import __version__
from fetfast.errors import BadInput, FetfastError
from fetfast.spec import PRECISIONS, REGIONS

if TYPE_CHECKING:
    from fetfast.engine import Engine
    from fetfast.image import Frame

FILE = click.Path(path_type=Path)
PLAN_HELP = "A plan file, or the name of one that ships. The best that ships if not given."
CAPABILITY_HELP = "For a GPU of this compute capability, such as 8.9.  [default: this machine's]"
BACKEND_HELP = "auto, or one by name: tensorrt, triton, openvino, eager."


class Commands(click.Group):
    """Turns the errors that users can mend into one line and exit status 2; shows commands in the order written."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FetfastError as error:
            message = str(error)
        except BrokenPipeError:  # whoever read our output is gone: click ends quietly
            raise
        except OSError as error:  # a file or folder that the user named, or a full disk
            message = f"{error.filename or 'the file'}: {error.strerror or error}"
        line = "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))  # a name may hold anything
        click.echo(f"fetfast: {line}", err=True)
        ctx.exit(2)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="fetfast")
def main() -> None:
    """Puts the expression of one face onto another face, which stays itself.

    \b
    fetfast transfer smile.jpg portrait.jpg -o smiling.png
    fetfast live --source 0 --target portrait.jpg
    fetfast doctor
    """
    warnings.filterwarnings("ignore", module="PIL")  # what matters of a file's flaws is an error, on one line


def _regions(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(part.strip() for part in value.split(",") if part.strip())


def _in_a_folder(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    """Said before the work, not after it."""
    if value is not None and not value.parent.is_dir():
        raise BadInput(f"{value}: the folder {value.parent} does not exist; create it first")
    return value


def _face(_: click.Context, __: click.Parameter, value: str) -> str | int:
    try:
        return int(value)
    except ValueError:
        return value


def _shared(command: Any) -> Any:
    """The options of all commands that move a face."""
    for option in (
        click.option("--smooth", type=float, default=0.5, help="Videos: 0 (off) to 1, how much jitter is taken out."),
        click.option(
            "--mode",
            type=click.Choice(("absolute", "relative")),
            default="absolute",
            help="Videos: the driver's expression, or its change from the driver's resting face.",
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
        click.option("--backend", default="auto", help=BACKEND_HELP),
        click.option("--plan", help=PLAN_HELP),
    ):
        command = option(command)
    return command


@main.command()
@click.argument("src", type=FILE)
@click.argument("tgt", type=FILE)
@click.option(
    "-o", "--output", type=FILE, required=True, help="Where the result goes: .png, .jpg, .webp; .mp4, .mov, .mkv."
)
@_shared
@click.option("--sheet", is_flag=True, help="Write close-ups of source, target and result side by side.")
@click.option("--mark/--no-mark", default=True, help="Say in the file's metadata that it was synthesised.")
def transfer(
    src: Path, tgt: Path, output: Path, plan: str | None, backend: str, intensity: float,
    regions: tuple[str, ...] | None, face: str | int, mode: str, smooth: float, sheet: bool, mark: bool,
) -> None:  # fmt: skip
    """Puts SRC's expression onto the face in TGT.

    TGT keeps its identity, pose, hair, background and size. The file written carries a machine-readable mark that it
    was synthesised. Show people only as they would agree to be shown.

    SRC may be a video: its times and its sound are kept. TGT may then be one too: it goes on as it was filmed, and
    only its expression is replaced.
    """
    from fetfast import image
    from fetfast.engine import Engine

    if _is_video(src):
        options = {"intensity": intensity, "regions": regions, "face": face, "mode": mode, "smooth": smooth}
        _transfer_video(src, tgt, output, plan, backend, mark, options)
        return
    if _is_video(tgt):
        raise BadInput(f"{tgt} is a video and {src} is none, expected a video to drive it")
    image.check_output(output)
    engine = Engine(plan, backend)
    result = engine.transfer(src, tgt, intensity=intensity, regions=REGIONS if regions is None else regions, face=face)
    if sheet:
        result = _sheet(engine, image.load(src), image.load(tgt), result, face)
    image.save(output, result, mark=mark)
    click.echo(f"{output}: {engine.plan.name} on {engine.backend}")


def _is_video(path: Path) -> bool:
    from fetfast.live.video import is_video

    return is_video(path)


def _transfer_video(
    src: Path, tgt: Path, output: Path, plan: str | None, backend: str, mark: bool, options: dict[str, Any]
) -> None:
    from fetfast import image, live
    from fetfast.engine import Engine
    from fetfast.live.video import FORMATS

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


def _sheet(engine: Engine, source: Frame, target: Frame, result: Frame, face: str | int) -> Frame:
    """Close-ups of source, target and result, 512 x 512 each, side by side."""
    import numpy as np

    from fetfast.ops.crop import crop

    places = [engine.prepare(source).matrices[0], *[engine.prepare(target, face).matrices[0]] * 2]
    closeups = [crop(frame, M, 512) for frame, M in zip((source, target, result), places, strict=True)]
    return np.concatenate([((c + 1) * 127.5 + 0.5).astype(np.uint8).transpose(1, 2, 0) for c in closeups], axis=1)


@main.command()
@click.option("--source", default="0", help="Who drives: a camera's index or path, a video, an rtsp or http address.")
@click.option("--target", required=True, help="Who is driven: a picture or a video.")
@_shared
@click.option("--preview/--no-preview", default=True, help="A window; press h in it for its keys. Or a status line.")
@click.option("--virtual-camera", is_flag=True, help="Send the result to a camera that other programs see.")
@click.option("--record", type=FILE, help="Write the result: .mp4, .mov, .mkv.")
@click.option("--stats", is_flag=True, help="At the end, show rates, latencies and dropped frames.")
@click.option("--stats-json", type=FILE, help="Write these figures to a file.")
def live(source: str, target: str, plan: str | None, backend: str, **options: Any) -> None:
    """Drives a face with your own, from a camera, a stream or a video.

    Ctrl-C ends it; what was recorded by then can be played.
    """
    from fetfast.engine import Engine
    from fetfast.live import console

    console.run(Engine(plan, backend), source, target, **options)


@main.command()
@click.argument("plan")
@click.option("--json", "as_json", is_flag=True, help="The whole header as JSON.")
def info(plan: str, as_json: bool) -> None:
    """Shows what a plan holds: family, sizes, tensors, where it came from."""
    from fetfast.plan import Plan

    opened = Plan.open(plan)
    if as_json:
        click.echo(json.dumps(opened.header, indent=1))
        return
    spec = opened.spec
    click.echo(f"{opened.name}: {spec.family} {spec.size}, {opened.precision}, {spec.resolution} x {spec.resolution}")
    click.echo(f"  tasks      {', '.join(spec.tasks)}")
    for stage in spec.stages:
        tensors = [", ".join(f"{t.name} {list(t.shape)}" for t in side) for side in (stage.inputs, stage.outputs)]
        click.echo(f"  {stage.name:<10} {tensors[0]}\n  {'':<10} -> {tensors[1]}")
    count = sum(w.size for w in opened.weights.values())
    click.echo(f"  weights    {count:,} in {len(opened.weights)} tensors")
    for key, value in opened.header.get("provenance", {}).items():
        click.echo(f"  {key:<10} {str(value).splitlines()[0] if value else value}")
    if opened.header.get("random_weights"):
        click.echo("  RANDOM WEIGHTS: for benchmarks, not for faces")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For other programs.")
def doctor(as_json: bool) -> None:
    """Says what this machine can run, what it cannot and why, and tests itself."""
    from fetfast import doctor as report

    findings = report.examine()
    click.echo(json.dumps(findings, indent=1) if as_json else report.describe(findings))
    if not findings["self_test"]["ok"]:
        sys.exit(1)


@main.command()
@click.argument("family")
@click.option("--size", default="small", help="The size row: small, or paper (the published scale).")
@click.option("--weights", type=FILE, help="A .safetensors file. Without it: random weights, and the plan says so.")
@click.option("--precision", type=click.Choice(PRECISIONS), required=True)
@click.option("-o", "--output", type=FILE, required=True, help="The plan file to write.")
@click.option("--tensorrt", is_flag=True, help="Build its TensorRT engines into the cache too.")
@click.option("--capability", help=CAPABILITY_HELP)
def build(
    family: str, size: str, weights: Path | None, precision: str, output: Path, tensorrt: bool, capability: str | None
) -> None:
    """Makes a plan of FAMILY: its weights, and each stage's network as a graph. Needs PyTorch and onnxscript."""
    from fetfast import deploy, export
    from fetfast.plan import Plan

    if capability and not tensorrt:
        raise click.UsageError("--capability goes with --tensorrt")
    plan = export.build(family, size, precision, weights)
    plan.save(output)
    click.echo(f"{output}: {output.stat().st_size / 2**20:.2f} MiB")
    if tensorrt:
        click.echo(f"engines in the cache: {deploy.fill_cache(Plan.open(output), capability)}")


@main.command()
@click.argument("plan")
@click.option("--onnx", type=FILE, help="Write ONNX models: FILE, or FILE with the stage's name where there are more.")
@click.option("--tensorrt", type=FILE, help="Write raw TensorRT engines, as for trtexec; files named as for --onnx.")
@click.option("--capability", help=CAPABILITY_HELP)
@click.option("--model-repository", type=FILE, help="Write a folder for NVIDIA Triton Inference Server.")
@click.option("--platform", type=click.Choice(("onnx", "tensorrt")), default="onnx", help="What that server runs.")
def export(
    plan: str, onnx: Path | None, tensorrt: Path | None, capability: str | None, model_repository: Path | None,
    platform: str,
) -> None:  # fmt: skip
    """Writes PLAN for other runtimes."""
    from fetfast import deploy
    from fetfast.plan import Plan

    if not (onnx or tensorrt or model_repository):
        raise click.UsageError("give --onnx, --tensorrt or --model-repository")
    if capability and not tensorrt:
        raise click.UsageError("--capability goes with --tensorrt")
    opened = Plan.open(plan)
    written = [
        *(deploy.onnx(opened, onnx) if onnx else ()),
        *(deploy.engines(opened, tensorrt, capability) if tensorrt else ()),
        *(deploy.model_repository(opened, model_repository, platform) if model_repository else ()),
    ]
    for path in written:
        click.echo(path)
    if len(opened.spec.stages) > 1 and not deploy.is_chain(opened.spec):
        click.echo(
            "between the stages stand inputs that fetfast builds (fetfast/inputs.py): a client must too", err=True
        )


@main.group()
def cache() -> None:
    """Compiled networks, kept in the user's cache folder (or FETFAST_CACHE)."""


@cache.command("list")
@click.option("--json", "as_json", is_flag=True, help="For other programs.")
def list_cache(as_json: bool) -> None:
    """Shows what is kept, for what, and how big it is."""
    from fetfast.backends import cache as kept

    entries = kept.entries()
    if as_json:
        rows = [{"path": str(e.path), "kind": e.kind, "bytes": e.size, "key": e.key} for e in entries]
        click.echo(json.dumps(rows, indent=1))
        return
    for entry in entries:
        about = ", ".join(value[:24] for value in entry.key.values()) or entry.path.name
        click.echo(f"{entry.size / 2**20:8.2f} MiB  {entry.kind:<9} {about}")
    click.echo(f"{sum(entry.size for entry in entries) / 2**20:8.2f} MiB  in {len(entries)} files")


@cache.command()
def clear() -> None:
    """Removes all that can be compiled again. Files fetched once, as the face model, stay."""
    from fetfast.backends import cache as kept

    click.echo(f"{kept.clear() / 2**20:.2f} MiB freed")


@main.command()
@click.option("--plan", help=PLAN_HELP)
@click.option("--device", help="cuda or cuda:N. The first GPU if not given.")
@click.option("--seconds", type=click.FloatRange(1), default=600, help="How long to search.")
def tune(plan: str | None, device: str | None, seconds: float) -> None:
    """Finds the fastest kernel configurations for PLAN on this GPU, and keeps them for the backend `triton`."""
    from fetfast import tune as search
    from fetfast.plan import Plan

    click.echo(search.tune(Plan.open(plan or Plan.best()), device, seconds=seconds, tell=click.echo))


@main.command()
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
def train(family: str, data: Path, output: Path, **options: Any) -> None:
    """Trains FAMILY's networks. A run that was stopped goes on where it was: give the same command again."""
    from fetfast.train import loop

    for stage, found in loop.train(family, data, output, **options).items():
        click.echo(f"{stage:<6} " + "   ".join(f"{name} {value:.3f}" for name, value in found.items()))
    click.echo(f"{output}: build it with: fetfast build {family} --weights {output} --precision fp16 -o FILE.plan")


@main.group(invoke_without_command=True)
@click.option("--plan", help=PLAN_HELP)
@click.option("--backend", default="auto", help=BACKEND_HELP)
@click.option("--steps", type=click.IntRange(1), default=200, help="Frames to time.")
@click.option("--json", "json_file", type=FILE, callback=_in_a_folder, help="Write the figures to this file too.")
@click.pass_context
def bench(ctx: click.Context, plan: str | None, backend: str, steps: int, json_file: Path | None) -> None:
    """Times one `stream` step, stage by stage: a 640 x 480 driver, a 768 x 768 target."""
    if ctx.invoked_subcommand:
        return
    from fetfast import bench as suite
    from fetfast.engine import Engine

    figures = suite.stream_step(Engine(plan, backend), steps)
    click.echo(suite.table(figures))
    if json_file:
        json_file.write_text(json.dumps(figures, indent=1))


@bench.command()
@click.option("--plan", help=PLAN_HELP)
@click.option("--backend", default="auto", help=BACKEND_HELP)
@click.option("--driver", type=FILE, help="A video.  [default: the shared clip]")
@click.option("--target", type=FILE, help="A picture.  [default: a shared portrait]")
@click.option("--json", "json_file", type=FILE, callback=_in_a_folder, help="Write the figures to this file too.")
def loop(plan: str | None, backend: str, driver: Path | None, target: Path | None, json_file: Path | None) -> None:
    """Runs the video loop as fast as it will go, and at a camera's pace: a minute or less."""
    from fetfast.engine import Engine
    from fetfast.evaluate.data import default
    from fetfast.live import bench as suite

    driver = driver or default("clips") / "single_face.mp4"
    figures = suite.run(Engine(plan, backend), driver, target or default("portraits") / "001.jpg")
    click.echo(suite.report(figures))
    if json_file:
        json_file.write_text(json.dumps(figures, indent=1))


@main.command()
@click.argument("plan", required=False)
@click.option("--backend", default="auto", help=BACKEND_HELP)
@click.option("--targets", type=FILE, help="A folder of portraits.  [default: shared ones that PLAN never saw]")
@click.option("--drivers", type=FILE, help="A clip or a folder of images.  [default: the shared clip]")
@click.option("--every", type=click.IntRange(1), default=8, help="Take each Nth frame of a driving video.")
@click.option("--pairs", "known", type=FILE, help="Pairs made by fetfast synth: those held out are compared too.")
@click.option("--json", "json_file", type=FILE, callback=_in_a_folder, help="Write the figures to this file too.")
def evaluate(
    plan: str | None, backend: str, targets: Path | None, drivers: Path | None, every: int, known: Path | None,
    json_file: Path | None,
) -> None:  # fmt: skip
    """Measures how well PLAN carries expressions over, and how well the target stays itself."""
    from fetfast import evaluate as suite
    from fetfast.engine import Engine

    figures = suite.evaluate(Engine(plan, backend), targets, drivers, every, known)
    click.echo(suite.table(figures))
    if json_file:
        json_file.write_text(json.dumps(figures, indent=1))


@main.command()
@click.option("--portraits", type=FILE, help="A folder of pictures, one person each; re-posed by the --facekit.")
@click.option("--facekit", type=FILE, help="ICT-FaceKit's folder, or the packed npz.")
@click.option("--videos", type=FILE, help="Instead: a folder of videos, one person each; two frames are a pair.")
@click.option("-o", "--output", type=FILE, required=True, help="The folder to write.")
@click.option("--count", type=click.IntRange(1), default=8000, help="How many pairs.")
@click.option("--size", type=click.IntRange(32, 1024), default=256, help="Side of their pictures; twice a network's.")
@click.option("--seed", type=int, default=0, help="The same seed gives the same bytes.")
@click.option("--workers", type=click.IntRange(1), help="Processes.  [default: one for each core]")
def synth(
    portraits: Path | None, facekit: Path | None, videos: Path | None, output: Path, count: int, size: int, seed: int,
    workers: int | None,
) -> None:  # fmt: skip
    """Makes training pairs: one person under two expressions, and where the landmarks go."""
    from fetfast.train.synth import pairs
    from fetfast.train.synth import videos as reenactment

    if bool(portraits) == bool(videos) or (portraits and not facekit):
        raise click.UsageError("give --portraits with --facekit, or --videos")
    if videos:
        made = reenactment.generate(videos, output, count, size, seed)
        click.echo(f"{output}: {made['pairs']} pairs of {made['videos']} videos")
        return
    made = pairs.generate(facekit, portraits, output, count, size, seed, workers)  # type: ignore[arg-type]
    click.echo(
        f"{output}: {made['pairs']} pairs of {made['portraits']} portraits in {made['seconds']:.0f} s,"
        f" {made['rate']:.1f} pairs/s per core"
    )


if __name__ == "__main__":
    main()
