"""Renders a portrait under another expression: its own pixels, moved by the fitted model.

Skin is the photo seen through the z-buffered mesh and relit by the ratio of a linear shading model; round the face the
displacement fades. What the photo hides (teeth behind lips, the eyeball behind a lid, a lid in its fold) is painted in
the photo's own tones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.ndimage import distance_transform_edt, gaussian_filter

from fetfast.synth.face_submesh import EYE_LEFT, EYE_RIGHT, FACE, TEETH, FaceSubmesh, seen_regions
from fetfast.synth.facekit import Facekit
from fetfast.synth.inpaint import directions, fringe
from fetfast.synth.lids import Blink, blink, lower_lids, shows_eyes, stays
from fetfast.synth.portrait import Portrait, brightness, draw, openness, points_of, pose_mesh, set_teeth
from fetfast.synth.raster import concavity, halve, vertex_normals

FADE = 0.16  # crop sides over which displacement dies away round the face
COARSE = 48  # side of the grid on which it does
WIDER = (8.0, 4.0, 2.0, 1.0)  # cells over which the mesh's displacement is averaged, from far away to its edge
WITHIN = 0.85  # of the last of these Gaussians: how much of it the mesh covers where its edge is not felt any more
RELIGHT = (0.75, 1.25)  # bounds of the change of light: the linear model is rough
DEEPEST = 0.04  # cm of concavity that still take light
CREASES = 12.0  # light lost a cm of concavity
FOREHEAD = 0.3  # of that is lost there: the model dents it in spots, skin folds in lines
OPENING_BLUR = 0.008  # crop sides over which the light that falls into an opening is lost at its edge
BETWEEN_BROWS = 9  # landmark
COLUMNS = 7  # displacement 2, light, trust, paint 3 (of an eyeball: direction from its centre)


@dataclass(frozen=True)
class Posed:
    """Where the mesh and the landmarks stand on the screen under an expression: placed f32 [N, 3] in camera space,
    screen f32 [N, 3] (crop units, 1 / depth), points f32 [478, 2] crop units, and how far the lids are shut."""

    placed: np.ndarray
    screen: np.ndarray
    points: np.ndarray
    blink: Blink


@dataclass(frozen=True)
class Rasterised:
    """The posed mesh on a picture of S pixels, at twice the size: screen f32 [N, 3] (crop units, 1 / depth); seen
    i32 [2 S, 2 S] (triangle, -1: none) and weights f32 [2 S, 2 S, 3]; columns f32 [N, >= 3] of its vertices:
    displacement from the photo (x, y), light (how much brighter than in the photo), and COLUMNS' rest where it is to be
    composited; around f32 [COARSE, COARSE, 4], displacement, light and cover round the mesh: all of it outside, where
    cover is .5 and less, and going over into the mesh's own up to WITHIN."""

    screen: np.ndarray
    seen: np.ndarray
    weights: np.ndarray
    columns: np.ndarray
    around: np.ndarray

    @property
    def light(self) -> np.ndarray:
        return self.columns[:, 2]


@dataclass(frozen=True)
class Picture:
    """The composited picture: image u8 [S, S, 3], points f32 [478, 2] crop units, regions u8 [S, S] (`regions.py`)."""

    image: np.ndarray
    points: np.ndarray
    regions: np.ndarray
    raster: Rasterised


def as_photographed(submesh: FaceSubmesh, portrait: Portrait) -> Rasterised:
    """Rasterises the mesh as it stands on the photo itself."""
    still = np.tile(np.array([0, 0, 1], np.float32), (len(portrait.screen), 1))
    return drawn(submesh, portrait, portrait.screen, still)


def drawn(submesh: FaceSubmesh, portrait: Portrait, screen: np.ndarray, columns: np.ndarray) -> Rasterised:
    """Rasterises the mesh at these places on the screen."""
    size = 2 * len(portrait.real)
    seen, weights = draw(screen, submesh.triangles, size, np.zeros((size, size), np.float32))
    return Rasterised(screen, seen, weights, columns, fade(seen, weights, submesh.triangles, columns))


def relight(portrait: Portrait, submesh: FaceSubmesh, placed: np.ndarray) -> np.ndarray:
    """f32 [N]: how much brighter the skin is than in the photo; less so where it creases more."""
    normals = vertex_normals(placed, submesh.triangles)
    ratio = np.clip(brightness(portrait.light, normals) / portrait.shade, *RELIGHT)
    deeper = np.clip(np.maximum(concavity(placed, submesh.triangles, normals), 0) - portrait.creases, 0, DEEPEST)
    deeper[submesh.neutral[:, 1] > submesh.neutral[submesh.landmarks[BETWEEN_BROWS], 1] + 1] *= FOREHEAD
    return np.where(submesh.kind == FACE, ratio * np.exp(-CREASES * deeper), 1)


def reexpress(
    kit: Facekit,
    submesh: FaceSubmesh,
    portrait: Portrait,
    expression: np.ndarray,
    target_points: np.ndarray | None = None,
) -> Picture:
    """Renders the portrait under expression coefficients [53]. target_points f32 [478, 2]: the landmarks of the pair's
    target, which tell where `ops.teeth` draws its teeth; None: this is the target."""
    posed = pose(kit, submesh, portrait, expression, target_points)
    raster = rasterise(submesh, portrait, posed)
    image = composite(submesh, portrait, raster)
    return Picture((halve(image) + 0.5).astype(np.uint8), posed.points, seen_regions(submesh, raster.seen), raster)


def pose(
    kit: Facekit,
    submesh: FaceSubmesh,
    portrait: Portrait,
    expression: np.ndarray,
    target_points: np.ndarray | None = None,
) -> Posed:
    """Poses the mesh: expression, gaze and pose; then what the fit left over, lids that meet, and teeth in place."""
    closed = blink(kit, submesh, portrait.fit, portrait.base, expression, portrait.residual)
    mesh = pose_mesh(kit, submesh, portrait.fit, portrait.base, closed.expression)
    screen = mesh.screen.copy()
    share = np.clip(openness(points_of(submesh, screen, mesh.irises)) / portrait.gaps, 0, 1)
    share[:2] = np.minimum(share[:2], 1 - closed.shut[::-1])
    screen[:, :2] += portrait.residual + np.tensordot(share, portrait.opening, 1)
    lower_lids(submesh, screen, closed)
    points = points_of(submesh, screen, mesh.irises) + stays(portrait.left_over, closed)
    set_teeth(submesh, screen, points if target_points is None else target_points, points)
    return Posed(mesh.placed, screen, points, closed)


def rasterise(submesh: FaceSubmesh, portrait: Portrait, posed: Posed) -> Rasterised:
    """Rasterises the posed mesh, with all that compositing reads of its vertices."""
    columns = np.empty((len(posed.screen), COLUMNS), np.float32)
    columns[:, :2] = portrait.screen[:, :2] - posed.screen[:, :2]
    columns[:, 2] = relight(portrait, submesh, posed.placed)
    columns[:, 3] = portrait.trust * (1 - fringe(submesh) @ (posed.blink.shut * shows_eyes(portrait.fit.landmarks)))
    columns[:, 4:7] = portrait.paint
    for side, ball in enumerate(submesh.balls):
        columns[ball, 4:7] = directions(submesh, side)
    return drawn(submesh, portrait, posed.screen, columns)


def composite(submesh: FaceSubmesh, portrait: Portrait, raster: Rasterised) -> np.ndarray:
    """Moves, relights and inpaints the photo's pixels: f32 [2 S, 2 S, 3]."""
    dim = shadowed(raster.seen, submesh.triangle_kind)
    out = np.empty((*raster.seen.shape, 3), np.float32)
    mesh = submesh.triangles, submesh.triangle_kind
    compose(portrait.photo, raster.seen, raster.weights, *mesh, raster.columns, raster.around, dim, portrait.iris, out)
    return out


def motion(submesh: FaceSubmesh, target: Rasterised, truth: Rasterised) -> tuple[np.ndarray, np.ndarray]:
    """Where the target shows what the truth shows: a backward flow f16 [S / 2, S / 2, 2], crop units; and how much
    brighter it is there, less one: f16 [S / 2, S / 2].

    On the skin it is the mesh's, and on teeth that the target shows as well; round the face, and by and by at the
    mesh's edge (`outside`), the truth looks at the photo from p, and the target looks there from q:
    q + around_target(q) = p + around_truth(p), solved for q. NaN elsewhere.
    """
    side = len(truth.seen) // 4
    out = np.empty((side, side, 3), np.float32)
    change = np.c_[(target.screen - truth.screen)[:, :2], truth.light / target.light - 1]
    kind, around = submesh.triangle_kind, (target.around, truth.around)
    _motion(truth.seen, truth.weights, target.seen, submesh.triangles, kind, change, *around, out)
    return out[..., :2].astype(np.float16), out[..., 2].astype(np.float16)


def fade(seen, weights, triangles, columns) -> np.ndarray:
    """Displacement and cover f32 [COARSE, COARSE, 4] (x, y, light, cover): the mesh's, averaged the more widely the
    farther it is, so that neighbours outside of it move alike, and dying away with distance."""
    step = len(seen) / COARSE
    at = ((np.arange(COARSE) + 0.5) * step).astype(int)
    near = seen[np.ix_(at, at)]
    inside = near >= 0
    found = np.zeros((COARSE, COARSE, 4), np.float32)
    found[inside, :3] = np.einsum("pk,pkc->pc", weights[np.ix_(at, at)][inside], columns[triangles[near[inside]], :3])
    found[inside, 2] -= 1
    found[inside, 3] = 1
    out = np.zeros_like(found)
    for width in WIDER:
        mean = gaussian_filter(found, (width, width, 0), mode="nearest")
        cover = mean[..., 3:]
        share = np.clip(2 * cover, 0, 1)
        out += share * (mean / np.maximum(cover, 1e-6) - out)
    out[..., 3:] = cover
    distance = gaussian_filter(distance_transform_edt(~inside), 1.0)
    weight = np.clip(1 - distance / (FADE * COARSE), 0, 1)
    out[..., :3] *= (weight**2 * (3 - 2 * weight))[..., None]
    out[..., 2] *= np.clip(1 - distance / 3, 0, 1)  # light changes on the skin alone
    return out


def shadowed(seen: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """f32 [COARSE * 2, COARSE * 2]: light that falls into openings, 1 in the open, less near their edges."""
    side = 2 * COARSE
    at = ((np.arange(side) + 0.5) * len(seen) / side).astype(int)
    near = seen[np.ix_(at, at)]
    inner = ((near >= 0) & (kind[np.maximum(near, 0)] != FACE)).astype(np.float32)
    return gaussian_filter(inner, side * OPENING_BLUR)


@njit(cache=True, nogil=True)
def bilinear(image: np.ndarray, x: float, y: float, out: np.ndarray) -> None:
    """out[:] = image at (x, y) in its pixels, centres at + 0.5, borders repeated."""
    height, width = image.shape[0], image.shape[1]
    x, y = min(max(x - 0.5, 0.0), width - 1.0), min(max(y - 0.5, 0.0), height - 1.0)
    c, r = min(int(x), width - 2), min(int(y), height - 2)
    fx, fy = x - c, y - r
    for n in range(out.shape[0]):
        top = image[r, c, n] + fx * (image[r, c + 1, n] - image[r, c, n])
        low = image[r + 1, c, n] + fx * (image[r + 1, c + 1, n] - image[r + 1, c, n])
        out[n] = top + fy * (low - top)


@njit(cache=True, nogil=True)
def outside(cover: float) -> float:
    """How much a pixel of skin goes with what surrounds the mesh: 1 at its edge, 0 from WITHIN on."""
    return min(max((WITHIN - cover) / (WITHIN - 0.5), 0.0), 1.0)


@njit(cache=True, nogil=True)
def _motion(seen, weights, target_seen, triangles, kind, change, target_around, truth_around, out) -> None:
    size, side, coarse = seen.shape[0], out.shape[0], truth_around.shape[0]
    step = size // side
    moved = np.zeros(4, np.float32)
    for row in range(side):
        for column in range(side):
            at_row, at_column = row * step + step // 2, column * step + step // 2
            t = seen[at_row, at_column]
            x, y = (column + 0.5) / side, (row + 0.5) / side
            bilinear(truth_around, x * coarse, y * coarse, moved)
            edge = 1.0 if t < 0 else outside(moved[3]) if kind[t] == FACE else 0.0
            out[row, column, :] = 0.0
            if edge > 0:
                to_x, to_y, light = x + moved[0], y + moved[1], 1 + moved[2]
                from_x, from_y = to_x, to_y
                for _ in range(4):
                    bilinear(target_around, from_x * coarse, from_y * coarse, moved)
                    from_x, from_y = to_x - moved[0], to_y - moved[1]
                out[row, column, 0], out[row, column, 1] = edge * (from_x - x), edge * (from_y - y)
                out[row, column, 2] = edge * (light / (1 + moved[2]) - 1)
            if t >= 0:
                for n in range(3):
                    for corner in range(3):
                        own = weights[at_row, at_column, corner] * change[triangles[t, corner], n]
                        out[row, column, n] += (1 - edge) * own
                if kind[t] != FACE:
                    c = min(max(int(at_column + out[row, column, 0] * size), 0), size - 1)
                    r = min(max(int(at_row + out[row, column, 1] * size), 0), size - 1)
                    there = target_seen[r, c]
                    if kind[t] != TEETH or there < 0 or kind[there] != TEETH:
                        out[row, column, :] = np.nan


@njit(cache=True, nogil=True)
def compose(photo, seen, weights, triangles, kind, columns, around, dim, iris, out) -> None:
    """The picture f32 [R, R, 3] from the raster's buffers."""
    size, coarse, fine = seen.shape[0], around.shape[0], dim.shape[0]
    a = np.zeros(columns.shape[1], np.float32)
    moved = np.zeros(4, np.float32)
    color = np.zeros(3, np.float32)
    for row in range(size):
        for column in range(size):
            t = seen[row, column]
            if t < 0:
                bilinear(around, (column + 0.5) * coarse / size, (row + 0.5) * coarse / size, moved)
                bilinear(photo, column + 0.5 + moved[0] * size, row + 0.5 + moved[1] * size, color)
                for n in range(3):
                    out[row, column, n] = min(color[n] * (1 + moved[2]), 255.0)
                continue
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            u, v, w = weights[row, column, 0], weights[row, column, 1], weights[row, column, 2]
            for n in range(columns.shape[1]):
                a[n] = u * columns[i, n] + v * columns[j, n] + w * columns[k, n]
            if kind[t] == FACE:
                bilinear(around, (column + 0.5) * coarse / size, (row + 0.5) * coarse / size, moved)
                edge = outside(moved[3])
                a[0], a[1] = a[0] + edge * (moved[0] - a[0]), a[1] + edge * (moved[1] - a[1])
                a[2] += edge * (1 + moved[2] - a[2])
            bilinear(photo, column + 0.5 + a[0] * size, row + 0.5 + a[1] * size, color)
            trust = a[3]
            part = kind[t]
            if part == FACE:
                for n in range(3):
                    c = color[n] + (1 - trust) * (a[4 + n] - color[n])
                    out[row, column, n] = min(c * a[2], 255.0)
                continue
            y = min(int((row + 0.5) * fine / size), fine - 1)
            x = min(int((column + 0.5) * fine / size), fine - 1)
            lit = min(max(2.0 * dim[y, x] - 0.6, 0.15), 1.0)
            if part == EYE_LEFT or part == EYE_RIGHT:
                lit = 0.55 + 0.45 * lit
                length = np.sqrt(a[4] * a[4] + a[5] * a[5] + a[6] * a[6])
                angle = np.degrees(np.arccos(min(abs(a[6]) / length, 1.0)))  # the back shows through the open pupil
                white = min(max((angle - 25.0) / 3.5, 0.0), 1.0)
                pupil = min(max((13.0 - angle) / 3.0, 0.0), 1.0)
                for n in range(3):
                    c = iris[0, n] + white * (iris[1, n] - iris[0, n])
                    c = (c + pupil * (12.0 - c)) * lit
                    out[row, column, n] = c + trust * (color[n] - c)
            else:
                lit = 0.8 + 0.2 * lit if part == TEETH else 0.3 + 0.7 * lit
                for n in range(3):
                    c = a[4 + n] * lit
                    out[row, column, n] = c + trust * (color[n] - c)
