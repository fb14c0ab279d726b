"""What int8 plans are calibrated on: the networks' inputs of some training pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fetfast.errors import BadInput
from fetfast.models import family
from fetfast.quantize import Samples
from fetfast.train.data import Pairs
from fetfast.train.recipes import RECIPES


def samples(name: str, size: str, folder: Path, count: int = 128, seed: int = 0) -> dict[str, Samples]:
    """`count` inputs for each stage that int8 quantises, of rows for training, varied as in training.

    Raises BadInput where the folder is no set of pairs, or the family is not one that pairs are made for.
    """
    if (name, size) not in RECIPES:
        raise BadInput(f"samples(): pairs give no inputs for {name} {size}, only for {known()}")
    pairs, spec, rng = Pairs.open(folder), family(name).SPECS[size], np.random.default_rng(seed)
    if not len(pairs.trained):
        raise BadInput(f"samples(): all pairs in {folder} are held out; make pairs of more people: fetfast synth")
    rows = rng.choice(pairs.trained, min(count, len(pairs.trained)), replace=False)
    found: dict[str, Samples] = {}
    for recipe in RECIPES[name, size]:
        stage = spec.stage(recipe.stage)
        if not stage.precise:
            batches = [recipe.batch(pairs, row, spec.resolution, rng) for row in np.split(rows, len(rows))]
            found[stage.name] = [{t.name: batch[t.name].numpy() for t in stage.inputs} for batch in batches]
    return found


def known() -> str:
    return ", ".join(" ".join(key) for key in RECIPES)
