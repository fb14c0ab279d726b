"""What the suites of whole frames share: pictures of one face, and engines beside plain PyTorch.

The face is scikit-image's astronaut; `fetfast.bench` has the stream's frames of her.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from PIL import Image

from fetfast import assets, backends, image
from fetfast.engine import Engine
from fetfast.image import Frame
from fetfast.plan import SHIPPED, Plan

SOURCE = Path(__file__).parents[1] / "demo" / "surprise.png"  # a render: an expression far from the target's own
BASE, EAGER = "eager fp32", "eager bf16"
CLOSE_UP = np.s_[:256, 100:356]  # of the astronaut: her face is a third of its width
DTYPES = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}

Call = Callable[[], Any]


def tiled(side: int, rows: int = 1, columns: int = 1) -> Frame:
    """The close-up, scaled to `side`, rows x columns times."""
    close_up = image.load(assets.path("astronaut.png"))[CLOSE_UP]
    return np.tile(np.asarray(Image.fromarray(close_up).resize((side, side))), (rows, columns, 1))


def at(plan: Plan, precision: str) -> Plan:
    """`plan` with its halves in another precision, for plain PyTorch: the graphs still say the old one."""
    dtype = DTYPES[precision]
    weights = {name: w if w.dtype == np.float32 else w.astype(dtype) for name, w in plan.weights.items()}
    return replace(plan, precision=precision, weights=weights, path=None)


class Way(NamedTuple):
    """A plan's file on a backend; plain PyTorch may have its weights in another precision than the file's."""

    path: str
    precision: str
    backend: str

    def engine(self) -> Engine:
        plan = Plan.open(self.path)
        return Engine(plan if plan.precision == self.precision else at(plan, self.precision), self.backend)


@dataclass(frozen=True)
class Family:
    """A family that ships, and the ways to run its plans; those that cannot run here say why."""

    name: str  # family and size
    ways: dict[str, Way]  # name -> way: BASE first
    skipped: dict[str, str]  # name -> reason


def shipped() -> list[Family]:
    """Each family that ships: plain PyTorch in f32 and, where the plan is of halves, in bf16; and on every other
    backend each of its plans."""
    plans = [Plan.open(path) for path in sorted(SHIPPED.glob("*.plan"))]
    found = []
    for plan in (plan for plan in plans if plan.precision in DTYPES):
        ways, skipped = {BASE: Way(str(plan.path), "fp32", "eager")}, {}
        if plan.precision != "fp32":
            ways[EAGER] = Way(str(plan.path), "bf16", "eager")
        for one in (one for one in plans if one.spec == plan.spec):
            for backend, reason in backends.examine(one).items():
                name = f"{backend} {one.precision}"
                if backend != "eager" and reason:
                    skipped[name] = reason
                elif backend != "eager":
                    ways[name] = Way(str(one.path), one.precision, backend)
        found.append(Family(f"{plan.spec.family} {plan.spec.size}", ways, skipped))
    return found
