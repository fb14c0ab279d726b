"""Commands that measure: how fast, and how well."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from fetfast.cli.options import BACKEND, FILE, JSON, PLAN, in_a_folder
from fetfast.errors import BadInput
from fetfast.files import write_json


def _drawable(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix not in (".png", ".svg"):
        raise BadInput(f"{value}: a plot is .svg or .png; give such a name")
    if value is not None and find_spec("matplotlib") is None:
        raise BadInput("--plot needs matplotlib; pip install matplotlib")
    return in_a_folder(context, option, value)


@click.group(invoke_without_command=True)
@PLAN
@BACKEND
@click.option("--steps", type=click.IntRange(1), default=200, help="Frames to time.")
@JSON
@click.option("--plot", "picture", type=FILE, callback=_drawable, help="Draw the stages and a roofline: .svg or .png.")
@click.pass_context
def bench(
    ctx: click.Context, plan: str | None, backend: str, steps: int, json_file: Path | None, picture: Path | None
) -> None:
    """Times one `stream` step, stage by stage: a 640 x 480 driver, a 768 x 768 target.

    \b
    share     of the step
    floor     the least time that the stage could take here: bytes that must move over the copy rate, or operations
              over the rate of matrix products, both measured in this run
    faster    than the same networks on plain PyTorch, where it is installed, taking turns in this run
    """
    if ctx.invoked_subcommand:
        return
    from fetfast import bench as suite
    from fetfast.engine import Engine

    figures = suite.stream_step(Engine(plan, backend), steps)
    click.echo(suite.table(figures))
    if picture:
        from fetfast.bench import plot

        plot.draw(figures, picture)
    if json_file:
        write_json(json_file, figures)


@bench.command()
@PLAN
@BACKEND
@click.option("--driver", type=FILE, help="A video.  [default: the shared clip]")
@click.option("--target", type=FILE, help="A picture.  [default: a shared portrait]")
@JSON
def loop(plan: str | None, backend: str, driver: Path | None, target: Path | None, json_file: Path | None) -> None:
    """Runs the video loop as fast as it will go, and at a camera's pace: a minute or less."""
    from fetfast.engine import Engine
    from fetfast.environment import machine
    from fetfast.evaluate.data import default
    from fetfast.live import bench as suite

    driver = driver or default("clips") / "single_face.mp4"
    figures = suite.run(Engine(plan, backend), driver, target or default("portraits") / "001.jpg")
    click.echo(suite.report(figures))
    if json_file:
        write_json(json_file, {"suite": "loop", "machine": machine()} | figures)


def _protocols(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


@click.command()
@click.argument("plan", required=False)
@BACKEND
@click.option("--only", callback=_protocols, help="Protocols, separated by commas.  [default: all]")
@click.option("--quick", is_flag=True, help="Fewer people, and the plan alone: two minutes.")
@click.option("--targets", type=FILE, help="A folder of people to drive.  [default: shared ones that PLAN never saw]")
@JSON
@click.option("--html", type=FILE, callback=in_a_folder, help="Write a report with the worst and best results.")
@click.option("--compare", "two", nargs=2, metavar="A B", help="Two plans, or files that --json wrote, side by side.")
def evaluate(
    plan: str | None, backend: str, only: tuple[str, ...], quick: bool, targets: Path | None, json_file: Path | None,
    html: Path | None, two: tuple[str, str] | None,
) -> None:  # fmt: skip
    """Measures how well PLAN carries expressions over and keeps the target itself, by judges that it does not run.

    \b
    actions   one action at a time, rendered drivers     acted    the same, re-posed photographs
    clip      a filmed stranger drives                   others   other people's expressions drive
    smiles    one's own smile, against its photograph    itself   a face drives itself
    pairs     re-posed photographs, landmarks given      reenact  a clip's first frame, driven by the others
    video     jitter and flicker                         realism  KID, by name only
    """
    from fetfast import evaluate as suite
    from fetfast.engine import Engine
    from fetfast.environment import machine
    from fetfast.evaluate import album, compare, report

    kept = album.Album(open=html is not None)

    def measured(name: str | None) -> dict[str, Any]:
        if two and name and name.endswith(".json"):
            return compare.read(Path(name))
        return suite.evaluate(Engine(name, backend), only, quick, targets, kept)

    if two:
        if plan or json_file or html:
            raise BadInput("--compare takes two plans or files, and no PLAN, --json or --html")
        click.echo(compare.compare(*map(measured, two)))
        return
    figures = {"suite": "evaluate", "machine": machine()} | measured(plan)
    click.echo(compare.table(figures))
    if json_file:
        compare.write(json_file, figures)
    if html:
        report.write(html, figures, kept)


@click.command()
@click.argument("plan", required=False)
@BACKEND
@click.option("--targets", type=FILE, help="A folder of portraits.  [default: shared ones that PLAN never saw]")
@click.option("--drivers", type=FILE, help="A clip or a folder of images.  [default: the shared portraits]")
@click.option("--rows", type=click.IntRange(1), default=12, help="Portraits, at most.")
@click.option("--columns", type=click.IntRange(1), default=6, help="Driving faces, at most.")
@click.option("-o", "--output", type=FILE, required=True, help="The picture to write.")
def sheet(
    plan: str | None, backend: str, targets: Path | None, drivers: Path | None, rows: int, columns: int, output: Path
) -> None:
    """Draws portraits under other faces' expressions, to be looked at and never published."""
    from fetfast import image
    from fetfast.engine import Engine
    from fetfast.evaluate import sheet as drawn

    image.check_output(output)
    engine = Engine(plan, backend)
    image.save(output, drawn.sheet(engine, *drawn.choose(engine, targets, drivers, rows, columns)))
    click.echo(f"{output}: {engine.plan.name} on {engine.backend}")
