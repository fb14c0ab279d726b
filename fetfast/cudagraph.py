"""A step on a GPU as one CUDA graph: from what was read off faces to the composited frame, launched in one call.

A `Graph` serves one task, for so many faces. All that it reads lies in one `Block`, which a step fills in one copy up:
points, amounts, placements, and where the frames are; so a graph does not care whose frame it is, nor of what size.
What depends on the target alone is a graph of its own, launched when another target comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from fetfast.backends.gpu import CAPTURING, TorchMemory
from fetfast.errors import Unavailable
from fetfast.inputs import FRAME, INPUTS, LABELS
from fetfast.ops.frame_gpu import words
from fetfast.place import Device, room, views
from fetfast.step import PERSONS, Runners, Step, Target, Tensors, Wiring

if TYPE_CHECKING:
    from torch import Tensor

MOST = 16  # faces: more than that run as they are, without a graph
TURNS = 2  # frames that are written in turns where there are several faces


class Block:
    """Arrays side by side in device memory: `host` is filled, `load` brings all of it to `there` in one copy."""

    def __init__(self, place: Device, arrays: dict[str, np.ndarray]) -> None:
        self.torch = place.torch
        size = sum(map(room, arrays.values()))
        self.staged = self.torch.zeros(size, dtype=self.torch.uint8, device="cpu")
        self.block = self.torch.zeros(size, dtype=self.torch.uint8, device=place.device)
        self.host = {name: view.numpy() for name, view in zip(arrays, views(self.staged, arrays), strict=True)}
        self.there = dict(zip(arrays, views(self.block, arrays), strict=True))

    def load(self) -> None:
        """On the current stream, after what was launched there; the caller does not wait."""
        pinned = self.torch.empty(len(self.staged), dtype=self.torch.uint8, device="cpu", pin_memory=True)
        pinned.copy_(self.staged)
        self.block.copy_(pinned, non_blocking=True)


class Graph:
    """A task's step for so many faces. given: shapes of the tensors that a caller gives, by name."""

    def __init__(
        self, place: Device, wiring: Wiring, runners: Runners, faces: int, given: Mapping[str, tuple[int, ...]]
    ) -> None:
        self.place, self.wiring, self.faces = place, wiring, faces
        self.networks = {name: getattr(runner, "work", runner) for name, runner in runners.items()}
        self.target: Target | None = None
        arrays = {name: self._array(name) for name in sorted(wiring.reads)}
        self.frames = {name for name in arrays if FRAME in INPUTS[name].shape}
        self.outs = {f"{PERSONS[o.to]}_out": f"{PERSONS[o.to]}_frame" for o in wiring.outputs if o.to in PERSONS}
        arrays |= {name: np.zeros((TURNS, 6), np.int64) for name in self.outs}
        space = TorchMemory(place.device.index or 0)
        with space.here():
            self.block = Block(place, arrays)
            self.given = {name: place.empty(*shape) for name, shape in given.items()}
            nowhere = [place.torch.zeros(8, 8, 3, dtype=place.torch.uint8, device=place.device) for _ in range(3)]
            for name in (*self.frames, *self.outs):  # frames to be read, and written, by the first run
                self.block.host[name][...] = [words(f) for f in nowhere][1:] if name in self.outs else words(nowhere[0])
            self.block.load()
            first = self._static({})
            first.results()  # compiles, and brings constants there, which a capture forbids
            space.wait()
            drawn = [key for key in first.target.tensors if key not in wiring.reads]
            self.of_target = self._static({})
            self.prepare = space.capture(lambda: self._draw(drawn)) if drawn else lambda: None
            self.last = self._static(self.of_target.target.tensors)
            self.results: list[dict[str, Tensor]] = []
            self.launch = space.capture(lambda: self.results.extend(self.last.results()))
            space.wait()

    def _array(self, name: str) -> np.ndarray:
        """What is read, as the block has it: frames by where they are."""
        shape = INPUTS[name].shape
        if FRAME in shape:
            return np.zeros(6, np.int64)
        labels = len(self.wiring.spec.labels)
        return np.zeros((self.faces, *(labels if n == LABELS else int(n) for n in shape)), np.float32)

    def _static(self, of_target: Tensors) -> Step:
        """A step on the block's memory, which has these tensors of the target's already."""
        reads = {name: view for name, view in self.block.there.items() if name in self.wiring.reads}
        alone = {name: view for name, view in reads.items() if INPUTS[name].target_only}
        others = {name: view for name, view in self.block.there.items() if name not in alone}
        matrices = np.zeros((self.faces, 2, 3), np.float32)
        target = Target(np.zeros((1, 1, 3), np.uint8), [], matrices, alone | of_target)
        return Step(self.wiring, self.networks, target=target, place=self.place, tensors=others | self.given)

    def _draw(self, keys: list[Any]) -> None:
        for key in keys:  # a name; or a picture's name and side; or a task and the name of what a stage gives
            if isinstance(key, str):
                self.of_target.need(key)
            elif key[0] == self.wiring.task:
                self.of_target.need(key[1])
            else:
                self.of_target.need(*key)

    def run(self, step: Step) -> list[dict[str, Tensor]]:
        """The step's results, on the current stream. What is no frame is good until the next step."""
        host, new = self.block.host, self.target is not step.target
        for name in self.wiring.reads:
            if name in self.frames:
                host[name][:] = words(step.frame(name))
            elif new or not INPUTS[name].target_only:
                host[name][...] = INPUTS[name].make(step)
        frames = {}
        for out, name in self.outs.items():
            frames[out] = [self.place.torch.empty_like(step.frame(name)) for _ in range(min(self.faces, TURNS))]
            host[out][...] = [words(frames[out][i % len(frames[out])]) for i in range(TURNS)]
        self.block.load()
        for name, tensor in self.given.items():
            tensor.copy_(step.tensors[name])
        if new:
            self.prepare()
            self.target = step.target
        self.launch()
        outs = iter(frames.values())
        return [{"frame": next(outs)[(self.faces - 1) % TURNS]} if "frame" in made else made for made in self.results]


@dataclass
class Graphs:
    """The graphs of an engine, captured when they are first asked for."""

    place: Device
    runners: Runners
    made: dict[Any, Graph] = field(default_factory=dict)
    capturing: Lock = field(default_factory=Lock)

    def run(self, step: Step) -> list[dict[str, Tensor]]:
        faces = len(step.target.matrices)
        given = {name: tuple(tensor.shape) for name, tensor in step.tensors.items()}
        if not faces and given:
            faces = next(iter(given.values()))[0]
        if not 0 < faces <= MOST:
            return step.results()
        return self.graph(step.wiring, faces, given).run(step)

    def graph(self, wiring: Wiring, faces: int, given: Mapping[str, tuple[int, ...]] = {}) -> Graph:
        """The graph of a task for so many faces. Raises Unavailable."""
        key = wiring.task, faces, *sorted(given.items())
        if key not in self.made:
            with self.capturing:
                if key not in self.made:
                    self.made[key] = self._captured(wiring, faces, given)
        return self.made[key]

    def _captured(self, wiring: Wiring, faces: int, given: Mapping[str, tuple[int, ...]]) -> Graph:
        torch = self.place.torch
        try:
            return Graph(self.place, wiring, self.runners, faces, given)
        except torch.OutOfMemoryError as error:
            with CAPTURING:  # PyTorch forbids the one during the other
                torch.cuda.empty_cache()
            raise Unavailable(f"no memory left on {self.place.device} for {faces} faces; take fewer at once") from error

    def warm(self, wiring: Wiring, faces: int) -> Thread:
        """Captures in the background, so that nothing stops when another face comes."""
        thread = Thread(target=self.graph, args=(wiring, faces), name=f"warm-{faces}", daemon=True)
        thread.start()
        return thread
