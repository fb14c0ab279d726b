"""The sub-mesh of the morphable model that moves: the face within its oval, eyeballs, mouth; with tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from fetfast.ops.face_mesh import CHAINS, SPACING
from fetfast.synth.basis import IRISES, eyeball, iris
from fetfast.synth.facekit import Facekit
from fetfast.synth.fit import IDENTITIES, SKIN
from fetfast.synth.materials import signed_distance
from fetfast.synth.regions import BACKGROUND, triangle_regions
from fetfast.synth.teeth_geometry import carried, corners, flanks

FACE, EYE_LEFT, EYE_RIGHT, SOCKET, TEETH, MOUTH = range(6)
CROP = 25.0  # cm: about one crop side
# Landmarks that touch when an eye or the mouth closes: upper, lower.
OPENINGS = (
    ((246, 161, 160, 159, 158, 157, 173), (7, 163, 144, 145, 153, 154, 155)),
    ((466, 388, 387, 386, 385, 384, 398), (249, 390, 373, 374, 380, 381, 382)),
    ((191, 80, 81, 82, 13, 312, 311, 310, 415), (95, 88, 178, 87, 14, 317, 402, 318, 324)),
)
# The lids' edges, upper and lower, from corner to corner: of the subject's left eye, then of the right one.
EYE_EDGES = (
    ((263, *OPENINGS[1][0], 362), (263, *OPENINGS[1][1], 362)),
    ((33, *OPENINGS[0][0], 133), (33, *OPENINGS[0][1], 133)),
)


@dataclass(frozen=True)
class FaceSubmesh:
    """Vertices and triangles of the moving part.

    neutral f32 [N, 3] cm, expressions f32 [53, N, 3], identities f32 [40, N, 3], triangles i32 [T, 3], kind u8 [N] and
    triangle_kind u8 [T]: FACE ...; landmarks i32 [468] vertex of each landmark; spread f32 [N, 468]: residuals of the
    landmarks -> of the vertices; balls: the eyeballs' vertices (left, right); centers f32 [2, 3] and irises
    f32 [2, 5, 3] of the neutral head's; lids f32 [N] 0 ... 1: skin that an open eye hides in its fold;
    lips f32 [N]: how far (cm) within the ring of landmarks round the mouth's opening, on skin; the lips' inner side;
    regions u8 [T]: what each triangle is, as in `regions.py`; teeth i64 [40, 2]: the vertices whose middles are the
    points of `ops.teeth`; jaws i64 [J]: the vertices that go with these, with_teeth f32 [J, 40]: how; flanks
    f32 [N]: of a tooth, 0 in the middle of its width, 1 where it meets its neighbours; behind_lids i64: the vertices
    of eyeballs and sockets; rims f32 [N, 2, 2]: distance (cm) to the lids' edges, of the subject's left and
    right eye, upper and lower.
    """

    neutral: np.ndarray
    expressions: np.ndarray
    identities: np.ndarray
    triangles: np.ndarray
    kind: np.ndarray
    triangle_kind: np.ndarray
    landmarks: np.ndarray
    spread: np.ndarray
    balls: tuple[np.ndarray, np.ndarray]
    centers: np.ndarray
    irises: np.ndarray
    lids: np.ndarray
    lips: np.ndarray
    regions: np.ndarray
    teeth: np.ndarray
    jaws: np.ndarray
    with_teeth: np.ndarray
    flanks: np.ndarray
    behind_lids: np.ndarray
    rims: np.ndarray

    @classmethod
    def of(cls, kit: Facekit) -> FaceSubmesh:
        names = {
            "Face": FACE, "IrisLeft": EYE_LEFT, "IrisRight": EYE_RIGHT, "Socket_eye_left": SOCKET,
            "Socket_eye_right": SOCKET, "Teeth": TEETH, "GumsTongue": MOUTH, "Socket_mouth": MOUTH,
        }  # fmt: skip
        table = np.full(len(kit.part_names), 255, np.uint8)
        for name, kind in names.items():
            table[kit.part_names.index(name)] = kind
        kind = table[kit.part]
        oval = kit.neutral[kit.landmark_vertices[list(CHAINS["oval"][0][:-1])]]
        within = (signed_distance(kit.neutral[:, :2], oval[:, :2]) > -0.05) & (kit.neutral[:, 2] > 2.5)
        kept = (kind != 255) & ((kind != FACE) | within)
        kept |= np.isin(np.arange(len(kept)), kit.landmark_vertices)
        triangles = kit.triangles[kept[kit.triangles].all(1)]
        kinds = table[kit.triangle_part[kept[kit.triangles].all(1)]]
        used = np.unique(np.r_[triangles.ravel(), kit.landmark_vertices[:SKIN]])
        compact = np.full(len(kept), -1, np.int32)
        compact[used] = np.arange(len(used))
        balls = [np.flatnonzero(kind[used] == k) for k in (EYE_LEFT, EYE_RIGHT)]
        expressions = np.ascontiguousarray(kit.expressions[:, used])
        expressions[kit.index("eyeBlink"), :, 0] = 0  # the lower lid's slip towards the nose, which no landmarker sees
        blink = np.abs(kit.expressions[kit.index("eyeBlink")][:, used]).max((0, 2))
        with_teeth = carried(kit, used)
        jaws = np.flatnonzero(with_teeth.any(1))
        return cls(
            neutral=kit.neutral[used],
            expressions=expressions,
            identities=np.ascontiguousarray(kit.identities[:IDENTITIES, used]),
            triangles=compact[triangles],
            kind=kind[used],
            triangle_kind=kinds,
            landmarks=compact[kit.landmark_vertices[:SKIN]],
            spread=spread(kit, used, kind[used]),
            balls=(balls[0], balls[1]),
            centers=np.stack([eyeball(kit, side)[0] for side in ("Left", "Right")]),
            irises=np.stack([iris(kit, side) for side in ("Left", "Right")]),
            lips=inner_lips(kit)[used],
            regions=triangle_regions(kit)[kept[kit.triangles].all(1)],
            teeth=compact[corners(kit)],
            jaws=jaws,
            with_teeth=with_teeth[jaws],
            flanks=flanks(kit)[used],
            behind_lids=np.flatnonzero(np.isin(kind[used], (EYE_LEFT, EYE_RIGHT, SOCKET))),
            rims=rims(kit)[used],
            lids=(np.clip((blink - 0.12) / 0.25, 0, 1) * (kind[used] == FACE)).astype(np.float32),
        )


def seen_regions(submesh: FaceSubmesh, seen: np.ndarray) -> np.ndarray:
    """u8 [S, S] of the triangles seen [2 S, 2 S] (-1: none): what each pixel shows."""
    near = seen[::2, ::2]
    return np.where(near >= 0, submesh.regions[np.maximum(near, 0)], BACKGROUND).astype(np.uint8)


def opened(kit: Facekit) -> np.ndarray:
    """The neutral head with mouth and eyes wide open, f32 [all vertices, 3]."""
    expression = np.zeros(len(kit.expression_names), np.float32)
    expression[kit.index("jawOpen")], expression[kit.index("eyeWide")] = 0.7, 1.0
    return kit.express(kit.neutral, expression)


def inner_lips(kit: Facekit) -> np.ndarray:
    """f32 [all vertices]: signed distance (cm) of skin to the landmarks round the mouth's opening, positive inside."""
    flat = opened(kit)[:, :2]
    ring = flat[kit.landmark_vertices[list(CHAINS["lips"][1][:-1])]]
    skin = kit.parts("Face") & (kit.neutral[:, 2] > 7)
    return np.where(skin, signed_distance(flat, ring), -9).astype(np.float32)


def rims(kit: Facekit) -> np.ndarray:
    """f32 [all vertices, 2, 2]: distance (cm) to the lids' edges: the subject's left and right eye, upper and lower."""
    out = np.empty((len(kit.neutral), 2, 2), np.float32)
    for side, eye in enumerate(EYE_EDGES):
        for which, edge in enumerate(eye):
            points = kit.neutral[kit.landmark_vertices[list(edge)]]
            at = np.linspace(0, len(points) - 1, 8 * len(points))
            fine = np.stack([np.interp(at, np.arange(len(points)), axis) for axis in points.T], 1)
            out[:, side, which] = cKDTree(fine).query(kit.neutral)[0]
    return out


def spread(kit: Facekit, used: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """f32 [N, 468]: Gaussian weights, as wide as the landmarks stand apart, that take residuals at the landmarks to the
    skin. Distances are those of a face with mouth and eyes wide open, so that lips and lids do not mix."""
    shape = opened(kit)
    points, at = shape[used], shape[kit.landmark_vertices[:SKIN]]
    sigma = np.maximum(np.array(SPACING[:SKIN]) * CROP / 1000, 0.25)
    weight = np.exp(-((points[:, None] - at[None]) ** 2).sum(2) / (2 * sigma**2))
    weight = weight / (weight.sum(1, keepdims=True) + 0.05)
    weight[kind != FACE] = 0
    where = np.searchsorted(used, kit.landmark_vertices[:SKIN])
    # Once more what the first pass leaves at the landmarks themselves.
    return (weight + weight @ (np.eye(SKIN) - weight[where])).astype(np.float32)


def iris_rows() -> list[slice]:
    """Where the left and the right iris stand among the landmarks."""
    return [IRISES["Left"], IRISES["Right"]]
