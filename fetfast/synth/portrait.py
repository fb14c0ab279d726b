"""Prepares a photo for re-expressing: where the fitted mesh lies on it, how it is lit, the colours of what it hides.

Colours are as in the picture (gamma-coded), f32 0 ... 255.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from fetfast.ops.crop import crop
from fetfast.ops.teeth import weights as teeth_of
from fetfast.synth.camera import rotation_matrix
from fetfast.synth.face_submesh import FACE, OPENINGS, FaceSubmesh, iris_rows, seen_regions
from fetfast.synth.facekit import Facekit
from fetfast.synth.fit import SKIN, Fit
from fetfast.synth.inpaint import eye_colors, inpaint
from fetfast.synth.raster import concavity, halve, rasterize, vertex_normals

FARTHEST_GAZE = 0.7  # radians
EYE_TURN = np.radians(30.0)  # the eyeball's turn at eyeLook 1
WHITER, LIGHTER, BRIGHTEST = 1.3, 1.4, 232.0  # teeth, than the whites of the eyes, which lids shade, and than skin
OUTLIER = 20.0  # grey levels beside the fitted light from which on a pixel counts little
DARKEST = 0.35  # of the mean light: no side of a face is darker
LIKE = 0.7  # the power of the ratio of tones by which another's skin is brought to one's own
EDGE = 0.02  # crop sides over which it goes over into one's own
BEHIND = 0.985  # of 1 / depth, about 1.5 cm: eyeballs and sockets lie behind the lids, whatever these do
GLASSES_EDGE = 0.26  # of the picture's brightness, between two rows of pixels


@dataclass(frozen=True)
class Portrait:
    """A photo, ready to be re-expressed at one size. Points are in crop units."""

    fit: Fit
    photo: np.ndarray  # f32 [2 S, 2 S, 3]
    real: np.ndarray  # u8 [S, S, 3]
    regions: np.ndarray  # u8 [S, S] what the photo shows, as in `regions.py`
    base: np.ndarray  # f32 [N, 3] the person's shape without expression
    screen: np.ndarray  # f32 [N, 3] where the photo shows each vertex, and 1 / depth
    residual: np.ndarray  # f32 [N, 2] of the fit, as far as it stays when eyes and mouth close
    opening: np.ndarray  # f32 [3, N, 2] what there is more of it at OPENINGS that are open as in the photo
    gaps: np.ndarray  # f32 [3] how far the fitted mesh opens there
    left_over: np.ndarray  # f32 [478, 2] what is left of it at the landmarks
    light: np.ndarray  # f32 [4] brightness = light @ (1, normal)
    shade: np.ndarray  # f32 [N] brightness of the fitted shape
    creases: np.ndarray  # f32 [N] its concavity, where it is concave
    trust: np.ndarray  # f32 [N] 0: hidden in the photo
    paint: np.ndarray  # f32 [N, 3] its colour then
    iris: np.ndarray  # f32 [2, 3] colours: of the iris, of the white
    glasses: bool


def gaze_of(kit: Facekit, expression: np.ndarray) -> np.ndarray:
    """Gaze [2, 2] (left, right) x (yaw to the subject's left, pitch up), radians, of the eyeLook coefficients."""
    value = dict(zip(kit.expression_names, expression, strict=True))
    rows = []
    for side, outward in (("L", 1), ("R", -1)):
        yaw = outward * (value[f"eyeLookOut_{side}"] - value[f"eyeLookIn_{side}"])
        rows.append((yaw, value[f"eyeLookUp_{side}"] - value[f"eyeLookDown_{side}"]))
    return EYE_TURN * np.array(rows)


@dataclass(frozen=True)
class PosedMesh:
    """The person's mesh under an expression: placed f32 [N, 3] in camera space; screen f32 [N, 3], crop units and
    1 / depth (see Pose); irises f32 [2, 5, 2] crop units."""

    placed: np.ndarray
    screen: np.ndarray
    irises: np.ndarray


def pose_mesh(kit: Facekit, submesh: FaceSubmesh, fit: Fit, base: np.ndarray, expression: np.ndarray) -> PosedMesh:
    """Applies an expression, its gaze and the fit's pose to a shape without expression f32 [N, 3]."""
    used = np.flatnonzero(expression)
    shape = base + np.tensordot(expression[used].astype(np.float32), submesh.expressions[used], 1)
    gaze = fit.gaze + gaze_of(kit, expression) - gaze_of(kit, fit.expression)
    irises = []
    for side, ball in enumerate(submesh.balls):
        yaw, pitch = np.clip(gaze[side], -FARTHEST_GAZE, FARTHEST_GAZE)
        turn = (rotation_matrix(np.array([0, yaw, 0])) @ rotation_matrix(np.array([-pitch, 0, 0]))).astype(np.float32)
        center = submesh.centers[side] + (base[ball] - submesh.neutral[ball]).mean(0)
        shape[ball] = (shape[ball] - center) @ turn.T + center
        irises.append((submesh.irises[side] - submesh.centers[side]) @ turn.T + center)
    placed = fit.pose.place(shape)
    screen = fit.pose.project(placed)
    screen[submesh.behind_lids, 2] *= BEHIND  # an eyeball that bulges through a lid is not seen
    points = fit.pose.project(fit.pose.place(np.concatenate(irises)))[:, :2]
    return PosedMesh(placed, screen, points.reshape(2, 5, 2))


def points_of(submesh: FaceSubmesh, screen: np.ndarray, irises: np.ndarray) -> np.ndarray:
    """Landmarks f32 [478, 2] of a posed mesh."""
    points = np.empty((478, 2), np.float32)
    points[:SKIN] = screen[submesh.landmarks, :2]
    for rows, eye in zip(iris_rows(), irises, strict=True):
        points[rows] = eye
    return points


def set_teeth(submesh: FaceSubmesh, screen: np.ndarray, target_points: np.ndarray, points: np.ndarray) -> None:
    """Moves teeth and gums to where `ops.teeth` draws them for these landmarks [478, 2]: re-expressed pictures fit the
    map that the network is shown. Where the teeth of a photo really stand, landmarks do not tell."""
    screen[submesh.jaws, :2] += submesh.with_teeth @ (
        teeth_of() @ np.concatenate((points, target_points)) - screen[submesh.teeth, :2].mean(1)
    )


def openness(points: np.ndarray) -> np.ndarray:
    """f32 [3]: how far each of OPENINGS stands open, crop units; at least a little."""
    gaps = [(points[list(lower), 1] - points[list(upper), 1]).mean() for upper, lower in OPENINGS]
    return np.maximum(np.array(gaps, np.float32), 1e-4)


def prepare(kit: Facekit, submesh: FaceSubmesh, picture: np.ndarray, fit: Fit, size: int) -> Portrait:
    """Prepares a picture of any size, with the fit of its face, for pictures of size x size."""
    photo = (crop(picture, fit.M, 2 * size).transpose(1, 2, 0) + 1) * np.float32(127.5)
    return _prepare(kit, submesh, np.ascontiguousarray(photo), fit, wears_glasses(picture, fit))


def mixed(kit: Facekit, submesh: FaceSubmesh, one: Portrait, other: Portrait, share: float) -> Portrait:
    """Blends a share (0 ... 1) of the other's skin into `one`, through the mesh, brought most of the way to their tone:
    somebody between two people. Eyes and mouth stay."""
    size = len(one.photo)
    seen, weights = draw(one.screen, submesh.triangles, size, np.zeros((size, size), np.float32))
    skin = (seen >= 0) & (submesh.triangle_kind[seen] == FACE)
    corners = submesh.triangles[seen[skin]]
    x, y, shown = np.einsum(
        "pk,pkc->cp", weights[skin], np.c_[other.screen[:, :2], visible(submesh, other.screen)][corners]
    )
    at = np.stack((y, x)) * size - 0.5
    colors = np.stack([map_coordinates(other.photo[..., n], at, order=1, mode="nearest") for n in range(3)], 1)
    own = one.photo[skin]
    colors *= ((own.mean(0) + 1) / (colors.mean(0) + 1)) ** LIKE
    away = gaussian_filter(skin.astype(np.float32), EDGE * size)[skin]
    amount = share * shown * np.clip((away - 0.55) / 0.4, 0, 1)
    photo = one.photo.copy()
    photo[skin] = np.clip(own + amount[:, None] * (colors - own), 0, 255)
    return _prepare(kit, submesh, photo, one.fit, one.glasses)


def _prepare(kit: Facekit, submesh: FaceSubmesh, photo: np.ndarray, fit: Fit, glasses: bool) -> Portrait:
    """Of a photo f32 [2 S, 2 S, 3], seen in the crop of its fit."""
    size = len(photo) // 2
    real = (halve(photo) + 0.5).astype(np.uint8)
    base = (submesh.neutral + np.tensordot(fit.identity, submesh.identities, 1)).astype(np.float32)
    posed = pose_mesh(kit, submesh, fit, base, fit.expression)
    placed, screen, irises = posed.placed, posed.screen, posed.irises
    points = points_of(submesh, screen, irises)
    error = (fit.landmarks - points)[:SKIN]
    residual, opening = submesh.spread @ error, []
    for upper, lower in OPENINGS:
        apart = np.zeros_like(error)
        apart[list(upper)] = (error[list(upper)] - error[list(lower)]) / 2
        apart[list(lower)] = -apart[list(upper)]
        opening.append(submesh.spread @ apart)
        residual -= opening[-1]
    gaps = openness(points)
    screen[:, :2] += residual + sum(opening)
    left_over = fit.landmarks - points_of(submesh, screen, irises)
    set_teeth(submesh, screen, fit.landmarks, fit.landmarks)
    regions = seen_regions(
        submesh, draw(screen, submesh.triangles, 2 * size, np.zeros((2 * size, 2 * size), np.float32))[0]
    )
    normals = vertex_normals(placed, submesh.triangles)
    colors = sample(photo, screen[:, :2])
    seen = visible(submesh, screen)
    skin = (submesh.kind == FACE) & (normals[:, 2] > 0.3) & (submesh.lids == 0)
    light = fit_light(colors[skin], normals[skin])
    eyes = eye_colors(submesh, base, fit, colors, seen, colors[skin])
    tone = np.median(colors[skin], 0).mean()
    bright = min(max(WHITER * eyes[1].mean(), LIGHTER * tone), BRIGHTEST)
    tint = np.sqrt(eyes[1] / eyes[1].mean())  # no more: few pixels show the eyes' whites, and blue teeth look odd
    teeth = tint * np.array([1.04, 1.0, 0.95]) * bright
    trust, paint = inpaint(submesh, fit, base, colors, seen, normals, teeth)
    return Portrait(
        fit, photo, real, regions, base, screen, residual, np.stack(opening), gaps,
        left_over, light, brightness(light, normals), np.maximum(concavity(placed, submesh.triangles, normals), 0),
        trust, paint, eyes, glasses,
    )  # fmt: skip


def wears_glasses(picture: np.ndarray, fit: Fit) -> bool:
    """Does a sharp edge cross the bridge of the nose? Right for all 56 portraits it was set on, 12 with glasses."""
    grey = (crop(picture, fit.M, 256).mean(0) + 1) * 127.5
    x, top, low = (256 * np.array([fit.landmarks[9, 0], fit.landmarks[9, 1], fit.landmarks[5, 1]])).astype(int)
    bridge = grey[top:low, x - 3 : x + 4].mean(1)
    return bool(np.abs(np.diff(bridge)).max(initial=0) > GLASSES_EDGE * (grey.mean() + 20))


def sample(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Colours f32 [N, 3] of the photo at points in crop units (nearest pixel)."""
    x, y = np.clip((points * len(photo)).astype(int), 0, len(photo) - 1).T
    return photo[y, x]


def visible(submesh: FaceSubmesh, screen: np.ndarray, size: int = 256) -> np.ndarray:
    """f32 [N] 0 ... 1: does the camera see a vertex and what lies 1.5 pixels around it."""
    near = np.zeros((size, size), np.float32)
    draw(screen, submesh.triangles, size, near)
    x, y = (screen[:, :2] * size).T
    seen = np.zeros(len(screen), np.float32)
    for dx, dy in ((0, 0), (1.5, 0), (-1.5, 0), (0, 1.5), (0, -1.5)):
        column, row = (np.clip(v.astype(int), 0, size - 1) for v in (x + dx, y + dy))
        seen += screen[:, 2] > near[row, column] - 3e-5
    return np.clip((seen - 2) / 3, 0, 1)


def draw(screen: np.ndarray, triangles: np.ndarray, size: int, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rasterise points in crop units at `size`: triangle per pixel, weights."""
    points = screen * np.array([size, size, 1], np.float32)
    seen = np.full((size, size), -1, np.int32)
    weights = np.empty((size, size, 3), np.float32)
    rasterize(points, triangles, seen, weights, near)
    return seen, weights


def fit_light(colors: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Brightness as a linear function of the normal (first-order spherical harmonics), least squares, robust."""
    value = colors.mean(1)
    system = np.c_[np.ones(len(normals)), normals].astype(np.float64)
    weight = np.ones(len(value))
    for _ in range(4):
        rows = system * weight[:, None]
        light = np.linalg.solve(rows.T @ system + np.diag([0, 20, 20, 20]), rows.T @ value)
        weight = 1 / (1 + ((value - system @ light) / OUTLIER) ** 2)
    return light.astype(np.float32)


def brightness(light: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """f32 [N]: light on the mesh."""
    return np.maximum(light[0] + normals @ light[1:], DARKEST * light[0]).astype(np.float32)
