"""What a training run shows of itself: a log, its curves, and a sheet of pictures."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import torch
from torch import Tensor

from fetfast.files import written
from fetfast.ops.crop import to_picture


def write_log(log: list[dict[str, float]], file: Path) -> None:
    with written(file) as aside, aside.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(dict.fromkeys(name for row in log for name in row)))
        writer.writeheader()
        writer.writerows(log)


def draw_curves(log: list[dict[str, float]], terms: list[str], figures: list[str], file: Path) -> None:
    """Loss terms above, figures of validation pairs below, over the minutes."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(9, 8), layout="constrained")
    for axes, names, scale in zip(drawing.subplots(2), (terms, figures), ("log", "linear"), strict=True):
        for name in names:
            axes.plot([row["seconds"] / 60 for row in log], [row.get(name, math.nan) for row in log], label=name)
        axes.set_yscale(scale)
        axes.set_xlabel("minutes")
        axes.legend(fontsize="x-small", ncols=3)
    with written(file) as aside:
        drawing.savefig(aside)


def draw_sheet(pictures: dict[str, Tensor], file: Path) -> None:
    """One row a pair, one column a picture, in the order of the names."""
    from PIL import Image

    columns = [torch.cat(tuple(p), 1) for p in pictures.values()]
    with written(file) as aside:
        Image.fromarray(to_picture(torch.cat(columns, 2).float().cpu().numpy())).save(aside)
