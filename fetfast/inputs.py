"""The networks' inputs, built by name: a stage asks for `driven_map`, and the builder of that name makes it.

A builder takes the `Scene` and asks it for what it needs in turn, so tensors are made once, in whatever order the
stages need them. What depends on the target alone is kept in the `Target`; the rest is made anew for every source.
To give the families a new input, write its function here: the function's name is the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fetfast.errors import BadInput
from fetfast.face import Face, crop_matrix, to_crop
from fetfast.image import Frame
from fetfast.ops.crop import crop
from fetfast.ops.heatmap import contours
from fetfast.ops.heatmap import first_flow as spread_flow
from fetfast.ops.topology import BROWS, EYES, IRISES, LIPS
from fetfast.spec import REGIONS

Tensor = NDArray[np.float32]


@dataclass
class Target:
    """The face or faces that change: B of them in one frame, prepared once and used for every source."""

    frame: Frame  # [H, W, 3]
    faces: list[Face]
    matrices: Tensor  # [B, 2, 3], crop points to frame points
    resolution: int
    tensors: dict[str, Tensor] = field(default_factory=dict)  # those that depend on the target alone
    buffers: dict[str, Tensor] = field(default_factory=dict)  # reused by every step: nothing allocates after the first

    @classmethod
    def prepare(cls, frame: Frame, faces: list[Face], resolution: int) -> Target:
        return cls(frame, faces, np.stack([crop_matrix(face.landmarks) for face in faces]), resolution)


@dataclass
class Scene:
    """One step: a source's expression on its way to a prepared target."""

    source: Face | Sequence[Face]  # one for all of the target's faces, or one for each
    source_frame: Frame | None
    target: Target
    intensity: float
    regions: tuple[str, ...]
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def sources(self) -> Sequence[Face]:
        """The source of each of the target's faces."""
        return [self.source] * len(self.target.faces) if isinstance(self.source, Face) else self.source

    def need(self, name: str) -> Tensor:
        """The tensor f32 [B, ...] of that name: given by a stage, kept, or built now."""
        for known in (self.tensors, self.target.tensors):
            if name in known:
                return known[name]
        kept = self.target.tensors if name.startswith("target") else self.tensors
        kept[name] = BUILDERS[name](self)
        return kept[name]

    def buffer(self, name: str, *shape: int) -> Tensor:
        """An f32 array [B, *shape] that the next step will use again."""
        buffers = self.target.buffers
        if name not in buffers:
            buffers[name] = np.empty((len(self.target.faces), *shape), np.float32)
        return buffers[name]


def target(scene: Scene) -> Tensor:
    """[B, 3, S, S] the target's crop, -1 ... 1."""
    S = scene.target.resolution
    out = scene.buffer("target", 3, S, S)
    for image, M in zip(out, scene.target.matrices, strict=True):
        crop(scene.target.frame, M, S, out=image)
    return out


def target_points(scene: Scene) -> Tensor:
    """[B, 478, 2] the target's landmarks, crop units."""
    target = scene.target
    points = [to_crop(face.landmarks[:, :2], M) for face, M in zip(target.faces, target.matrices, strict=True)]
    return np.stack(points).astype(np.float32)


def target_blendshapes(scene: Scene) -> Tensor:
    """[B, 52] the target's own expression, 0 ... 1."""
    return np.stack([face.blendshapes for face in scene.target.faces])


def target_regions(scene: Scene) -> Tensor:
    """[B, 4, 478] how much each landmark belongs to each of `REGIONS`; 1 in sum.

    The iris follows the gaze alone. Any other landmark goes with the brows, the lids or the lips, whichever is
    nearest, and softly between them, so that turning one region off leaves no crease.
    """
    points = scene.need("target_points")
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


def target_map(scene: Scene) -> Tensor:
    """[B, 1, S, S] contours of the target's face, 0 ... 1."""
    S = scene.target.resolution
    return contours(scene.need("target_points"), S, out=scene.buffer("target_map", 1, S, S))


def source(scene: Scene) -> Tensor:
    """[B, 3, S, S] the source's crop, -1 ... 1, for each of the target's faces."""
    if scene.source_frame is None:
        raise BadInput("this plan looks at the source's picture; give an image instead of a Face")
    S = scene.target.resolution
    out = scene.buffer("source", 3, S, S)
    for image, face in zip(out, scene.sources, strict=True):
        crop(scene.source_frame, crop_matrix(face.landmarks), S, out=image)
    return out


def source_points(scene: Scene) -> Tensor:
    """[B, 478, 2] the source's landmarks, in units of its own crop."""
    landmarks = [face.landmarks for face in scene.sources]
    return np.stack([to_crop(points[:, :2], crop_matrix(points)) for points in landmarks]).astype(np.float32)


def source_map(scene: Scene) -> Tensor:
    """[B, 1, S, S] contours of the source's face in its own crop, 0 ... 1."""
    S = scene.target.resolution
    return contours(scene.need("source_points"), S, out=scene.buffer("source_map", 1, S, S))


def source_blendshapes(scene: Scene) -> Tensor:
    """[B, 52] the source's expression, 0 ... 1."""
    return np.stack([face.blendshapes for face in scene.sources])


def driven_points(scene: Scene) -> Tensor:
    """[B, 478, 2] the target's landmarks under the new expression, by region and intensity:
    driven = target + sum over the regions of mask * intensity * (fused - target)."""
    points, fused = scene.need("target_points"), scene.need("fused_points")
    chosen = [REGIONS.index(region) for region in scene.regions]
    amount = scene.intensity * scene.need("target_regions")[:, chosen].sum(1)[:, :, None]
    return points + amount * (fused - points)


def driven_map(scene: Scene) -> Tensor:
    """[B, 1, S, S] contours of the face wanted, 0 ... 1."""
    S = scene.target.resolution
    return contours(scene.need("driven_points"), S, out=scene.buffer("driven_map", 1, S, S))


def first_flow(scene: Scene) -> Tensor:
    """[B, 2, S, S] the landmarks' displacement, spread densely: a first guess of the flow."""
    S = scene.target.resolution
    points, driven = scene.need("target_points"), scene.need("driven_points")
    return spread_flow(points, driven, S, out=scene.buffer("first_flow", 2, S, S))


def warped(scene: Scene) -> Tensor:
    """[B, 3, S, S] the target's crop seen through the first flow, sampled from the frame's own pixels."""
    S = scene.target.resolution
    out = scene.buffer("warped", 3, S, S)
    flow = scene.need("first_flow")
    for image, M, f in zip(out, scene.target.matrices, flow, strict=True):
        crop(scene.target.frame, M, S, flow=f, out=image)
    return out


BUILDERS: dict[str, Callable[[Scene], Any]] = {
    builder.__name__: builder
    for builder in (
        target, target_points, target_blendshapes, target_regions, target_map,
        source, source_points, source_map, source_blendshapes,
        driven_points, driven_map, first_flow, warped,
    )
}  # fmt: skip
