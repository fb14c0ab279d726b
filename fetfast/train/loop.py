"""The training loop: a family's recipes, one after the other, to one weights file.

While it runs a recipe writes into its own folder

    log.csv         a row now and then: step, seconds, each term of the losses, each figure on validation pairs
    curves.png      the log, drawn
    sheet.png       what the networks make of validation pairs, now
    checkpoint.pt   all that it takes to go on as if never interrupted

Every random draw depends on the seed and the step alone, so a run that is resumed takes the steps that it would have
taken. The learning rate follows one cosine after a short warm-up; where `minutes` end a run before its steps do,
the cosine follows the clock.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from fetfast.environment import commit
from fetfast.errors import BadInput
from fetfast.files import written
from fetfast.models import family as family_module
from fetfast.plan import KEY, SHIPPED, Plan
from fetfast.spec import Spec
from fetfast.train.batches import batches
from fetfast.train.data import Pairs
from fetfast.train.recipe import Batch, Recipe
from fetfast.train.recipes import recipes
from fetfast.train.report import draw_curves, draw_sheet, write_log
from fetfast.train.run import Run, advance, start

VALIDATION = 48  # pairs looked at while training; all of them at the end
SHEET = 8
LOG_SECONDS = 120.0


def train(
    family: str,
    data: Path,
    output: Path,
    *,
    size: str = "small",
    stage: str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    device: str | None = None,
    folder: Path | None = None,
    begin: Plan | None = None,
) -> dict[str, Any]:
    """Trains a family's stages on a set of pairs and writes their weights to `output`, a .safetensors file that
    `fetfast build` takes.

    begin: a plan of that family whose weights are begun with, as far as they fit: a stage not trained keeps them.
    stage: train this one alone, with those that its recipe trains together with it; the others keep the weights that
    `folder` holds of them, or start as they are.
    minutes, steps: each recipe ends at whichever comes first; None: its own steps.
    device: None takes a GPU where there is one. folder: where runs are kept and resumed from; None: beside `output`.
    Returns the figures on validation pairs by recipe, which the file carries too. Raises BadInput.
    """
    rows = recipes(family, size)
    known = [name for recipe in rows for name in recipe.stages]
    if stage is not None and stage not in known:
        raise BadInput(f"train(): stage is {stage!r}, expected one of {', '.join(known)}")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    folder = folder or output.with_suffix("")
    pairs = Pairs.open(data)
    spec = family_module(family).SPECS[size]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stages = {name: module.to(place) for name, module in family_module(family).build(spec).items()}
    figures: dict[str, Any] = {}
    trained = dict(begin.provenance.get("trained", {})) if begin else {}
    for recipe in rows:
        run = start(recipe, stages, seed, begin)
        file = folder / recipe.name / "checkpoint.pt"
        if file.exists():
            run.load(file)
        if stage is None or stage in recipe.stages:
            run.data = list(dict.fromkeys([*run.data, pairs.digest]))
            train_recipe(run, recipe, spec, pairs, file.parent, minutes=minutes, steps=steps or recipe.steps, seed=seed)
        stages |= {name: average.module for name, average in run.averages.items()}
        if run.step:
            figures[recipe.name] = measure(run, recipe, spec, pairs, pairs.validation)
            before = {"begun_with": trained[recipe.name]} if recipe.name in trained else {}
            trained[recipe.name] = {
                "steps": run.step, "minutes": round(run.seconds / 60, 1), "data": run.data, **before,
            }  # fmt: skip
    save(output, stages, provenance=origin(pairs, seed, begin) | {"trained": trained}, metrics=figures)
    return figures


def train_recipe(
    run: Run, recipe: Recipe, spec: Spec, pairs: Pairs, folder: Path, *, minutes: float | None, steps: int, seed: int
) -> None:
    """Train until `steps` or `minutes` are full, counted from the run's very first step."""
    folder.mkdir(parents=True, exist_ok=True)
    began, last_log = time.perf_counter() - run.seconds, time.perf_counter()
    sums: dict[str, float] = {}
    first = run.step
    source = batches(pairs, recipe.batch, spec.resolution, recipe.count, seed, first)
    with (
        torch.random.fork_rng(devices=[run.device] if run.device.type == "cuda" else []),
        interrupts() as interrupted,
        tqdm(total=steps, initial=first, desc=recipe.name, disable=None) as bar,
    ):
        while run.step < steps and not interrupted:
            run.seconds = time.perf_counter() - began
            clock = run.seconds / (60 * minutes) if minutes else 0.0
            if clock >= 1:
                break
            progress = max((run.step + 0.5) / steps, clock)
            terms = advance(run, recipe, spec, next(source), progress, seed)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
            bar.update()
            bar.set_postfix(
                loss=f"{sum(terms.values()):.3f}",
                left=f"{run.seconds / progress * (1 - progress) / 60:.1f} min",
                refresh=False,
            )
            if time.perf_counter() - last_log > LOG_SECONDS:
                report(run, recipe, spec, pairs, folder, {name: v / (run.step - first) for name, v in sums.items()})
                sums, first, last_log = {}, run.step, time.perf_counter()
    source.close()
    run.seconds = time.perf_counter() - began
    if run.step > first:
        report(run, recipe, spec, pairs, folder, {name: v / (run.step - first) for name, v in sums.items()})
    if interrupted:
        raise KeyboardInterrupt


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """A list that fills when the run is asked to end (Ctrl-C, SIGTERM), so that it ends between two steps."""
    asked: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda number, _: asked.append(number)) for kind in kinds]
    try:
        yield asked
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


@torch.no_grad()
def measure(run: Run, recipe: Recipe, spec: Spec, pairs: Pairs, rows: NDArray[np.int64]) -> dict[str, float]:
    """The recipe's figures, averaged over these rows."""
    found: dict[str, list[Tensor]] = {}
    for part in np.array_split(rows, math.ceil(len(rows) / 16)):
        batch = _plain(run, recipe, spec, pairs, part)
        for name, values in recipe.measure(run.shown, spec, batch).items():
            found.setdefault(name, []).append(values)
    return {name: round(float(torch.cat(values).mean()), 4) for name, values in found.items()}


def _plain(run: Run, recipe: Recipe, spec: Spec, pairs: Pairs, rows: NDArray[np.int64]) -> Batch:
    """A batch of these rows as they are, where the networks are."""
    return {name: t.to(run.device) for name, t in recipe.batch(pairs, rows, spec.resolution, None).items()}


def spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`count` of the rows, evenly spread, or all."""
    return rows[:: max(1, len(rows) // count)][:count]


def report(run: Run, recipe: Recipe, spec: Spec, pairs: Pairs, folder: Path, terms: dict[str, float]) -> None:
    """Measure, write log, curves and sheet, and save the checkpoint, of which one is always whole."""
    figures = measure(run, recipe, spec, pairs, spread(pairs.validation, VALIDATION))
    run.log.append({"step": run.step, "seconds": round(run.seconds, 1), **terms, **figures})
    write_log(run.log, folder / "log.csv")
    draw_curves(run.log, list(terms), list(figures), folder / "curves.png")
    if recipe.sheet is not None:
        with torch.no_grad():
            batch = _plain(run, recipe, spec, pairs, spread(pairs.validation, SHEET))
            draw_sheet(recipe.sheet(run.shown, spec, batch), folder / "sheet.png")
    run.save(folder / "checkpoint.pt")
    tqdm.write(f"{recipe.name} step {run.step}: " + "  ".join(f"{k} {v:.3f}" for k, v in (terms | figures).items()))


def save(output: Path, modules: dict[str, nn.Module], **about: Any) -> None:
    from safetensors.torch import save as serialized

    tensors = {
        f"{name}.{key}": t.cpu().contiguous() for name, m in modules.items() for key, t in m.state_dict().items()
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    with written(output) as file:
        file.write_bytes(serialized(tensors, {KEY: json.dumps(about)}))


def origin(pairs: Pairs, seed: int, begin: Plan | None) -> dict[str, Any]:
    """Where weights come from: command line, seed, commit, data, and the plan that they began with."""
    flow = Plan.open(SHIPPED / "flow_fp32.plan").provenance
    return {
        **{key: flow[key] for key in ("model", "licence")},  # to be kept with what is made of it
        "command": " ".join(["fetfast", *sys.argv[1:]]),
        "seed": seed,
        "commit": commit(),
        "torch": torch.__version__,
        **({"begun_with": {key: begin.provenance.get(key) for key in ("command", "commit")}} if begin else {}),
        "data": {"pairs": len(pairs.training), **pairs.about},
    }
