"""The training loop: any family's recipes, one stage after the other, to one weights file.

While it runs a stage writes into its own folder

    log.csv         a row now and then: step, seconds, each term of the loss, each figure on held-out pairs
    curves.png      the log, drawn
    sheet.png       what the network makes of held-out pairs, now
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
from copy import deepcopy
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from fetfast.environment import commit
from fetfast.errors import BadInput
from fetfast.files import written
from fetfast.models import family as family_module
from fetfast.plan import KEY, SHIPPED, Plan
from fetfast.spec import Spec, Stage
from fetfast.train.data import Pairs, batches
from fetfast.train.losses import critic_loss
from fetfast.train.recipes import RECIPES, Batch, Recipe
from fetfast.train.report import draw_curves, draw_sheet, write_log

WARM_UP = 200  # steps
EMA = 0.999
HELD_OUT = 48  # pairs looked at while training; all of them at the end
SHEET = 8
LOG_SECONDS = 120.0


@dataclass
class Run:
    """One stage on its way: all that changes while it is trained, which is what a checkpoint holds."""

    module: nn.Module
    average: nn.Module  # the moving average of its weights: what is measured and kept
    optimizer: torch.optim.Optimizer
    critic: nn.Module | None
    critic_optimizer: torch.optim.Optimizer | None
    step: int = 0
    seconds: float = 0.0
    data: list[str] = field(default_factory=list)  # digests of the sets of pairs that it has seen
    log: list[dict[str, float]] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        parts = {name: part for name, part in vars(self).items() if hasattr(part, "state_dict")}
        return {name: part.state_dict() for name, part in parts.items()} | {
            "step": self.step, "seconds": self.seconds, "data": self.data, "log": self.log,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            part = getattr(self, name)
            if hasattr(part, "load_state_dict"):
                part.load_state_dict(value)
            else:
                setattr(self, name, value)


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
    stage: train this one alone; the others keep the weights that `folder` holds of them, or start as they are.
    minutes, steps: each stage trained ends at whichever comes first; None: the recipe's own steps.
    device: None takes a GPU where there is one. folder: where runs are kept and resumed from; None: beside `output`.
    Returns the figures on held-out pairs by stage, which the file carries too. Raises BadInput.
    """
    if (family, size) not in RECIPES:
        raise BadInput(f"train(): no recipe for {family} {size}, expected one of {', '.join(map(' '.join, RECIPES))}")
    recipes = RECIPES[family, size]
    if stage is not None and stage not in [recipe.stage for recipe in recipes]:
        raise BadInput(f"train(): stage is {stage!r}, expected one of {', '.join(r.stage for r in recipes)}")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    folder = folder or output.with_suffix("")
    pairs = Pairs.open(data)
    spec = family_module(family).SPECS[size]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules = family_module(family).build(spec)
    figures: dict[str, Any] = {}
    taken = dict(begin.provenance.get("trained", {})) if begin else {}
    for recipe in recipes:
        run = start(recipe, modules[recipe.stage].to(place), seed, begin)
        file = folder / recipe.stage / "checkpoint.pt"
        if file.exists():
            run.load(torch.load(file, map_location=place, weights_only=True))
        if stage in (None, recipe.stage):
            run.data = list(dict.fromkeys([*run.data, pairs.digest]))
            advance(run, recipe, spec, pairs, file.parent, minutes=minutes, steps=steps or recipe.steps, seed=seed)
        modules[recipe.stage] = run.average
        if run.step:
            figures[recipe.stage] = measure(run.average, recipe, spec, pairs)
            before = {"begun_with": taken[recipe.stage]} if recipe.stage in taken else {}
            taken[recipe.stage] = {
                "steps": run.step, "minutes": round(run.seconds / 60, 1), "data": run.data, **before,
            }  # fmt: skip
    save(output, modules, provenance=origin(pairs, seed, begin) | {"trained": taken}, metrics=figures)
    return figures


def start(recipe: Recipe, module: nn.Module, seed: int, begin: Plan | None = None) -> Run:
    """A run before its first step. Raises BadInput where nothing of the plan it shall begin with fits."""
    if recipe.start is not None:
        recipe.start(module)
    if begin is not None:
        take(module, recipe.stage, begin)
    average = deepcopy(module).eval().requires_grad_(False)
    critic = critic_optimizer = None
    if recipe.critic is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            critic = recipe.critic().to(next(module.parameters()).device)
        critic_optimizer = torch.optim.Adam(critic.parameters(), recipe.rate, betas=(0.5, 0.99))
    optimizer = torch.optim.AdamW(module.parameters(), recipe.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    return Run(module.train(), average, optimizer, critic, critic_optimizer)


def take(module: nn.Module, stage: str, plan: Plan) -> None:
    """Gives the module those weights of the plan's stage that have the name and shape of one of its own. A convolution
    that has gained inputs since begins with zeros for them, and one that has lost some without their weights: they are
    taken for its last ones."""
    own = module.state_dict()
    fits = {}
    for name, weight in plan.stage_weights(stage).items():
        value = torch.tensor(weight.astype(np.float32))
        layer = module.get_submodule(name.rpartition(".")[0]) if name in own else None
        if isinstance(layer, nn.Conv2d) and value.ndim == 4:
            value = F.pad(value, (0, 0, 0, 0, 0, own[name].shape[1] - value.shape[1]))  # less than 0: cut off
        if name in own and own[name].shape == value.shape:
            fits[name] = value
    if not fits:
        raise BadInput(f"train(): no weight of {plan.name} fits stage {stage}; begin with a plan of the same family")
    module.load_state_dict(fits, strict=False)
    tqdm.write(f"{stage}: begins with {len(fits)} of {len(own)} tensors of {plan.name}")


def advance(
    run: Run, recipe: Recipe, spec: Spec, pairs: Pairs, folder: Path, *, minutes: float | None, steps: int, seed: int
) -> None:
    """Train until `steps` or `minutes` are full, counted from the run's very first step."""
    folder.mkdir(parents=True, exist_ok=True)
    stage = spec.stage(recipe.stage)
    began, last_log = time.perf_counter() - run.seconds, time.perf_counter()
    sums: dict[str, float] = {}
    first = run.step
    source = batches(pairs, recipe.batch, spec.resolution, recipe.count, seed, first)
    with interrupts() as interrupted, tqdm(total=steps, initial=first, desc=recipe.stage, disable=None) as bar:
        while run.step < steps and not interrupted:
            run.seconds = time.perf_counter() - began
            clock = run.seconds / (60 * minutes) if minutes else 0.0
            if clock >= 1:
                break
            progress = max((run.step + 0.5) / steps, clock)
            terms = step(run, recipe, stage, next(source), progress)
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


def step(run: Run, recipe: Recipe, stage: Stage, batch: Batch, progress: float) -> dict[str, float]:
    """One step of the optimizer, and of the critic's once it has joined; returns the terms of the loss."""
    device = next(run.module.parameters()).device
    batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    rate = recipe.rate * min(1.0, (run.step + 1) / WARM_UP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
    critic = run.critic if progress >= recipe.critic_after else None
    half = torch.autocast(device.type, torch.bfloat16, enabled=not stage.precise)

    if critic is not None:
        critic.requires_grad_(False)
    with half:
        terms, judged = recipe.loss(run.module, stage, batch, critic)
    update(run.optimizer, sum(terms.values(), torch.zeros((), device=device)), rate)
    if critic is not None and judged is not None and run.critic_optimizer is not None:
        critic.requires_grad_(True)
        with half:
            loss = critic_loss(critic, *judged)
        update(run.critic_optimizer, loss, rate)

    run.step += 1
    keep = min(EMA, (1 + run.step) / (10 + run.step))
    with torch.no_grad():
        for mean, value in zip(run.average.parameters(), run.module.parameters(), strict=True):
            mean.lerp_(value, 1 - keep)
    return {name: float(term.detach()) for name, term in terms.items()}


def update(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 5.0)
    if norm.isfinite():  # one step that overflows would spoil all weights, and with them every later step
        optimizer.step()


@torch.no_grad()
def measure(module: nn.Module, recipe: Recipe, spec: Spec, pairs: Pairs, count: int | None = None) -> dict[str, float]:
    """The recipe's figures, averaged over `count` held-out pairs spread evenly, or all."""
    held_out = pairs.held_out
    rows = held_out if count is None else held_out[:: max(1, len(held_out) // count)][:count]
    device = next(module.parameters()).device
    found: dict[str, list[Tensor]] = {}
    for part in np.array_split(rows, math.ceil(len(rows) / 16)):
        batch = {name: t.to(device) for name, t in recipe.batch(pairs, part, spec.resolution, None).items()}
        for name, values in recipe.measure(module, spec.stage(recipe.stage), batch).items():
            found.setdefault(name, []).append(values)
    return {name: round(float(torch.cat(values).mean()), 4) for name, values in found.items()}


def report(run: Run, recipe: Recipe, spec: Spec, pairs: Pairs, folder: Path, terms: dict[str, float]) -> None:
    """Measure, write log, curves and sheet, and save the checkpoint, of which one is always whole."""
    figures = measure(run.average, recipe, spec, pairs, HELD_OUT)
    run.log.append({"step": run.step, "seconds": round(run.seconds, 1), **terms, **figures})
    write_log(run.log, folder / "log.csv")
    draw_curves(run.log, list(terms), list(figures), folder / "curves.png")
    if recipe.sheet is not None:
        rows = pairs.held_out[:: max(1, len(pairs.held_out) // SHEET)][:SHEET]
        with torch.no_grad():
            device = next(run.average.parameters()).device
            batch = {name: t.to(device) for name, t in recipe.batch(pairs, rows, spec.resolution, None).items()}
            draw_sheet(recipe.sheet(run.average, spec.stage(recipe.stage), batch), folder / "sheet.png")
    checkpoint(folder / "checkpoint.pt", run.state())
    tqdm.write(f"{recipe.stage} step {run.step}: " + "  ".join(f"{k} {v:.3f}" for k, v in (terms | figures).items()))


def checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes the state of a run. Raises BadInput."""
    content = BytesIO()  # on a full disk PyTorch would raise a RuntimeError that does not say so
    torch.save(state, content)
    with written(path) as file:
        file.write_bytes(content.getbuffer())


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
        "data": {"pairs": len(pairs.trained), **pairs.about},
    }
