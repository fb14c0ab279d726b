"""How families are trained: a file of recipes for each, which says

    RECIPES: size row -> its recipes, in the order in which they are trained

and is named in the family's row of `fetfast.models.FAMILIES`; or the family's own file says it.
"""

from __future__ import annotations

from importlib import import_module

from fetfast.errors import BadInput
from fetfast.models import FAMILIES
from fetfast.train.recipe import Recipe


def recipes(family: str, size: str) -> tuple[Recipe, ...]:
    """The recipes of a family's size row. Raises BadInput where there are none."""
    rows = _rows(family) if family in FAMILIES else {}
    if size not in rows:
        known = ", ".join(f"{name} {row}" for name in FAMILIES for row in _rows(name))
        raise BadInput(f"no recipe trains {family} {size}, expected one of {known}")
    return rows[size]


def _rows(family: str) -> dict[str, tuple[Recipe, ...]]:
    row = FAMILIES[family]
    return getattr(import_module(row.recipes or row.models), "RECIPES", {})
