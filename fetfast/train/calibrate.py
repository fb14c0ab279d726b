"""What int8 plans are calibrated on: what the networks read while some training pairs are measured."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn

from fetfast import build
from fetfast.errors import BadInput
from fetfast.quantize import Samples
from fetfast.train.data import Pairs
from fetfast.train.recipes import recipes


def samples(
    name: str, size: str, folder: Path, weights: Path | None = None, count: int = 128, seed: int = 0
) -> dict[str, Samples]:
    """The inputs of each stage that int8 quantises, of `count` rows for training, varied as in training. What a stage
    reads of another one is made with these weights, a .safetensors file, or with random ones.

    Raises BadInput where the folder is no set of pairs, or the family is not one that pairs are made for.
    """
    trained = recipes(name, size)
    pairs, rng = Pairs.open(folder), np.random.default_rng(seed)
    spec, stages, _ = build.networks(name, size, weights)
    if not len(pairs.training):
        raise BadInput(f"samples(): all pairs in {folder} are for validation; make pairs of more people: fetfast synth")
    rows = rng.choice(pairs.training, min(count, len(pairs.training)), replace=False)
    found: dict[str, list[dict[str, np.ndarray]]] = {}
    for recipe in trained:
        rounded = [stage for stage in recipe.stages if not spec.stage(stage).precise]
        networks = stages | {helper: make() for helper, make in recipe.helpers.items()}
        for network in networks.values():
            network.eval()
        hooks = [
            stages[stage].register_forward_pre_hook(partial(_keep, found.setdefault(stage, [])), with_kwargs=True)
            for stage in rounded
        ]
        with torch.no_grad():
            for row in np.split(rows, len(rows)) if rounded else ():
                recipe.measure(networks, spec, recipe.batch(pairs, row, spec.resolution, rng))
        for hook in hooks:
            hook.remove()
    if unread := [stage for stage, inputs in found.items() if not inputs]:
        raise BadInput(f"samples(): no recipe of {name} {size} measures stage {unread[0]}; build it in fp16")
    return dict(found)


def _keep(inputs: list[dict[str, np.ndarray]], network: nn.Module, _: Any, given: dict[str, torch.Tensor]) -> None:
    inputs.append({name: tensor.numpy() for name, tensor in given.items()})
