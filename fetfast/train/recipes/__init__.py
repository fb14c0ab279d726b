"""How each family is trained: a file of recipes, and a row of this table, for each.

A family's file says RECIPES: size row -> its recipes, in the order in which they are trained.
"""

from __future__ import annotations

from importlib import import_module

from fetfast.errors import BadInput
from fetfast.train.recipe import Recipe

MODULES = {"unet": "fetfast.train.recipes.unet"}


def recipes(family: str, size: str) -> tuple[Recipe, ...]:
    """The recipes of a family's size row. Raises BadInput where there are none."""
    rows = _rows(family) if family in MODULES else {}
    if size not in rows:
        known = ", ".join(f"{name} {row}" for name in MODULES for row in _rows(name))
        raise BadInput(f"no recipe trains {family} {size}, expected one of {known}")
    return rows[size]


def _rows(family: str) -> dict[str, tuple[Recipe, ...]]:
    rows: dict[str, tuple[Recipe, ...]] = import_module(MODULES[family]).RECIPES
    return rows
