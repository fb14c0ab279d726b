"""Plots of results files, for docs/images/. The same figures give the same file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fetfast.bench import plot as stream

File = dict[str, Any]  # a results file; "name" is the file's


def draw(results: dict[str, list[File]], folder: Path) -> list[Path]:
    """Every plot that there are figures for. Needs matplotlib."""
    drawn = []
    folder.mkdir(parents=True, exist_ok=True)
    for files in results.values():
        for file in files:
            if drawable(file):
                drawn.append(folder / f"{file['name']}.svg")
                PLOTS[file["suite"]](file, drawn[-1])
    return drawn


def drawable(file: File) -> bool:
    """Whether there is something to draw: a stream without floors has no roofline."""
    return file["suite"] in PLOTS and bool(file.get("ceilings", True))


def network(file: File, out: Path) -> None:
    """How many times faster than the base each way is: a group of bars for each case."""
    rows = [row for row in file["rows"] if "ratio" in row]
    cases, ways = (list(dict.fromkeys(row[key] for row in rows)) for key in ("case", "way"))
    ratios = {(row["case"], row["way"]): row["ratio"] for row in rows}
    with stream.canvas((11, 1.2 + 0.16 * len(rows)), out) as figure:
        axes = figure.subplots()
        thick = 0.85 / len(ways)
        for i, way in enumerate(ways):
            at = [k + i * thick for k, case in enumerate(cases) if (case, way) in ratios]
            axes.barh(at, [ratios[case, way] for case in cases if (case, way) in ratios], thick, label=way)
        axes.set_yticks([k + 0.4 for k in range(len(cases))], cases)
        axes.invert_yaxis()
        axes.axvline(1, color="0.3", linewidth=1)
        axes.set_xlabel("times faster than eager PyTorch fp32, channels-last")
        axes.legend(fontsize="small", loc="lower right")


def scaling(file: File, out: Path) -> None:
    """Time against each axis: a line for each case."""
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in file["rows"]:
        axis, _, what = row["case"].partition(": ")
        panels.setdefault(axis, {}).setdefault(what, []).append((row["size"], row["median_ms"]))
    high = -(-len(panels) // 3)
    with stream.canvas((12, 3.6 * high), out) as figure:
        for axes, (axis, lines) in zip(figure.subplots(high, 3, squeeze=False).flat, panels.items(), strict=False):
            for what, points in lines.items():
                x, y = zip(*sorted(points), strict=True)
                axes.plot(x, y, "o-", label=what)
            axes.set(xscale="log", yscale="log", xlabel=axis, ylabel="ms")
            sizes = sorted({size for points in lines.values() for size, _ in points})
            axes.set_xticks(sizes, map(str, sizes))
            axes.minorticks_off()
            axes.legend(fontsize="x-small")
        for axes in figure.axes[len(panels) :]:
            axes.set_axis_off()


PLOTS: dict[str, Callable[[File, Path], None]] = {"network": network, "scaling": scaling, "stream": stream.draw}
