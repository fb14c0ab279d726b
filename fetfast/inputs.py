"""The networks' inputs: a stage asks for `driven_map`, and the row of that name in `INPUTS` says how it is made.

To give the families a new input write its function here and add its row: the name is the contract. Arrays are built on
the processor ("read", off faces and frames; a step brings all that it reads to where the networks run in one piece) or
where the networks run ("drawn"; the parameters after `side` name what it is made of: other inputs, or what a stage
gives). A picture is built at the side that the stage states. What depends on the target alone is made once for each
target, the rest for every driver: `step.py` does the bookkeeping.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fetfast.errors import BadInput
from fetfast.face import crop_matrix, to_crop
from fetfast.face.gaze import conjugate
from fetfast.image import Frame
from fetfast.ops import heatmap
from fetfast.ops.anchors import moved
from fetfast.ops.crop import crops
from fetfast.ops.heatmap import contours
from fetfast.ops.placement import SIZE, placements
from fetfast.ops.teeth import teeth_map
from fetfast.spec import BLENDSHAPES, LANDMARKS, REGIONS

if TYPE_CHECKING:
    from fetfast.step import Step

Array = NDArray[np.float32]
Tensor = Any  # an array, or a tensor on a GPU: as the step's place has them
SIDE, LABELS, FRAME = "side", "labels", "frame"  # sizes that the stage, the plan or the picture says


# ---- Read off faces and frames, on the processor


def target_frame(step: Step) -> Frame:
    """u8 [H, W, 3]"""
    return step.target.frame


def target_points(step: Step) -> Array:
    """[B, 478, 2] the target's landmarks, crop units."""
    return step.target.points


def target_blendshapes(step: Step) -> Array:
    """[B, 52] the target's own expression, 0 ... 1, its eyes looking the same way."""
    return conjugate(np.stack([face.blendshapes for face in step.target.faces]))


def target_placement(step: Step) -> Array:
    """[B, 16] where the target's crops lie in its frame: rows of `ops.placement`."""
    return placements(step.target.matrices)


def target_grey(step: Step) -> Array:
    """[B, 1, 1, 1] 1 where the target's picture is black and white, else 0."""
    return np.full((len(step.target.matrices), 1, 1, 1), _grey(step.target.frame), np.float32)


def source_grey(step: Step) -> Array:
    """[B, 1, 1, 1] 1 where the driver's picture is black and white, else 0."""
    return np.full((len(step.driver_matrices), 1, 1, 1), _grey(source_frame(step)), np.float32)


def _grey(frame: Frame) -> bool:
    """Whether a frame u8 [H, W, 3] is black and white, by one pixel in 64."""
    sample = frame[::8, ::8]
    return bool((sample == sample[:, :, :1]).all())


def target_regions(step: Step) -> Array:
    """[B, 4, 478] how much each of the target's landmarks belongs to each of `REGIONS`; 1 in sum."""
    return step.target.regions


def source_frame(step: Step) -> Frame:
    """u8 [H, W, 3] the driver's picture."""
    if step.driver_frame is None:
        raise BadInput("this plan looks at the driver's picture; give an image instead of a Face")
    return step.driver_frame


def source_points(step: Step) -> Array:
    """[B, 478, 2] the driver's landmarks, in units of its own crop."""
    landmarks = [face.landmarks for face in step.drivers]
    return np.stack([to_crop(points[:, :2], crop_matrix(points)) for points in landmarks]).astype(np.float32)


def source_placement(step: Step) -> Array:
    """[B, 16] where the drivers' crops lie in their frame: rows of `ops.placement`."""
    return placements(step.driver_matrices)


def source_blendshapes(step: Step) -> Array:
    """[B, 52] the driver's expression, 0 ... 1, its eyes looking the same way."""
    return conjugate(np.stack([face.blendshapes for face in step.drivers]))


def driven_amount(step: Step) -> Array:
    """[B, 478, 1] how far each landmark goes with the driver: the intensity, in the chosen regions; less where the
    target's face takes less without harm (`Face.trust`)."""
    chosen = [REGIONS.index(region) for region in step.regions]
    trust = np.array([face.trust for face in step.target.faces], np.float32)[:, None, None]
    return np.float32(step.intensity) * trust * step.target.regions[:, chosen].sum(1)[:, :, None]


def wanted_labels(step: Step) -> Array:
    """[B, labels] the expression asked for by name: the intensity at its label, 0 elsewhere."""
    wanted = np.zeros((len(step.target.faces), len(step.wiring.spec.labels)), np.float32)
    assert step.label is not None  # only `edit` asks for it, and takes a label
    wanted[:, step.wiring.spec.labels.index(step.label)] = step.intensity
    return wanted


# ---- Drawn where the networks run


def target(step: Step, side: int, target_frame: Tensor, target_placement: Tensor) -> Tensor:
    """[B, 3, S, S] the target's crop, -1 ... 1."""
    return crops(target_frame, target_placement, side, out=step.buffer("target", 3, side, side))


def target_map(step: Step, side: int, target_points: Tensor) -> Tensor:
    """[B, 1, S, S] contours of the target's face, 0 ... 1."""
    return contours(target_points, side, out=step.buffer("target_map", 1, side, side))


def source(step: Step, side: int, source_frame: Tensor, source_placement: Tensor) -> Tensor:
    """[B, 3, S, S] the driver's crop, -1 ... 1, for each of the target's faces."""
    return crops(source_frame, source_placement, side, out=step.buffer("source", 3, side, side))


def source_map(step: Step, side: int, source_points: Tensor) -> Tensor:
    """[B, 1, S, S] contours of the driver's face in its own crop, 0 ... 1."""
    return contours(source_points, side, out=step.buffer("source_map", 1, side, side))


def driven_points(step: Step, side: None, target_points: Tensor, fused_points: Tensor, driven_amount: Tensor) -> Tensor:
    """[B, 478, 2] the target's landmarks under the new expression, by region and intensity:
    driven = target + sum over the regions of mask * intensity * (fused - target)."""
    return moved(target_points, fused_points, driven_amount)


def driven_map(step: Step, side: int, driven_points: Tensor) -> Tensor:
    """[B, 1, S, S] contours of the face wanted, 0 ... 1."""
    return contours(driven_points, side, out=step.buffer("driven_map", 1, side, side))


def teeth(step: Step, side: int, target_points: Tensor, driven_points: Tensor) -> Tensor:
    """[B, 1, S, S] the front teeth that the lips wanted leave free, 0 ... 1."""
    return teeth_map(target_points, driven_points, side, step.buffer("teeth", 1, side, side))


def first_flow(step: Step, side: int, target_points: Tensor, driven_points: Tensor) -> Tensor:
    """[B, 2, S, S] the landmarks' displacement, spread densely: a first guess of the flow."""
    return heatmap.first_flow(target_points, driven_points, side, step.buffer("first_flow", 2, side, side))


def warped(step: Step, side: int, target_frame: Tensor, target_placement: Tensor, first_flow: Tensor) -> Tensor:
    """[B, 3, S, S] the target's crop seen through the first flow, sampled from the frame's own pixels."""
    return crops(target_frame, target_placement, side, first_flow, step.buffer("warped", 3, side, side))


@dataclass(frozen=True)
class Input:
    """make: the function above. shape: without the batch. target_only: whether it depends on the target alone."""

    make: Callable[..., Tensor]
    shape: tuple[int | str, ...]
    target_only: bool = False

    @property
    def read(self) -> bool:
        """Whether it is built on the processor, off faces and frames."""
        return len(signature(self.make).parameters) == 1

    @property
    def made_of(self) -> tuple[str, ...]:
        """The names of what it is made of."""
        return tuple(signature(self.make).parameters)[2:]

    @property
    def sized(self) -> bool:
        """Whether it is a picture, built at the side that the stage states."""
        return SIDE in self.shape


PICTURE, MAP, FLOW = ((channels, SIDE, SIDE) for channels in (3, 1, 2))
INPUTS = {
    "target_frame": Input(target_frame, (FRAME, FRAME, 3), target_only=True),
    "target_points": Input(target_points, (LANDMARKS, 2), target_only=True),
    "target_grey": Input(target_grey, (1, 1, 1), target_only=True),
    "source_grey": Input(source_grey, (1, 1, 1)),
    "target_placement": Input(target_placement, (SIZE,), target_only=True),
    "target_blendshapes": Input(target_blendshapes, (len(BLENDSHAPES),), target_only=True),
    "target_regions": Input(target_regions, (len(REGIONS), LANDMARKS), target_only=True),
    "source_frame": Input(source_frame, (FRAME, FRAME, 3)),
    "source_placement": Input(source_placement, (SIZE,)),
    "source_points": Input(source_points, (LANDMARKS, 2)),
    "source_blendshapes": Input(source_blendshapes, (len(BLENDSHAPES),)),
    "driven_amount": Input(driven_amount, (LANDMARKS, 1)),
    "wanted_labels": Input(wanted_labels, (LABELS,)),
    "target": Input(target, PICTURE, target_only=True),
    "target_map": Input(target_map, MAP, target_only=True),
    "source": Input(source, PICTURE),
    "source_map": Input(source_map, MAP),
    "driven_points": Input(driven_points, (LANDMARKS, 2)),
    "driven_map": Input(driven_map, MAP),
    "teeth": Input(teeth, MAP),
    "first_flow": Input(first_flow, FLOW),
    "warped": Input(warped, PICTURE),
}
