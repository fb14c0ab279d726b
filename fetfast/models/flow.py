"""`flow`: an expression moved by the morphable model's own basis, and a pure warp. Nothing in it is trained.

One linear stage, and the landmarks' displacement spread densely as the only flow:

    driven = target + (source_blendshapes - target_blendshapes) . basis . camera(target)

The basis says, in the model's space, how far one unit of a blendshape moves each landmark; the camera, an affine map
from model space to the crop, is the least-squares fit to the target's own landmarks. Fitting is linear in them
(pinv(model points) @ points), so that pose, size and aspect of the target's face cost one product with a constant.

`fetfast make basis` makes the weights. What a warp cannot show, it does not: no teeth behind closed lips, no wrinkles.
"""

from __future__ import annotations

import torch
import torch.nn as nn
from torch import Tensor

from fetfast.spec import BLENDSHAPES, LANDMARKS, Output, Spec, Stage, Task, TensorSpec

E = len(BLENDSHAPES)

FUSE = Stage(
    "fuse",
    inputs=(
        TensorSpec("source_blendshapes", (E,)),
        TensorSpec("target_blendshapes", (E,)),
        TensorSpec("target_points", (LANDMARKS, 2)),
    ),
    outputs=(TensorSpec("fused_points", (LANDMARKS, 2)),),
    precise=True,
)

SPECS = {
    "small": Spec(
        family="flow",
        size="small",
        resolution=128,
        stages=(FUSE,),
        tasks={"transfer": Task((Output("target", {"flow": "first_flow"}),))},
    ),
}


class Fuse(nn.Module):
    """The driven landmarks, by the formula above.

    basis f32 [52, 478, 3]: displacement per unit of a blendshape, model units (cm; x the subject's left, y up, z out).
    camera f32 [3, 478]: camera @ points [478, 2] is the affine map, a row per model axis; its rows sum to 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(E, LANDMARKS, 3))
        self.camera = nn.Parameter(torch.randn(3, LANDMARKS) / LANDMARKS)

    def forward(
        self,
        source_blendshapes: Tensor,  # f32 [B, 52], 0 ... 1
        target_blendshapes: Tensor,  # f32 [B, 52]
        target_points: Tensor,  # f32 [B, 478, 2], crop units
    ) -> dict[str, Tensor]:
        change = source_blendshapes - target_blendshapes
        shift = (change @ self.basis.flatten(1)).unflatten(1, (LANDMARKS, 3))
        return {"fused_points": target_points + shift @ (self.camera @ target_points)}


def build(spec: Spec) -> dict[str, nn.Module]:
    """Stage name -> its network, with random weights."""
    return {"fuse": Fuse()}
