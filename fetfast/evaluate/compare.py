"""Figures as lines for a person: of one plan, and of two side by side."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fetfast.errors import BadInput
from fetfast.evaluate.figures import difference, estimate
from fetfast.files import written


def table(figures: dict[str, Any]) -> str:
    """A line for each figure: value and 95 % interval of each method."""
    lines = [f"{figures['plan']} on {figures['backend']}; [95 % intervals over people]"]
    for protocol, found in figures["figures"].items():
        methods = list(dict.fromkeys(method for row in found.values() for method in row))
        who = {person for people in figures["sums"][protocol].values() for person in people}
        lines.append(f"\n{protocol + f' ({len(who)})':<38}" + "".join(f"{method:>22}" for method in methods))
        for figure, row in found.items():
            cells = [cell(row.get(method)) for method in methods]
            lines.append(f"  {figure:<36}" + "".join(f"{cell:>22}" for cell in cells))
    if figures["without_face"]:
        lines.append(f"left out, no face found: {', '.join(figures['without_face'])}")
    return "\n".join(lines)


def cell(value: list[float] | None) -> str:
    """A figure and its interval; one of one person alone has none."""
    if value is None:
        return "—"
    digits = 1 if abs(value[0]) >= 10 else 2
    figure, low, high = (f"{round(v, digits) + 0.0:.{digits}f}" for v in value)  # no minus before 0.00
    return figure if value[1] == value[2] else f"{figure} [{low}, {high}]"


def write(path: Path, figures: dict[str, Any]) -> None:
    """Figures as JSON, a line for each value with its interval. Raises BadInput where it cannot be written."""
    lists = re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), json.dumps(figures, indent=1))
    with written(path) as file:
        file.write_text(lists + "\n")


def read(path: Path) -> dict[str, Any]:
    """Figures that `fetfast evaluate --json` wrote. Raises BadInput."""
    try:
        figures = json.loads(path.read_text())
        if isinstance(figures["sums"], dict) and isinstance(figures["plan"], str):
            return dict(figures)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise BadInput(f"{path} is no file of figures; fetfast evaluate PLAN --json FILE writes one")


def compare(a: dict[str, Any], b: dict[str, Any]) -> str:
    """Each figure of two plans, and b less a over the people that both have, paired; a star where its interval holds no
    0. Raises BadInput where the two have no protocol in common."""
    lines = []
    for protocol in a["sums"]:
        found = b["sums"].get(protocol, {})
        for figure, one in a["sums"][protocol].items():
            two = found.get(figure, {})
            if change := difference(one, two):
                star = " *" if change[1] > 0 or change[2] < 0 else ""
                cells = [cell(estimate(one)), cell(estimate(two)), cell(change) + star]
                lines.append(f"  {f'{protocol}: {figure}':<46}" + "".join(f"{text:>24}" for text in cells))
    if not lines:
        raise BadInput(
            f"compare(): {a['plan']} and {b['plan']} have no figure in common; run the same protocols for both"
        )
    names = (a["plan"], b["plan"], "difference, paired")
    return "\n".join([" " * 48 + "".join(f"{name:>24}" for name in names), *lines, "* its 95 % interval holds no 0"])
