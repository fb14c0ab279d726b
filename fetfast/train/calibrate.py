"""What int8 plans are calibrated on: the networks' inputs of some training pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fetfast.errors import BadInput
from fetfast.models import family
from fetfast.quantize import Samples
from fetfast.train.data import Pairs
from fetfast.train.recipes import recipes


def samples(name: str, size: str, folder: Path, count: int = 128, seed: int = 0) -> dict[str, Samples]:
    """`count` inputs for each stage that int8 quantises, of rows for training, varied as in training.

    Raises BadInput where the folder is no set of pairs, or the family is not one that pairs are made for.
    """
    trained = recipes(name, size)
    pairs, spec, rng = Pairs.open(folder), family(name).SPECS[size], np.random.default_rng(seed)
    if not len(pairs.training):
        raise BadInput(f"samples(): all pairs in {folder} are for validation; make pairs of more people: fetfast synth")
    rows = rng.choice(pairs.training, min(count, len(pairs.training)), replace=False)
    found: dict[str, Samples] = {}
    for recipe in trained:
        for stage in (spec.stage(stage) for stage in recipe.stages if not spec.stage(stage).precise):
            batches = [recipe.batch(pairs, row, spec.resolution, rng) for row in np.split(rows, len(rows))]
            if lacking := [t.name for t in stage.inputs if t.name not in batches[0]]:
                raise BadInput(f"samples(): stage {stage.name} reads {lacking[0]}, which pairs do not have and another "
                               "stage gives: it cannot be calibrated yet; build it in fp16")  # fmt: skip
            found[stage.name] = [{t.name: batch[t.name].numpy() for t in stage.inputs} for batch in batches]
    return found
