"""The families: one file and one row of this table each.

A family's file says what its networks are, and nothing of how or where they run:

    SPECS: dict[str, Spec]          a row per size: "paper" (the published scale) and "small" (what ships)
    build(spec) -> dict[str, Module]    stage name -> its network, with f32 parameters

Each module's `forward` takes the stage's inputs as keyword arguments and returns a dict of its outputs, f32 [B, ...],
named as in the spec. It uses standard operators only, so that the export sees no operator of ours; what has to live
in f32 at any precision (norms, the flow's head) are layers from `models/layers.py` or casts inside `forward`.
What is no parameter but belongs to the weights is a persistent buffer.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from fetfast.errors import BadInput


@dataclass(frozen=True)
class Family:
    """Modules by their import paths: of the networks, and of how they are trained (None: they are not, or there)."""

    models: str
    recipes: str | None = None


FAMILIES = {
    "flow": Family("fetfast.models.flow"),
    "unet": Family("fetfast.models.unet", "fetfast.train.recipes.unet"),
}


def family(name: str) -> ModuleType:
    """The module of the family called `name`. Imports torch."""
    if name not in FAMILIES:
        raise BadInput(f"family(): got {name!r}, expected one of {', '.join(FAMILIES)}")
    return import_module(FAMILIES[name].models)
