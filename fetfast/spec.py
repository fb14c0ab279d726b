"""The house's conventions, stated once, and the `Spec` that describes a plan's networks.

Coordinates
    x points right, y down. A *frame* point is in pixels; the pixel in row r and column c covers
    [c, c+1] x [r, r+1] and its centre is (c + 0.5, r + 0.5).
    A *crop* is the square part of a frame that holds one face, upright. A crop point is in crop sides:
    (0, 0) is the crop's top left corner, (1, 1) its bottom right one, whatever resolution S it is sampled at;
    the centre of crop pixel (r, c) is ((c + 0.5) / S, (r + 0.5) / S).
    `M` f32 [2, 3] maps crop points to frame points: frame = M @ (x, y, 1).

Values
    Frames are u8 [H, W, 3] RGB. Networks see f32 [B, 3, S, S] RGB in -1 ... 1 (= u8 / 127.5 - 1).
    A *flow* f32 [B, 2, S, S] (x, y) is backward and an offset, in crop sides:
    result(p) = target(p + flow(p)). A *mask* [B, 1, S, S] in 0 ... 1 says how much of *color*
    [B, 3, S, S] in -1 ... 1 replaces the warped pixel.

Letters
    B batch, H W frame, S crop resolution, K landmarks (478), C channels, E blendshapes (52).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

LANDMARKS = 478
REGIONS = ("brows", "eyes", "gaze", "mouth")
TASKS = ("transfer", "swap", "edit", "recognize", "encode", "decode")
PRECISIONS = ("fp32", "fp16", "bf16")

# Face Landmarker's order. Left is the subject's left.
BLENDSHAPES = tuple(
    """_neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
    cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight
    eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight
    jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight
    mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
    mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft
    mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight""".split()
)


@dataclass(frozen=True)
class TensorSpec:
    """A named tensor of a stage. `shape` is without the batch: every tensor has B in front. `dtype` as NumPy says it."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Stage:
    """One network of a plan: takes the tensors named in `inputs`, gives those named in `outputs`."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Spec:
    """What a plan's networks take and give: all that the engine needs to know of a family.

    `stages` run in order. What a stage asks for and no earlier stage gives, `inputs.py` builds by name.
    `paste` says which tensor plays which part when the result is put into the frame:
    keys "flow", "mask", "color", values tensor names. `args` are the module's own arguments (the size row).
    """

    family: str
    size: str
    resolution: int
    stages: tuple[Stage, ...]
    tasks: tuple[str, ...]
    paste: dict[str, str]
    args: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
