"""The networks' inputs, built by name: a stage asks for `driven_map`, and the builder of that name makes it.

Two tables. `READ`: what is read off faces and frames on the processor; a step brings all of it that its plan needs to
where the networks run (`place.py`) in one piece. `DRAWN`: what is computed there; a builder's parameters name what it
is made of. Tensors are made once, in whatever order the stages need them. What depends on the target alone, by its
name, is kept in the `Target`; the rest is made anew for every source.
To give the families a new input, write its function here: the function's name is the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from functools import cache, cached_property
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fetfast.errors import BadInput
from fetfast.face import Face, crop_matrix, to_crop
from fetfast.face.gaze import conjugate
from fetfast.image import Frame
from fetfast.ops.crop import crop
from fetfast.ops.heatmap import contours
from fetfast.ops.teeth import teeth_map
from fetfast.ops.topology import BROWS, EYES, IRISES, LIPS
from fetfast.place import HOST, Device, Host
from fetfast.spec import REGIONS

Array = NDArray[np.float32]
Tensor = Any  # an array, or a tensor on a GPU: as the scene's place has them


@dataclass
class Target:
    """The face or faces that change: B of them in one frame, prepared once and used for every source, in one place."""

    frame: Frame  # [H, W, 3]
    faces: list[Face]
    matrices: Array  # [B, 2, 3], crop points to frame points
    resolution: int
    tensors: dict[str, Tensor] = field(default_factory=dict)  # those that depend on the target alone
    buffers: dict[str, Tensor] = field(default_factory=dict)  # reused by every step: nothing allocates after the first

    @classmethod
    def prepare(cls, frame: Frame, faces: list[Face], resolution: int) -> Target:
        return cls(frame, faces, np.stack([crop_matrix(face.landmarks) for face in faces]), resolution)

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
        softness = 0.03  # crop sides: about a third of the way from brow to lid
        weights = np.exp((nearest.min(1, keepdims=True) - nearest) / (2 * softness**2))
        weights /= weights.sum(1, keepdims=True)
        regions = np.zeros((len(points), len(REGIONS), points.shape[1]), np.float32)
        for name, weight in zip(cores, weights.swapaxes(0, 1), strict=True):
            regions[:, REGIONS.index(name)] = weight
        regions[:, :, list(IRISES)] = 0
        regions[:, REGIONS.index("gaze"), list(IRISES)] = 1
        return regions


@dataclass
class Scene:
    """One step: a source's expression on its way to a prepared target."""

    source: Face | Sequence[Face]  # one for all of the target's faces, or one for each
    source_frame: Frame | None
    target: Target
    intensity: float
    regions: tuple[str, ...]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    place: Host | Device = HOST
    reads: frozenset[str] = frozenset()  # names of READ that go to the place together

    @property
    def sources(self) -> Sequence[Face]:
        """The source of each of the target's faces."""
        return [self.source] * len(self.target.faces) if isinstance(self.source, Face) else self.source

    def need(self, name: str) -> Tensor:
        """The tensor f32 [B, ...] of that name: given by a stage, kept, or built now."""
        for known in (self.tensors, self.target.tensors):
            if name in known:
                return known[name]
        if name in READ:
            self._read(self.reads | {name})
            return self.need(name)
        kept = self.target.tensors if _of_target(name) else self.tensors
        kept[name] = DRAWN[name](self, *map(self.need, made_of(name)))
        return kept[name]

    def _read(self, names: Iterable[str]) -> None:
        for kept, of_target in ((self.target.tensors, True), (self.tensors, False)):
            new = sorted(name for name in names if _of_target(name) is of_target and name not in kept)
            if new:
                kept |= self.place.upload({name: READ[name](self) for name in new})

    def buffer(self, name: str, *shape: int) -> Tensor:
        """An f32 array [B, *shape] that the next step will use again."""
        buffers = self.target.buffers
        if name not in buffers:
            buffers[name] = self.place.empty(len(self.target.faces), *shape)
        return buffers[name]


# ---- Read off faces and frames


def target_frame(scene: Scene) -> Frame:
    """u8 [H, W, 3]"""
    return scene.target.frame


def target_points(scene: Scene) -> Array:
    """[B, 478, 2] the target's landmarks, crop units."""
    return scene.target.points


def target_blendshapes(scene: Scene) -> Array:
    """[B, 52] the target's own expression, 0 ... 1, its eyes looking the same way."""
    return conjugate(np.stack([face.blendshapes for face in scene.target.faces]))


def target_regions(scene: Scene) -> Array:
    """[B, 4, 478] how much each of the target's landmarks belongs to each of `REGIONS`; 1 in sum."""
    return scene.target.regions


def source_frame(scene: Scene) -> Frame:
    """u8 [H, W, 3]"""
    if scene.source_frame is None:
        raise BadInput("this plan looks at the source's picture; give an image instead of a Face")
    return scene.source_frame


def source_points(scene: Scene) -> Array:
    """[B, 478, 2] the source's landmarks, in units of its own crop."""
    landmarks = [face.landmarks for face in scene.sources]
    return np.stack([to_crop(points[:, :2], crop_matrix(points)) for points in landmarks]).astype(np.float32)


def source_blendshapes(scene: Scene) -> Array:
    """[B, 52] the source's expression, 0 ... 1, its eyes looking the same way."""
    return conjugate(np.stack([face.blendshapes for face in scene.sources]))


def driven_amount(scene: Scene) -> Array:
    """[B, 478, 1] how far each landmark goes with the source: the intensity, in the chosen regions."""
    chosen = [REGIONS.index(region) for region in scene.regions]
    return scene.intensity * scene.target.regions[:, chosen].sum(1)[:, :, None]


# ---- Drawn where the networks run


def target(scene: Scene, target_frame: Tensor) -> Tensor:
    """[B, 3, S, S] the target's crop, -1 ... 1."""
    S = scene.target.resolution
    out = scene.buffer("target", 3, S, S)
    for image, M in zip(out, scene.target.matrices, strict=True):
        crop(target_frame, M, S, out=image)
    return out


def target_map(scene: Scene, target_points: Tensor) -> Tensor:
    """[B, 1, S, S] contours of the target's face, 0 ... 1."""
    S = scene.target.resolution
    return contours(target_points, S, out=scene.buffer("target_map", 1, S, S))


def source(scene: Scene, source_frame: Tensor) -> Tensor:
    """[B, 3, S, S] the source's crop, -1 ... 1, for each of the target's faces."""
    S = scene.target.resolution
    out = scene.buffer("source", 3, S, S)
    for image, face in zip(out, scene.sources, strict=True):
        crop(source_frame, crop_matrix(face.landmarks), S, out=image)
    return out


def source_map(scene: Scene, source_points: Tensor) -> Tensor:
    """[B, 1, S, S] contours of the source's face in its own crop, 0 ... 1."""
    S = scene.target.resolution
    return contours(source_points, S, out=scene.buffer("source_map", 1, S, S))


def driven_points(scene: Scene, target_points: Tensor, fused_points: Tensor, driven_amount: Tensor) -> Tensor:
    """[B, 478, 2] the target's landmarks under the new expression, by region and intensity:
    driven = target + sum over the regions of mask * intensity * (fused - target)."""
    return target_points + driven_amount * (fused_points - target_points)


def driven_map(scene: Scene, driven_points: Tensor) -> Tensor:
    """[B, 1, S, S] contours of the face wanted, 0 ... 1."""
    S = scene.target.resolution
    return contours(driven_points, S, out=scene.buffer("driven_map", 1, S, S))


def teeth(scene: Scene, target_points: Tensor, driven_points: Tensor) -> Tensor:
    """[B, 1, 2 S, 2 S] the front teeth that the lips wanted leave free, 0 ... 1."""
    side = 2 * scene.target.resolution
    return teeth_map(target_points, driven_points, side, scene.buffer("teeth", 1, side, side))


def first_flow(scene: Scene, target_points: Tensor, driven_points: Tensor) -> Tensor:
    """[B, 2, S, S] the landmarks' displacement, spread densely: a first guess of the flow."""
    S = scene.target.resolution
    return scene.place.first_flow(target_points, driven_points, S, scene.buffer("first_flow", 2, S, S))


def warped(scene: Scene, target_frame: Tensor, first_flow: Tensor) -> Tensor:
    """[B, 3, S, S] the target's crop seen through the first flow, sampled from the frame's own pixels."""
    S = scene.target.resolution
    out = scene.buffer("warped", 3, S, S)
    for image, M, flow in zip(out, scene.target.matrices, first_flow, strict=True):
        crop(target_frame, M, S, flow=flow, out=image)
    return out


READ: dict[str, Callable[[Scene], np.ndarray]] = {
    reader.__name__: reader
    for reader in (
        target_frame, target_points, target_blendshapes, target_regions,
        source_frame, source_points, source_blendshapes, driven_amount,
    )
}  # fmt: skip
DRAWN: dict[str, Callable[..., Tensor]] = {
    builder.__name__: builder
    for builder in (
        target, target_map, source, source_map, driven_points, driven_map, teeth, first_flow, warped,
    )
}  # fmt: skip


@cache
def made_of(name: str) -> tuple[str, ...]:
    """The names of what a builder of DRAWN takes, beside the scene."""
    return tuple(signature(DRAWN[name]).parameters)[1:]


def leaves(names: Iterable[str], given: Set[str]) -> set[str]:
    """What stands at the beginning of these inputs and is not `given`, by stages: names of READ, and unknown ones."""
    found: set[str] = set()
    for name in names:
        if name not in given:
            found |= leaves(made_of(name), given) if name in DRAWN else {name}
    return found


def _of_target(name: str) -> bool:
    return name.startswith("target")
