"""One step of a task: which networks its outputs need, in which order, and the tensors on their way.

`Wiring` is worked out once for each task of a plan: what is made of what. A `Step` makes tensors on demand: asked for
an output it runs the stage that gives it, for which it builds or runs what that stage takes, each once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fetfast.errors import BadPlan, Unavailable
from fetfast.face import Face, crop_matrix, to_crop
from fetfast.image import Frame
from fetfast.inputs import INPUTS, LABELS, SIDE, Tensor
from fetfast.ops.face_mesh import BROWS, EYES, IRISES, LIPS
from fetfast.ops.paste import composite
from fetfast.place import HOST, Device, Host
from fetfast.spec import REGIONS, TASKS, Output, Spec, Stage, TensorSpec

Array = NDArray[np.float32]
Tensors = dict[Any, Tensor]  # by name; pictures that are no stage's by name and side
Shape = tuple[int | str, ...]
Runners = Mapping[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]]
PERSONS = {"target": "target", "driver": "source"}  # where an output goes: how the names of that person's inputs begin
SOFTNESS = 0.03  # crop sides over which regions pass into each other: about a third of the way from brow to lid


@dataclass
class Target:
    """The face or faces that change: B of them in one frame, prepared once and used for every driver, in one place."""

    frame: Frame  # [H, W, 3]
    faces: list[Face]
    matrices: Array  # [B, 2, 3], crop points to frame points
    tensors: Tensors = field(default_factory=dict)  # those that depend on the target alone
    buffers: Tensors = field(default_factory=dict)  # reused by every step: nothing allocates after one

    @classmethod
    def prepare(cls, frame: Frame, faces: list[Face]) -> Target:
        return cls(frame, faces, np.stack([crop_matrix(face.landmarks) for face in faces]))

    @cached_property
    def points(self) -> Array:
        """[B, 478, 2] the landmarks, crop units."""
        points = [to_crop(face.landmarks[:, :2], M) for face, M in zip(self.faces, self.matrices, strict=True)]
        return np.stack(points).astype(np.float32)

    @cached_property
    def regions(self) -> Array:
        """[B, 4, 478] how much each landmark belongs to each of `REGIONS`; 1 in sum.

        The iris follows the gaze alone. Any other landmark goes with the brows, the lids or the lips, whichever is
        nearest, and softly between them, so that turning one region off leaves no crease.
        """
        points = self.points
        cores = {"brows": BROWS, "eyes": EYES, "mouth": LIPS}
        nearest = np.stack(
            [np.square(points[:, :, None] - points[:, None, list(core)]).sum(-1).min(-1) for core in cores.values()],
            axis=1,
        )  # [B, 3, 478] squared distance to each core
        weights = np.exp((nearest.min(1, keepdims=True) - nearest) / (2 * SOFTNESS**2))
        weights /= weights.sum(1, keepdims=True)
        regions = np.zeros((len(points), len(REGIONS), points.shape[1]), np.float32)
        for name, weight in zip(cores, weights.swapaxes(0, 1), strict=True):
            regions[:, REGIONS.index(name)] = weight
        regions[:, :, list(IRISES)] = 0
        regions[:, REGIONS.index("gaze"), list(IRISES)] = 1
        return regions


class Wiring:
    """How the tensors of one of a plan's tasks come about.

    Attributes: `spec`, `task` (name), `outputs`; `stages`, those that the task needs, in the order in which they run;
    `reads`, the inputs read off faces and frames that go to the place together; `codes` (name to shape), what the
    caller has to give.
    Raises BadPlan where it cannot be, and Unavailable where this version cannot build an input.
    """

    def __init__(self, spec: Spec, task: str) -> None:
        self.spec, self.task = spec, task
        self.outputs, self.bind = spec.tasks[task].outputs, spec.tasks[task].bind
        self.given = {tensor.name: stage for stage in spec.stages for tensor in stage.outputs}
        self.stages: list[Stage] = []
        self.codes: dict[str, tuple[int, ...]] = {}
        self._target_only: dict[str, bool] = {}
        self._code_names: set[str] = set()
        if "codes" in TASKS[task].takes and "encode" in spec.tasks:
            self._code_names = set(spec.tasks["encode"].outputs[0].tensors)
        for output in self.outputs:
            for role, name in output.tensors.items():
                self._visit(name, self._wanted(output, role), ())
        self.reads = frozenset(name for name in self._target_only if name in INPUTS and INPUTS[name].read)
        if any(output.to in ("target", "driver") for output in self.outputs):  # composited into that frame
            self.reads |= {f"{PERSONS[o.to]}_{what}" for o in self.outputs for what in ("frame", "placement", "grey")}

    def bound(self, name: str) -> str:
        """The name of what stands for a tensor in this task."""
        return self.bind.get(name, name)

    def of_target(self, name: str) -> bool:
        """Whether a tensor depends on the target alone."""
        return self._target_only[name] if name in self._target_only else INPUTS[name].target_only

    def _wanted(self, output: Output, role: str) -> Shape | None:
        """The shape that an output's tensor must have, as far as that is known."""
        if output.to == "labels":
            return (len(self.spec.labels),)
        channels = {"flow": 2, "light": 1, "mask": 1, "color": 3, "image": 3}
        return None if output.to == "codes" else (channels[role], SIDE, SIDE)

    def _visit(self, name: str, shape: Shape | None, path: tuple[str, ...]) -> None:
        name = self.bound(name)
        where = f"task {self.task}"
        if name in path:
            raise BadPlan(f"{where} goes in a circle: {' needs '.join((*path, name))}; build the plan again")
        if name in self._code_names:
            self.codes[name] = tuple(int(n) for n in shape or ())
            self._target_only[name] = False
            return
        stage = self.given.get(name)
        if stage is None and (name not in INPUTS or "tgt" not in TASKS[self.task].takes):
            raise Unavailable(f"{where} asks for an input that this version cannot build: {name}")
        known = INPUTS[name].shape if stage is None else next(t.shape for t in stage.outputs if t.name == name)
        if shape is not None and not self._fits(known, shape):
            raise BadPlan(f"{where}: {name} is {_text(known)}, expected {_text(shape)}; build the plan again")
        if name in self._target_only:
            return
        if stage is None:
            for part in INPUTS[name].made_of:
                self._visit(part, INPUTS[part].shape if part in INPUTS else None, (*path, name))
            self._target_only[name] = INPUTS[name].target_only
            return
        for tensor in stage.inputs:
            self._visit(tensor.name, tensor.shape, (*path, name))
        if stage not in self.stages:
            self.stages.append(stage)
        alone = all(self._target_only[self.bound(tensor.name)] for tensor in stage.inputs)
        self._target_only |= {tensor.name: alone for tensor in stage.outputs}

    def _fits(self, known: Shape, wanted: Shape) -> bool:
        """Whether two shapes are the same where one of them leaves the side open."""
        side = next((n for pair in zip(known, wanted, strict=False) if SIDE in pair for n in pair if n != SIDE), SIDE)
        sizes: dict[int | str, int | str] = {SIDE: side, LABELS: len(self.spec.labels)}
        return [sizes.get(n, n) for n in known] == [sizes.get(n, n) for n in wanted]


def _text(shape: Iterable[int | str]) -> str:
    return f"[{', '.join(map(str, shape))}]"


@dataclass
class Step:
    """One step: a driver's expression, or a label, on its way to a prepared target. `codes`: what the caller gives."""

    wiring: Wiring
    runners: Runners
    driver: Face | Sequence[Face] = ()  # one for all of the target's faces, or one for each
    driver_frame: Frame | None = None
    target: Target = field(default_factory=lambda: Target(np.zeros((1, 1, 3), np.uint8), [], np.zeros((0, 2, 3), "f4")))
    intensity: float = 1.0
    regions: tuple[str, ...] = REGIONS
    label: str | None = None
    place: Host | Device = HOST
    tensors: Tensors = field(default_factory=dict)

    @property
    def drivers(self) -> Sequence[Face]:
        """The driver of each of the target's faces."""
        return [self.driver] * len(self.target.faces) if isinstance(self.driver, Face) else self.driver

    @property
    def driver_matrices(self) -> list[Array]:
        """[2, 3] each, the drivers' crops: crop points to points of their frame."""
        return [crop_matrix(face.landmarks) for face in self.drivers]

    def need(self, name: str, side: int | None = None) -> Tensor:
        """The tensor f32 [B, ...] of that name: given by a stage or the caller, kept, or built now; a picture of the
        side given, in pixels."""
        name = self.wiring.bound(name)
        if name in self.tensors:
            return self.tensors[name]
        if stage := self.wiring.given.get(name):
            key = self._key(stage, name)
            if key not in self._kept(name):
                self.run(stage)
            return self._kept(name)[key]
        row, kept = INPUTS[name], self._kept(name)
        if row.read:
            if name not in kept:
                self._read(self.wiring.reads | {name})
            return kept[name]
        key = (name, side) if row.sized else name
        if key not in kept:
            kept[key] = row.make(self, side, *(self.need(part, side) for part in row.made_of))
        return kept[key]

    def inputs(self, stage: Stage) -> dict[str, Tensor]:
        """What a stage takes, by name."""
        return {tensor.name: self.need(tensor.name, _side(tensor)) for tensor in stage.inputs}

    def run(self, stage: Stage) -> dict[str, Tensor]:
        """Runs a stage and keeps what it gives: until the next step, or with the target where it depends on that
        alone."""
        made = self.runners[stage.name](self.inputs(stage))
        for name, tensor in made.items():
            kept = self._kept(name)
            kept[self._key(stage, name)] = tensor if kept is self.tensors else self.place.copy(tensor)
        return made

    def parts(self, output: Output) -> dict[str, Tensor]:
        """The tensors that an output is made of, by role. Good until the next step; on a GPU not waited for."""
        return {role: self.need(name, self.wiring.spec.resolution) for role, name in output.tensors.items()}

    def results(self) -> list[dict[str, Tensor]]:
        """What becomes of each output, where the step is done: `result`. Good until the next step; on a GPU not waited
        for."""
        return [self.result(output, self.parts(output)) for output in self.wiring.outputs]

    def result(self, output: Output, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        """A "frame" u8 [H, W, 3], if the output is composited into one; else its parts."""
        if output.to not in PERSONS:
            return parts
        if "image" in parts:
            mask = parts.get("mask", parts["image"][:, :1] * 0 + 1)
            parts = {"flow": parts["image"][:, :2] * 0, "mask": mask, "color": parts["image"]}
        person = PERSONS[output.to]
        if "color" in parts:
            parts = parts | {"color": self._in_kind(parts["color"], self.need(f"{person}_grey"))}
        frame, placement = self.need(f"{person}_frame"), self.need(f"{person}_placement")
        return {"frame": composite(frame, placement, parts, self.tensors.get(f"{person}_out"))}

    def _in_kind(self, color: Tensor, grey: Tensor) -> Tensor:
        """What is painted, black and white where the picture is."""
        if self.place is HOST and not grey.any():
            return color
        luma = 0.299 * color[:, :1] + 0.587 * color[:, 1:2] + 0.114 * color[:, 2:]
        return (1 - grey) * color + grey * luma

    def buffer(self, name: str, *shape: int) -> Tensor:
        """An f32 array [B, *shape] that the next step will use again."""
        buffers = self.target.buffers
        if (name, shape) not in buffers:
            buffers[name, shape] = self.place.empty(len(self.target.matrices), *shape)
        return buffers[name, shape]

    def frame(self, name: str) -> Tensor:
        """A frame u8 [H, W, 3] at the place: brought there alone."""
        kept = self._kept(name)
        if name not in kept:
            kept |= self.place.upload({name: INPUTS[name].make(self)})
        return kept[name]

    def _key(self, stage: Stage, name: str) -> Any:
        """Where a stage's output is kept: a target may serve several tasks, in which stages take other tensors."""
        return (self.wiring.task, name) if self.wiring.of_target(name) else name

    def _kept(self, name: str) -> Tensors:
        return self.target.tensors if self.wiring.of_target(name) else self.tensors

    def _read(self, names: Iterable[str]) -> None:
        for kept, of_target in ((self.target.tensors, True), (self.tensors, False)):
            new = sorted(name for name in names if INPUTS[name].target_only is of_target and name not in kept)
            if new:
                kept |= self.place.upload({name: INPUTS[name].make(self) for name in new})


def _side(tensor: TensorSpec) -> int | None:
    return tensor.shape[-1] if len(tensor.shape) == 3 else None
