"""A recipe on its way: its networks, their averages and optimizers, and one step of them all."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from fetfast.errors import BadInput
from fetfast.files import written
from fetfast.plan import Plan
from fetfast.spec import Spec
from fetfast.train.recipe import Batch, Networks, Recipe

WARM_UP = 200  # steps over which the learning rate rises
LEAST_RATE = 0.02  # of its peak, at the end
EMA = 0.999
LONGEST_GRADIENT = 5.0  # of one optimizer's weights together; longer ones are cut to this


@dataclass
class Run:
    """All that changes while a recipe is trained, which is what a checkpoint holds."""

    networks: dict[str, nn.Module]  # the recipe's stages and helpers
    averages: dict[str, AveragedModel]  # of the stages: what is measured and kept
    optimizers: list[AdamW]  # one for each update
    others: dict[str, nn.Module]  # stages that other recipes train, which stand still
    step: int = 0
    seconds: float = 0.0
    data: list[str] = field(default_factory=list)  # digests of the sets of pairs that it has seen
    log: list[dict[str, float]] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        return next(next(iter(self.averages.values())).parameters()).device

    @property
    def shown(self) -> Networks:
        """What is measured: the stages' averages, and the helpers."""
        networks = self.others | self.networks | {name: average.module for name, average in self.averages.items()}
        return {name: network.eval() for name, network in networks.items()}

    def save(self, file: Path) -> None:
        """Raises BadInput where it cannot be written."""
        content = BytesIO()  # on a full disk PyTorch would raise a RuntimeError that does not say so
        state = {name: {key: part.state_dict() for key, part in parts.items()} for name, parts in self._parts.items()}
        torch.save({**state, "step": self.step, "seconds": self.seconds, "data": self.data, "log": self.log}, content)
        with written(file) as aside:
            aside.write_bytes(content.getbuffer())

    def load(self, file: Path) -> None:
        """Raises BadInput where the file is no checkpoint of this recipe."""
        try:
            state = torch.load(file, map_location=self.device, weights_only=True)
            for name, parts in self._parts.items():
                for key, part in parts.items():
                    part.load_state_dict(state[name][key])
            self.step, self.seconds, self.data, self.log = (state[name] for name in ("step", "seconds", "data", "log"))
        except Exception as error:  # whatever PyTorch makes of bytes from anywhere, or of another version's names
            reason = " ".join(str(error).split())[:300]
            raise BadInput(f"{file} is no checkpoint of this recipe ({reason}); move it away to begin anew") from error

    @property
    def _parts(self) -> dict[str, dict[str, Any]]:
        optimizers = {str(n): optimizer for n, optimizer in enumerate(self.optimizers)}
        return {"networks": self.networks, "averages": self.averages, "optimizers": optimizers}


def start(recipe: Recipe, stages: dict[str, nn.Module], seed: int, begin: Plan | None = None) -> Run:
    """A run before its first step. stages: all of the plan's, on the device that trains. Raises BadInput where nothing
    of the plan it shall begin with fits."""
    device = next(next(iter(stages.values())).parameters()).device
    networks = {name: stages[name] for name in recipe.stages}
    if recipe.start is not None:
        recipe.start(networks)
    for name, module in networks.items():
        if begin is not None:
            take(module, name, begin)
    averages = {name: averaged(module) for name, module in networks.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        networks |= {name: make().to(device) for name, make in recipe.helpers.items()}
    optimizers = [
        AdamW(
            [{"params": list(networks[name].parameters())} for name in update.rates],
            betas=update.betas,
            weight_decay=update.weight_decay,
        )
        for update in recipe.updates
    ]
    others = {name: module for name, module in stages.items() if name not in networks}
    for module in (*others.values(), *networks.values()):
        module.eval().requires_grad_(False)
    return Run(networks, averages, optimizers, others)


def averaged(module: nn.Module) -> AveragedModel:
    """The moving average of a network's weights and running statistics, of which its start is the first value."""

    def average(means: Any, values: Any, count: Any) -> None:
        keep = min(EMA, (1 + int(count)) / (10 + int(count)))
        for mean, value in zip(means, values, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)

    model = AveragedModel(module, multi_avg_fn=average, use_buffers=True)
    model.update_parameters(module)
    return model


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


def rate(step: int, progress: float) -> float:
    """The learning rate at a step, as a part of its peak: a short rise, and one cosine over the whole training.

    progress: 0 ... 1, how much of the training is over.
    """
    rise = min(1.0, (step + 1) / WARM_UP)
    return rise * (LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * progress)))


def advance(run: Run, recipe: Recipe, spec: Spec, batch: Batch, progress: float, seed: int) -> dict[str, float]:
    """One step: each update that has begun, in turn. Returns the terms of their losses, weighted.

    What the losses draw of PyTorch's random numbers depends on the seed and the step alone.
    """
    torch.manual_seed(int(np.random.SeedSequence([seed, run.step]).generate_state(1, np.uint64)[0]))
    batch = {name: tensor.to(run.device, non_blocking=True) for name, tensor in batch.items()}
    begun = [progress >= update.after for update in recipe.updates]
    active = [pair for pair, on in zip(zip(recipe.updates, run.optimizers, strict=True), begun, strict=True) if on]
    learning = {name for update, _ in active for name in update.rates}
    waiting = {name for update in recipe.updates for name in update.rates} - learning
    networks = {name: module for name, module in (run.others | run.networks).items() if name not in waiting}
    for name, module in networks.items():
        module.train(name in learning)
    precise = any(spec.stage(name).precise for name in recipe.stages)
    terms: dict[str, float] = {}
    for update, optimizer in active:
        before = [(buffer, buffer.clone()) for module in networks.values() for buffer in module.buffers()]
        _learn(optimizer, run.optimizers)
        with torch.autocast(run.device.type, torch.bfloat16, enabled=not precise):
            found, made = update.loss(networks, spec, batch)
        weighted = {name: update.weights[name] * term for name, term in found.items()}
        loss = torch.stack(list(weighted.values())).sum()
        if not descend(optimizer, loss, [rate(run.step, progress) * peak for peak in update.rates.values()]):
            for buffer, value in before:  # running statistics have seen what overflowed
                buffer.copy_(value)
        batch |= {name: tensor.detach() for name, tensor in made.items()}
        assert not terms.keys() & weighted.keys(), "two updates have a term of the same name"
        terms |= {name: float(term.detach()) for name, term in weighted.items()}
    run.step += 1
    for name, average in run.averages.items():
        average.update_parameters(run.networks[name])
    return terms


def _learn(optimizer: AdamW, optimizers: list[AdamW]) -> None:
    """Let gradients reach the weights of this optimizer, and no others."""
    for one in (*optimizers, optimizer):
        for group in one.param_groups:
            for weight in group["params"]:
                weight.requires_grad_(one is optimizer)


def descend(optimizer: AdamW, loss: Tensor, rates: list[float]) -> bool:
    """One step of the optimizer, each group of weights at its rate. False, and nothing is changed, where gradients
    overflow: one such step would spoil all weights, and with them every later step."""
    for group, lr in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = lr
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    norm = nn.utils.clip_grad_norm_(weights, LONGEST_GRADIENT)
    if norm.isfinite():
        optimizer.step()
    return bool(norm.isfinite())
