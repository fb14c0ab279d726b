"""The plans that ship, and the ways to run them: on each backend, and on plain PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from fetfast import backends
from fetfast.bench import FLOATS, at
from fetfast.engine import Engine
from fetfast.plan import SHIPPED, Plan

BASE, EAGER = "eager fp32", "eager bf16"


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
    for plan in (plan for plan in plans if plan.precision in FLOATS):
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
