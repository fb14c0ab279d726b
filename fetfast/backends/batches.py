"""A runner for any batch from a stage's work captured at a few batch sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fetfast.backends.gpu import Memory
from fetfast.spec import Stage

if TYPE_CHECKING:
    from fetfast.backends import Runner

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Captured:
    """A stage's work at one batch size: fill `host`, launch, wait, read `host`."""

    host: Arrays
    launch: Callable[[], None]
    holds: tuple[Any, ...]  # what the graph works on lives as long as it


def runner(capture: Callable[[int], Captured], stage: Stage, space: Memory, sizes: tuple[int, ...]) -> Runner:
    """Runs a batch in parts of the greatest of `sizes`, each in the smallest that holds it.

    The least is captured now, others when they are first needed.
    """
    ready = {sizes[0]: capture(sizes[0])}
    most = sizes[-1]
    outputs = {tensor.name: np.empty((0, *tensor.shape), np.float32) for tensor in stage.outputs}

    def run(inputs: Arrays) -> Arrays:
        nonlocal outputs
        total = len(inputs[stage.inputs[0].name])
        if total > most and total != len(outputs[stage.outputs[0].name]):
            outputs = {t.name: np.empty((total, *t.shape), np.float32) for t in stage.outputs}
        for start in range(0, total, most):
            count = min(most, total - start)
            size = next(batch for batch in sizes if batch >= count)
            with space.here():
                if size not in ready:
                    ready[size] = capture(size)
                host = ready[size].host
                for tensor in stage.inputs:
                    host[tensor.name][:count] = inputs[tensor.name][start : start + count]
                ready[size].launch()
                space.wait()
            if total <= most:
                return {t.name: host[t.name][:count] for t in stage.outputs}
            for tensor in stage.outputs:
                outputs[tensor.name][start : start + count] = host[tensor.name][:count]
        return outputs if total else {name: array[:0] for name, array in outputs.items()}

    return run
