"""The figures of `stream_step` as a picture: the step's stages stacked, and a roofline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fetfast.files import written


def draw(figures: dict[str, Any], file: Path) -> None:
    """Writes `file`, .svg or .png. Needs matplotlib."""
    with canvas((11, 4.2), file) as figure:
        stages, roof = figure.subplots(1, 2)
        colors = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(row["case"] for row in figures["rows"]))}
        _stack(stages, figures, colors)
        _roofline(roof, figures, colors)
        device = figures["machine"]["device"]
        figure.suptitle(f"{figures['plan']} on {figures['backend']}, {device}, {figures['machine']['threads']} threads")


@contextmanager
def canvas(inches: tuple[float, float], file: Path) -> Iterator[Any]:
    """A figure that is written to `file` at the end; the same figure gives the same file."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    salt: Any = {"svg.hashsalt": "fetfast"}
    with rc_context(salt):
        figure = Figure(figsize=inches, layout="constrained")
        yield figure
        with written(file) as aside:
            figure.savefig(aside, metadata={"Date": None} if file.suffix == ".svg" else None)


def _stack(axes: Any, figures: dict[str, Any], colors: dict[str, str]) -> None:
    """One bar for the step, its stages on top of each other, their floors beside them; the same with PyTorch's
    networks, where they were timed."""
    ours = [row for row in figures["rows"] if row["way"] == figures["backend"]]
    theirs = {row["case"]: row["median_ms"] for row in figures["rows"] if row["way"] != figures["backend"]}
    bars = {
        figures["backend"]: [row["median_ms"] for row in ours[:-1]],
        "floor": [row["floor_ms"] for row in ours[:-1]],
    }
    if theirs:
        bars["eager networks"] = [theirs.get(row["case"], row["median_ms"]) for row in ours[:-1]]
    below = np.zeros(len(bars))
    for row, heights in zip(ours[:-1], zip(*bars.values(), strict=True), strict=True):
        axes.bar(list(bars), heights, 0.6, below, label=row["case"], color=colors[row["case"]])
        below += heights
    axes.set_ylabel("ms a step")
    axes.legend(reverse=True, fontsize="small")
    axes.set_title("where the time goes")


def _roofline(axes: Any, figures: dict[str, Any], colors: dict[str, str]) -> None:
    """Operations a byte against the rate achieved, under the two ceilings: copy, and matrix product by arithmetic."""
    points = [row for row in figures["rows"] if row.get("operations")]
    intensities = np.array([row["operations"] / row["bytes"] for row in points])
    span = np.geomspace(intensities.min() / 4, intensities.max() * 4, 50)
    copies = {name: rate for name, rate in figures["ceilings"].items() if name.endswith("copy")}
    for name, rate in figures["ceilings"].items():
        if name not in copies:
            bound = np.minimum(rate, span * copies[f"{name.split()[0]} copy"])
            axes.plot(span, bound, color="0.6", linewidth=1)
            axes.annotate(f"{name}, {rate:.0f}", (span[-1], rate), ha="right", va="bottom", fontsize="small")
    for row, x in zip(points, intensities, strict=True):
        y = row["operations"] / row["median_ms"] / 1e6
        axes.plot([x], [y], "o", color=colors[row["case"]])
        axes.annotate(row["case"], (x, y), xytext=(0, -12), textcoords="offset points", ha="center", fontsize="small")
    axes.margins(y=0.15)
    axes.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="Gop/s", title="roofline")
