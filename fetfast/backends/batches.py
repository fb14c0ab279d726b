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

Arrays = dict[str, Any]  # NumPy's, or tensors on the GPU


@dataclass(frozen=True)
class Captured:
    """A stage's work at one batch size: fill the inputs in `device`, launch, read the outputs there."""

    device: Arrays
    launch: Callable[[], None]
    holds: tuple[Any, ...]  # what the graph works on lives as long as it


@dataclass(frozen=True)
class Graphed:
    """A runner that launches graphs. work: the same on tensors of any batch, launch by launch, on PyTorch's current
    stream, so that it can be part of a larger graph: once a first call has compiled it."""

    run: Runner
    work: Runner

    def __call__(self, inputs: Arrays) -> Arrays:
        return self.run(inputs)


def runner(
    capture: Callable[[int], Captured], stage: Stage, space: Memory, sizes: tuple[int, ...], now: bool = False
) -> Runner:
    """Runs a batch in parts of the greatest of `sizes`, each in the smallest that holds it.

    Tensors are taken and given on PyTorch's current stream, and nothing is waited for. NumPy arrays go up, through the
    same graph and down again on the stream of `space`, through memory that is pinned when they are first seen.
    A size is captured when it is first needed, the least one `now` if so asked.
    """
    ready: dict[int, Captured] = {}
    pinned: dict[int, Arrays] = {}
    most = sizes[-1]

    def captured(size: int) -> Captured:
        if size not in ready:
            with space.here():
                ready[size] = capture(size)
        return ready[size]

    def on_device(inputs: Arrays, count: int) -> Arrays:
        work = captured(next(size for size in sizes if size >= count))
        for tensor in stage.inputs:
            work.device[tensor.name][:count].copy_(inputs[tensor.name])
        work.launch()
        return {tensor.name: work.device[tensor.name][:count] for tensor in stage.outputs}

    def from_host(inputs: Arrays, count: int) -> Arrays:
        size = next(size for size in sizes if size >= count)
        work = captured(size)
        with space.here():
            if size not in pinned:
                shapes = {tensor.name: (size, *tensor.shape) for tensor in (*stage.inputs, *stage.outputs)}
                pinned[size] = {name: space.pinned(shape) for name, shape in shapes.items()}
            host = pinned[size]
            for tensor in stage.inputs:
                host[tensor.name][:count] = inputs[tensor.name]
                space.copy_in(work.device[tensor.name], host[tensor.name])
            work.launch()
            for tensor in stage.outputs:
                space.copy_out(host[tensor.name], work.device[tensor.name])
            space.wait()
        return {tensor.name: host[tensor.name][:count] for tensor in stage.outputs}

    def run(inputs: Arrays) -> Arrays:
        first = inputs[stage.inputs[0].name]
        part = from_host if isinstance(first, np.ndarray) else on_device
        total = len(first)
        if 0 < total <= most:
            return part(inputs, total)
        outputs = _like(first, stage, total)
        for start in range(0, total, most):
            end = min(start + most, total)
            results = part({tensor.name: inputs[tensor.name][start:end] for tensor in stage.inputs}, end - start)
            for tensor in stage.outputs:
                outputs[tensor.name][start:end] = results[tensor.name]
        return outputs

    if now:
        captured(sizes[0])
    return run


def _like(array: Any, stage: Stage, total: int) -> Arrays:
    """New outputs of a stage, of the array's kind."""
    if isinstance(array, np.ndarray):
        return {tensor.name: np.empty((total, *tensor.shape), np.float32) for tensor in stage.outputs}
    return {tensor.name: array.new_empty((total, *tensor.shape)) for tensor in stage.outputs}
