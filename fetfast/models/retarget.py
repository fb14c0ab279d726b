"""The retarget stage: the driver's expression, read off landmarks and blendshapes, on the target's landmarks.

Both faces are read alike, and only what they differ in moves the target: a face that drives itself stays as it is.

    aligned(p)  = (p - S camera(p)) camera_xy(p)^-1     what a face's landmarks differ in from the mean face S under the
                                                        same affine camera, cm: pose, size and aspect are gone
    c(p)        = within((aligned(p), blendshapes(p)) . read + bias)                     coefficients [52]
    moved       = target + (c(driver) - c(target)) . basis . camera(target)             by the morphable model's basis

`within` keeps most of a coefficient of brows, eyes and nose in 0 ... 1: what a face has beyond is who it is, rather
than what it does. `read` is symmetric: what it says of the left side for one picture it says of the right side for the
mirrored one. Lids and lips are then as far apart as the driver's are, whatever the coefficients say: `with_lids`,
`with_lips`.

A reading of a blendshape saturates and depends on the face's looks; how far landmarks are from the driver's own rest
does not (docs/quality.md has what was measured).
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn as nn
from torch import Tensor

from fetfast.models.flow import E, Fuse
from fetfast.ops.face_mesh import LIP_PAIRS
from fetfast.spec import BLENDSHAPES, LANDMARKS, Stage, TensorSpec

RETARGET = Stage(
    "fuse",
    inputs=(
        TensorSpec("source_points", (LANDMARKS, 2)),
        TensorSpec("source_blendshapes", (E,)),
        TensorSpec("target_points", (LANDMARKS, 2)),
        TensorSpec("target_blendshapes", (E,)),
    ),
    outputs=(TensorSpec("fused_points", (LANDMARKS, 2)),),
    precise=True,
)

# Landmarks that an expression hardly moves: forehead, temples, bridge and wings of the nose, corners of the eyes.
RIGID = (10, 338, 297, 332, 284, 251, 389, 356, 127, 162, 21, 54, 103, 67, 109, 168, 6, 197, 195, 5, 4, 1, 19, 94, 2,
         33, 133, 362, 263, 129, 358, 98, 327, 234, 454)  # fmt: skip
# Of the right eye and the left one: upper and lower edge from corner to corner, and the corners, left to right.
LIDS = (
    ((246, 161, 160, 159, 158, 157, 173), (7, 163, 144, 145, 153, 154, 155), (33, 133)),
    ((398, 384, 385, 386, 387, 388, 466), (382, 381, 380, 374, 373, 390, 249), (362, 263)),
)
BLINKS = tuple(BLENDSHAPES.index(f"eyeBlink{side}") for side in ("Right", "Left"))  # as LIDS
WIDES = tuple(BLENDSHAPES.index(f"eyeWide{side}") for side in ("Right", "Left"))
BEYOND = 0.3  # of what a coefficient is less than 0 or more than 1
BOUNDED = tuple(float(not name.startswith(("mouth", "jaw"))) for name in BLENDSHAPES)  # mouths at rest are alike
SHUT = 0.04  # an opening, in the eye's widths, that the landmarker still reads off shut eyes
REST, PLATEAU = 0.15, 0.8  # openings beyond SHUT + REST are as likely the shape of an eye as an action: they count less
LEAST = 0.1  # of an opening by which others are divided
NONE = 1e-3  # an opening of nothing
TRAVEL = 0.27  # eye's widths by which the mean face's lids close at eyeBlink 1
RING = (0.62, 1.0, 1.22, 1.32, 1.27, 1.02, 0.55)  # how far the points of a lid's edge stand apart, over their mean

# The lips, a row for each pair of points that meet, LIP_PAIRS: from the inner edge to the outer one.
UPPER_LIP = (
    (191, 80, 81, 82, 13, 312, 311, 310, 415), (183, 42, 41, 38, 12, 268, 271, 272, 407),
    (184, 74, 73, 72, 11, 302, 303, 304, 408), (185, 40, 39, 37, 0, 267, 269, 270, 409),
)  # fmt: skip
LOWER_LIP = (
    (95, 88, 178, 87, 14, 317, 402, 318, 324), (96, 89, 179, 86, 15, 316, 403, 319, 325),
    (77, 90, 180, 85, 16, 315, 404, 320, 307), (146, 91, 181, 84, 17, 314, 405, 321, 375),
)  # fmt: skip
GAPING, STARING = 0.9, 0.7  # more is a face seen from the side, whose eyes' widths tell nothing
FRONTAL = 5e-4  # square crop sides for a square cm: a face is seen from the side where less is left of it


Eye = tuple[tuple[int, ...], ...]  # a row of LIDS


class Retarget(Fuse):
    """See above. `basis` and `camera` as in `Fuse`; rigid f32 [3, 478]: as `camera`, of RIGID alone; face f32 [478, 3]:
    the mean face, cm; read f32 [956 + 52, 52]: coefficients for each cm of an aligned landmark's x and y, and for each
    blendshape; bias f32 [52]."""

    def __init__(self) -> None:
        super().__init__()
        self.rigid = nn.Parameter(torch.randn(3, LANDMARKS) / LANDMARKS)
        self.face = nn.Parameter(torch.randn(LANDMARKS, 3))
        self.read = nn.Parameter(torch.randn(2 * LANDMARKS + E, E) / LANDMARKS)
        self.bias = nn.Parameter(torch.rand(E))

    def features(self, points: Tensor, blendshapes: Tensor) -> Tensor:
        """f32 [B, 956 + 52]: aligned landmarks and blendshapes."""
        camera = self.rigid @ points  # [B, 3, 2]
        off = points - self.face @ camera
        off = off - off[:, list(RIGID)].mean(1, keepdim=True)
        (a, b), (c, d) = camera[:, 0].unbind(-1), camera[:, 1].unbind(-1)
        area = (b * c - a * d).clamp(min=FRONTAL)  # of a square cm; y points up there and down here
        inverse = torch.stack((-d, b, c, -a), -1) / area[:, None]
        return torch.cat(((off @ inverse.unflatten(-1, (2, 2))).flatten(1), blendshapes), 1)

    def coefficients(self, points: Tensor, blendshapes: Tensor) -> Tensor:
        """f32 [B, 52]: what a face shows."""
        return within(self.features(points, blendshapes) @ self.read + self.bias)

    def forward(  # type: ignore[override]
        self,
        source_points: Tensor,  # f32 [B, 478, 2], units of the driver's own crop
        source_blendshapes: Tensor,  # f32 [B, 52], 0 ... 1
        target_points: Tensor,  # f32 [B, 478, 2], crop units
        target_blendshapes: Tensor,  # f32 [B, 52]
    ) -> dict[str, Tensor]:
        change = self.coefficients(source_points, source_blendshapes)
        change = change - self.coefficients(target_points, target_blendshapes)
        openings = [wanted_opening(source_points, target_points, eye) for eye in LIDS]
        change = _replaced(change, BLINKS, [(now - wanted) / TRAVEL for now, wanted in openings])
        change = _replaced(change, WIDES, [torch.zeros_like(now) for now, _ in openings])
        shift = (change @ self.basis.flatten(1)).unflatten(1, (LANDMARKS, 3))
        points = target_points + shift @ (self.camera @ target_points)
        for eye, (now, wanted) in zip(LIDS, openings, strict=True):
            points = with_lids(points, target_points, eye, now, wanted)
        return {"fused_points": with_lips(points, source_points, target_points)}


def within(coefficients: Tensor) -> Tensor:
    """Coefficients [..., 52] with BOUNDED ones between 0 and 1, and BEYOND as much of what is outside."""
    c = coefficients
    bounded = c.clamp(0, 1) + BEYOND * (c.clamp(max=0) + (c - 1).clamp(min=0))
    return c + (bounded - c) * torch.tensor(BOUNDED, dtype=c.dtype, device=c.device)


def gaps(points: Tensor, eye: Eye) -> tuple[Tensor, Tensor, Tensor]:
    """How far the lower lid's edge lies below the upper one, [B, 7], along the eye's own downward direction [B, 2], and
    the eye's width [B, 1]; crop units."""
    upper, lower, (left, right) = eye
    across = points[:, right] - points[:, left]
    width = across.square().sum(-1, keepdim=True).sqrt() + 1e-6
    down = torch.stack((-across[:, 1], across[:, 0]), -1) / width
    return ((points[:, list(lower)] - points[:, list(upper)]) * down[:, None]).sum(-1), down, width


def wanted_opening(source_points: Tensor, target_points: Tensor, eye: Eye) -> tuple[Tensor, Tensor]:
    """The target's opening [B], in the eye's widths, and the one that the driver's asks for.

    An open eye closes by the driver's share of their own opening, so that shut is shut, whatever shape both eyes have;
    an eye that was shut opens as far as the driver's."""
    opening = [
        (g.mean(1) / width[:, 0]).clamp(max=STARING)
        for g, _, width in (gaps(p, eye) for p in (source_points, target_points))
    ]
    theirs, own = (_beyond_shut(o) for o in opening)
    now = opening[1]
    gain = now.clamp(min=LEAST + SHUT) / own.clamp(min=LEAST)
    return now, torch.maximum(now + (theirs - own) * gain, now.clamp(max=0))


def _beyond_shut(opening: Tensor) -> Tensor:
    """How far an eye is open: from SHUT on, and by PLATEAU alone where it may be the eye's shape."""
    beyond = (opening - SHUT).clamp(min=0)
    return beyond.clamp(max=REST) + PLATEAU * (beyond - REST).clamp(min=0)


def with_lids(points: Tensor, target_points: Tensor, eye: Eye, now: Tensor, wanted: Tensor) -> Tensor:
    """The points [B, 478, 2] with the upper lid's edge where the wanted opening has it."""
    have, down, _ = gaps(points, eye)
    own, _, width = gaps(target_points, eye)
    less = (wanted.clamp(min=NONE) / now.clamp(min=NONE)).clamp(max=1)[:, None]
    more = (wanted - now).clamp(min=0)[:, None] * width
    off = have - own * less - more * torch.tensor(RING, device=points.device)
    return points + (off @ _places(eye[:1], LANDMARKS, points))[..., None] * down[:, None]


def with_lips(points: Tensor, source_points: Tensor, target_points: Tensor) -> Tensor:
    """The points [B, 478, 2] with lips as far apart as the driver's: they meet where these do, and never cross."""
    theirs, _ = lip_gaps(source_points)
    own, _ = lip_gaps(target_points)
    have, down = lip_gaps(points)
    half = (theirs.clamp(min=0).clamp(max=GAPING) + own.clamp(max=0) - have) * eye_distance(points) / 2
    moves = half @ (_places(LOWER_LIP, LANDMARKS, points) - _places(UPPER_LIP, LANDMARKS, points))
    return points + moves[..., None] * down[:, None]


def lip_gaps(points: Tensor) -> tuple[Tensor, Tensor]:
    """How far each point of the lower lip's inner edge lies below its partner, [B, 9], in distances between the eyes;
    and which way is down, [B, 2]."""
    upper, lower = (list(row) for row in zip(*LIP_PAIRS, strict=True))
    across = points[:, 263] - points[:, 33]
    unit = eye_distance(points)
    down = torch.stack((-across[:, 1], across[:, 0]), -1) / unit
    return ((points[:, lower] - points[:, upper]) * down[:, None]).sum(-1) / unit, down


def eye_distance(points: Tensor) -> Tensor:
    """Of the outer corners, [B, 1]."""
    return (points[:, 263] - points[:, 33]).square().sum(-1, keepdim=True).sqrt() + 1e-6


def _places(rows: tuple[tuple[int, ...], ...], columns: int, like: Tensor) -> Tensor:
    """f32 [K, columns]: 1 where the k-th of each of the rows stands."""
    return torch.tensor(_ones(rows, columns), dtype=like.dtype, device=like.device)


@cache
def _ones(rows: tuple[tuple[int, ...], ...], columns: int) -> list[list[float]]:
    return [[float(any(row[k] == n for row in rows)) for n in range(columns)] for k in range(len(rows[0]))]


def _replaced(change: Tensor, columns: tuple[int, ...], values: list[Tensor]) -> Tensor:
    """Coefficients [B, 52] with those of two columns replaced."""
    places = _places((columns,), E, change)
    return change * (1 - places.sum(0)) + torch.stack(values, -1) @ places
