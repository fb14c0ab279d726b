"""Commands about plans, and about the machine that runs them."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path

import click

from fetfast.cli.options import CAPABILITY_HELP, FILE, PLAN, in_a_folder
from fetfast.spec import PRECISIONS

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("plan")
@click.option("--json", "as_json", is_flag=True, help="The whole header as JSON.")
def info(plan: str, as_json: bool) -> None:
    """Shows what a plan holds: family, sizes, tensors, where it came from."""
    from fetfast.plan import Plan

    opened = Plan.open(plan)
    opened.check()
    if as_json:
        click.echo(json.dumps(opened.header, indent=1))
        return
    spec = opened.spec
    click.echo(f"{opened.name}: {spec.family} {spec.size}, {opened.precision}, {spec.resolution} x {spec.resolution}")
    click.echo(f"  tasks      {', '.join(spec.tasks)}")
    if spec.labels:
        click.echo(f"  labels     {', '.join(spec.labels)}")
    for stage in spec.stages:
        tensors = [", ".join(f"{t.name} {list(t.shape)}" for t in side) for side in (stage.inputs, stage.outputs)]
        click.echo(f"  {stage.name:<10} {tensors[0]}\n  {'':<10} -> {tensors[1]}")
    count = sum(w.size for w in opened.weights.values())
    click.echo(f"  weights    {count:,} in {len(opened.weights)} tensors")
    for key, value in opened.header.get("provenance", {}).items():
        click.echo(f"  {key:<10} {str(value).splitlines()[0] if value else value}")
    if opened.header.get("random_weights"):
        click.echo("  RANDOM WEIGHTS: for benchmarks, not for faces")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For other programs.")
def doctor(as_json: bool) -> None:
    """Says what this machine can run, what it cannot and why, and tests itself."""
    from fetfast import environment as report

    findings = report.examine()
    click.echo(json.dumps(findings, indent=1) if as_json else report.describe(findings))
    if not findings["self_test"]["ok"]:
        sys.exit(1)


@click.command()
@click.argument("family")
@click.option("--size", default="small", help="The size row: small, or paper (the published scale).")
@click.option("--weights", type=FILE, help="A .safetensors file. Without it: random weights, and the plan says so.")
@click.option("--precision", type=click.Choice(PRECISIONS), required=True)
@click.option("--data", type=FILE, help="For int8: training pairs to calibrate on, a folder made by: fetfast synth.")
@click.option("-o", "--output", type=FILE, required=True, callback=in_a_folder, help="The plan file to write.")
@click.option("--tensorrt", is_flag=True, help="Build its TensorRT engines into the cache too.")
@click.option("--capability", help=CAPABILITY_HELP)
def build(
    family: str, size: str, weights: Path | None, precision: str, data: Path | None, output: Path, tensorrt: bool,
    capability: str | None,
) -> None:  # fmt: skip
    """Makes a plan of FAMILY: its weights, and each stage's network as a graph. Needs PyTorch and onnxscript."""
    from fetfast import build, export
    from fetfast.plan import Plan

    if capability and not tensorrt:
        raise click.UsageError("--capability goes with --tensorrt")
    if precision == "int8" and weights and not data:
        raise click.UsageError("--precision int8 needs --data, training pairs to calibrate on")
    if data and precision != "int8":
        raise click.UsageError("--data goes with --precision int8")
    if tensorrt:
        export.builder(precision, capability)  # said before anything is made
    samples = None
    if data:
        from fetfast.train import calibrate

        samples = calibrate.samples(family, size, data, weights)
    plan = build.build(family, size, precision, weights, samples=samples)
    plan.save(output)
    click.echo(f"{output}: {output.stat().st_size / 2**20:.2f} MiB")
    if tensorrt:
        click.echo(f"engines in the cache: {export.fill_cache(Plan.open(output), capability)}")


@click.command()
@click.argument("plan")
@click.option(
    "--onnx",
    type=FILE,
    callback=in_a_folder,
    help="Write ONNX models: FILE, or FILE with the stage's name where there are more.",
)
@click.option(
    "--tensorrt",
    type=FILE,
    callback=in_a_folder,
    help="Write raw TensorRT engines, as for trtexec; files named as for --onnx.",
)
@click.option("--capability", help=CAPABILITY_HELP)
@click.option("--model-repository", type=FOLDER, help="Write a folder for NVIDIA Triton Inference Server.")
@click.option("--platform", type=click.Choice(("onnx", "tensorrt")), default="onnx", help="What that server runs.")
def export(
    plan: str, onnx: Path | None, tensorrt: Path | None, capability: str | None, model_repository: Path | None,
    platform: str,
) -> None:  # fmt: skip
    """Writes PLAN for other runtimes."""
    from fetfast import export
    from fetfast.plan import Plan

    if not (onnx or tensorrt or model_repository):
        raise click.UsageError("give --onnx, --tensorrt or --model-repository")
    if capability and not tensorrt:
        raise click.UsageError("--capability goes with --tensorrt")
    opened = Plan.open(plan)
    # what cannot be built is said before anything is written
    if tensorrt:
        export.builder(opened.precision, capability)
    if model_repository and platform == "tensorrt":
        export.builder(opened.precision, server=True)
    written = [
        *(export.onnx(opened, onnx) if onnx else ()),
        *(export.engines(opened, tensorrt, capability) if tensorrt else ()),
        *(export.model_repository(opened, model_repository, platform) if model_repository else ()),
    ]
    for path in written:
        click.echo(path)
    if len(opened.spec.stages) > 1 and not export.is_chain(opened.spec):
        click.echo(
            "between the stages stand inputs that fetfast builds (fetfast/inputs.py): a client must too", err=True
        )


@click.group()
def cache() -> None:
    """Compiled networks, kept in the user's cache folder (or FETFAST_CACHE)."""


@cache.command("list")
@click.option("--json", "as_json", is_flag=True, help="For other programs.")
def list_cache(as_json: bool) -> None:
    """Shows what is kept, how big it is, when it was last used, and for what."""
    from fetfast.backends import cache as kept

    entries = kept.entries()
    if as_json:
        rows = [{"path": str(e.path), "kind": e.kind, "bytes": e.size, "used": e.used, "key": e.key} for e in entries]
        click.echo(json.dumps(rows, indent=1))
        return
    for entry in entries:
        about = kept.describe(entry.key) or entry.path.name
        click.echo(f"{entry.size / 2**20:8.2f} MiB  {date.fromtimestamp(entry.used)}  {entry.kind:<9} {about}")
    click.echo(f"{sum(entry.size for entry in entries) / 2**20:8.2f} MiB  in {len(entries)} files")


@cache.command()
@click.option(
    "--older-than", metavar="DAYS", type=click.FloatRange(0), default=0.0, help="What was not used for so long."
)
def clear(older_than: float) -> None:
    """Removes what can be compiled again. Files fetched once, as the face model, stay.

    What was not used for longest goes by itself where more than 4 GiB are kept.
    """
    from fetfast.backends import cache as kept

    click.echo(f"{kept.clear(older_than) / 2**20:.2f} MiB freed")


@click.command()
@PLAN
@click.option("--device", help="cuda or cuda:N. The first GPU if not given.")
@click.option("--seconds", type=click.FloatRange(1), default=600, help="How long to search.")
def tune(plan: str | None, device: str | None, seconds: float) -> None:
    """Finds the fastest kernel configurations for PLAN on this GPU, and keeps them for the backend `triton`."""
    from fetfast import tune as search
    from fetfast.plan import Plan

    click.echo(search.tune(Plan.open(plan or Plan.best()), device, seconds=seconds, tell=click.echo))
