"""A photo made ready to be re-posed: where the fitted mesh lies on it, how it is lit, and what is painted where the
photo hides what a new expression shows.

Colours are as in the picture (gamma-coded), f32 0 ... 255.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fetfast.ops.crop import crop
from fetfast.train.facekit import Facekit
from fetfast.train.synth.camera import rotation_matrix
from fetfast.train.synth.fit import SKIN, Fit
from fetfast.train.synth.mask import FACE, MOUTH, SOCKET, TEETH, Mask, iris_rows
from fetfast.train.synth.raster import concavity, rasterize, vertex_normals

LOOK = np.radians(30.0)  # the eyeball's turn at eyeLook 1
LIP_GAP = 0.05  # of the eye distance: photographed teeth are trusted above
GLASSES_EDGE = 0.26  # of the picture's brightness, between two rows of pixels
RED = [
    0,
    17,
    37,
    267,
    39,
    269,
    84,
    314,
    181,
    405,
    40,
    270,
    91,
    321,
    61,
    291,
]  # landmarks of the lips' outer edge
# Landmarks that touch when an eye or the mouth closes: upper, lower.
OPENINGS = (
    ((246, 161, 160, 159, 158, 157, 173), (7, 163, 144, 145, 153, 154, 155)),
    ((466, 388, 387, 386, 385, 384, 398), (249, 390, 373, 374, 380, 381, 382)),
    ((191, 80, 81, 82, 13, 312, 311, 310, 415), (95, 88, 178, 87, 14, 317, 402, 318, 324)),
)
LASHES = 0.15  # cm: half the width of the dark line that they draw along a lid


@dataclass(frozen=True)
class Portrait:
    """A photo, ready to be re-posed at one size. Points are in crop units."""

    fit: Fit
    photo: np.ndarray  # f32 [2 S, 2 S, 3]
    real: np.ndarray  # u8 [S, S, 3]
    base: np.ndarray  # f32 [N, 3] the person's shape without expression
    start: np.ndarray  # f32 [N, 2] where the photo shows each vertex
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


def look_of(kit: Facekit, expression: np.ndarray) -> np.ndarray:
    """Gaze [2, 2] (left, right) x (yaw to the subject's left, pitch up), radians, of the eyeLook coefficients."""
    value = dict(zip(kit.expression_names, expression, strict=True))
    rows = []
    for side, outward in (("L", 1), ("R", -1)):
        yaw = outward * (value[f"eyeLookOut_{side}"] - value[f"eyeLookIn_{side}"])
        rows.append((yaw, value[f"eyeLookUp_{side}"] - value[f"eyeLookDown_{side}"]))
    return LOOK * np.array(rows)


def pose_mesh(kit: Facekit, mask: Mask, fit: Fit, base: np.ndarray, expression: np.ndarray):
    """The person's mesh under an expression: camera space [N, 3], screen [N, 3] (see Pose), irises [2, 5, 2]."""
    used = np.flatnonzero(expression)
    shape = base + np.tensordot(expression[used].astype(np.float32), mask.expressions[used], 1)
    gaze = fit.gaze + look_of(kit, expression) - look_of(kit, fit.expression)
    irises = []
    for side, ball in enumerate(mask.balls):
        yaw, pitch = np.clip(gaze[side], -0.7, 0.7)
        turn = (rotation_matrix(np.array([0, yaw, 0])) @ rotation_matrix(np.array([-pitch, 0, 0]))).astype(np.float32)
        center = mask.centers[side] + (base[ball] - mask.neutral[ball]).mean(0)
        shape[ball] = (shape[ball] - center) @ turn.T + center
        irises.append((mask.irises[side] - mask.centers[side]) @ turn.T + center)
    placed = fit.pose.place(shape)
    screen = fit.pose.project(placed)
    return placed, screen, fit.pose.project(fit.pose.place(np.concatenate(irises)))[:, :2].reshape(2, 5, 2)


def points_of(mask: Mask, screen: np.ndarray, irises: np.ndarray) -> np.ndarray:
    """Landmarks f32 [478, 2] of a posed mesh."""
    points = np.empty((478, 2), np.float32)
    points[:SKIN] = screen[mask.landmarks, :2]
    for rows, eye in zip(iris_rows(), irises, strict=True):
        points[rows] = eye
    return points


def openness(points: np.ndarray) -> np.ndarray:
    """f32 [3]: how far each of OPENINGS stands open, crop units; at least a little."""
    gaps = [(points[list(lower), 1] - points[list(upper), 1]).mean() for upper, lower in OPENINGS]
    return np.maximum(np.array(gaps, np.float32), 1e-4)


def prepare(kit: Facekit, mask: Mask, picture: np.ndarray, fit: Fit, size: int) -> Portrait:
    """Everything about a photo that does not depend on the new expression."""
    photo = (crop(picture, fit.M, 2 * size).transpose(1, 2, 0) + 1) * np.float32(127.5)
    real = ((crop(picture, fit.M, size).transpose(1, 2, 0) + 1) * 127.5 + 0.5).astype(np.uint8)
    base = (mask.neutral + np.tensordot(fit.identity, mask.identities, 1)).astype(np.float32)
    placed, screen, irises = pose_mesh(kit, mask, fit, base, fit.expression)
    points = points_of(mask, screen, irises)
    error = (fit.landmarks - points)[:SKIN]
    residual, opening = mask.spread @ error, []
    for upper, lower in OPENINGS:
        apart = np.zeros_like(error)
        apart[list(upper)] = (error[list(upper)] - error[list(lower)]) / 2
        apart[list(lower)] = -apart[list(upper)]
        opening.append(mask.spread @ apart)
        residual -= opening[-1]
    gaps = openness(points)
    screen[:, :2] += residual + sum(opening)
    left_over = fit.landmarks - points_of(mask, screen, irises)
    normals = vertex_normals(placed, mask.triangles)
    colors = sample(photo, screen[:, :2])
    seen = visible(mask, screen)
    skin = (mask.kind == FACE) & (normals[:, 2] > 0.3) & (mask.lids == 0)
    light = fit_light(colors[skin], normals[skin])
    eyes = eye_colors(mask, base, fit, colors, seen, colors[skin])
    tone = np.median(colors[skin], 0).mean()
    teeth = eyes[1] * np.array([1.04, 1.0, 0.93]) * max(1.1, 1.2 * tone / eyes[1].mean())
    trust, paint = fill(mask, fit, base, colors, seen, normals, teeth)
    return Portrait(
        fit, np.ascontiguousarray(photo), real, base, screen[:, :2].copy(), residual, np.stack(opening), gaps,
        left_over, light, brightness(light, normals), np.maximum(concavity(placed, mask.triangles, normals), 0),
        trust, paint, eyes, wears_glasses(picture, fit),
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


def visible(mask: Mask, screen: np.ndarray, size: int = 256) -> np.ndarray:
    """f32 [N] 0 ... 1: does the camera see a vertex and what lies 1.5 pixels around it."""
    near = np.zeros((size, size), np.float32)
    draw(screen, mask.triangles, size, near)
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
        weight = 1 / (1 + ((value - system @ light) / 20) ** 2)
    return light.astype(np.float32)


def brightness(light: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """f32 [N]: light on the mesh."""
    return np.maximum(light[0] + normals @ light[1:], 0.35 * light[0]).astype(np.float32)


def eye_colors(mask: Mask, base: np.ndarray, fit: Fit, colors: np.ndarray, seen: np.ndarray, skin: np.ndarray):
    """Iris and white of the eyes, f32 [2, 3], from what the photo shows of them, else guessed from the skin."""
    tone = np.median(skin, 0)
    angle = np.concatenate([np.degrees(np.arccos(np.clip(directions(mask, s)[:, 2], -1, 1))) for s in (0, 1)])
    color, clear = colors[np.concatenate(mask.balls)], seen[np.concatenate(mask.balls)] > 0.9
    white_at, iris_at = clear & (angle > 31) & (angle < 60), clear & (angle > 13) & (angle < 24)
    white = np.array([0.95, 0.93, 0.92]) * np.clip(tone.mean() * 1.15, 70, 230)
    if white_at.sum() > 8:
        bright = color[white_at]
        bright = bright[bright.mean(1) >= np.percentile(bright.mean(1), 70)]
        shown = 0.75 * bright.mean(0) + 0.25 * bright.mean()
        white = shown * max(1, 0.6 * white.mean() / shown.mean())  # lashes and lids shade it
    iris_color = np.array([60.0, 45, 38]) * white.mean() / 200
    if iris_at.sum() > 8:
        iris_color = np.median(color[iris_at], 0)
    return np.stack([iris_color, white]).astype(np.float32)


def directions(mask: Mask, side: int) -> np.ndarray:
    """Unit vectors f32 [V, 3] from an eyeball's centre to its vertices, the pupil at +z."""
    away = mask.neutral[mask.balls[side]] - mask.centers[side]
    return away / np.linalg.norm(away, axis=1, keepdims=True)


def fill(mask, fit, base, colors, seen, normals, tooth_tone) -> tuple[np.ndarray, np.ndarray]:
    """How far the photo is trusted at each vertex, and what is painted where it is not."""
    trust = np.ones(len(base), np.float32)
    paint = np.zeros((len(base), 3), np.float32)
    lip = np.median(colors[mask.landmarks[[0, 17, 37, 267, 84, 314]]], 0)
    y, z = mask.neutral[:, 1], mask.neutral[:, 2]

    inner = (mask.kind == TEETH) | (mask.kind == MOUTH)
    eyes = np.linalg.norm(fit.landmarks[263] - fit.landmarks[33])
    gap = np.linalg.norm(fit.landmarks[13] - fit.landmarks[14]) / eyes
    depth = np.clip((z - 5.5) / 5.0, 0, 1)
    tooth, flesh = mask.kind == TEETH, lip * np.array([0.9, 0.64, 0.64])
    trust[inner] = 0
    shown = inner & (seen > 0.6)
    if gap > LIP_GAP and shown.any():
        # The fit knows little of what lies behind the lips: teeth are teeth only where the photo is as bright.
        enamel = toothlike(colors, lip, colors[shown])
        trust[inner] = seen[inner] * np.where(tooth, enamel, 1 - enamel)[inner]
        if (tooth & (trust > 0.8)).sum() > 30:
            tooth_tone = np.percentile(colors[tooth & (trust > 0.8)], 75, axis=0)
        if (inner & ~tooth & (trust > 0.8)).sum() > 30:
            flesh = np.median(colors[inner & ~tooth & (trust > 0.8)], 0)
    relief = 0.1 + 0.9 * depth**2.5  # darker to the back, and in the gaps
    relief *= 0.7 + 0.3 * np.clip(normals[:, 2], 0, 1)
    shaded = tooth_tone * relief[:, None] + 0.3 * flesh * (1 - relief[:, None])  # red light in the mouth: not grey
    paint[tooth] = np.minimum(shaded, 250)[tooth]
    paint[mask.kind == MOUTH] = (flesh * (0.15 + 0.65 * depth[:, None] ** 2))[mask.kind == MOUTH]

    balls = np.concatenate(mask.balls)
    trust[balls] = seen[balls]

    # A lid's skin comes from below the brow, where the photo shows it.
    lids = mask.lids > 0
    trust[lids] = 1 - mask.lids[lids] * (1 - np.clip((normals[lids, 2] - 0.1) / 0.3, 0, 1) * seen[lids])
    for side in (-1, 1):
        mine = lids & (np.sign(mask.neutral[:, 0]) == side)
        shown = mine & (trust > 0.95)
        if shown.any():
            away = np.abs(mask.neutral[mine, None, :1] - mask.neutral[None, shown, :1])[..., 0]
            away += 0.3 * np.abs(y[mine, None] - y[None, shown])
            weight = np.exp(-((away / 0.5) ** 2)) + 1e-9
            paint[mine] = weight @ colors[shown] / weight.sum(1, keepdims=True)
    rim = mask.neutral[mask.landmarks[[*OPENINGS[0][0], *OPENINGS[1][0]]]]
    away = ((mask.neutral[lids, None] - rim) ** 2).sum(2).min(1)
    paint[lids] *= 1 - 0.6 * np.exp(-away[:, None] / LASHES**2)
    hidden = np.clip((mask.lips + (0.1 if gap > LIP_GAP else 0)) / 0.15, 0, 1)  # landmarks may lie on the teeth
    lips = hidden > 0
    near = mask.neutral[lips, None, 0] - mask.neutral[None, mask.landmarks[RED], 0]
    weight = np.exp(-((near / 0.5) ** 2)) + 1e-9
    trust[lips] = 1 - hidden[lips]
    paint[lips] = 0.8 * weight @ colors[mask.landmarks[RED]] / weight.sum(1, keepdims=True)
    trust[mask.kind == SOCKET] = 0
    paint[mask.kind == SOCKET] = 0.5 * lip
    return trust.astype(np.float32), paint.astype(np.float32)


def toothlike(colors: np.ndarray, lip: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """f32 [N] 0 ... 1: is a colour [N, 3] as bright, and as much less red than the lips, as the brightest `inside`?"""
    grey, red = colors.mean(1), colors[:, 0] / (colors[:, 1] + 1)
    top = np.percentile(inside.mean(1), 90)
    bright = inside[inside.mean(1) >= top].mean(0)
    paler = (lip[0] / (lip[1] + 1) - red) / max(lip[0] / (lip[1] + 1) - bright[0] / (bright[1] + 1), 0.15)
    return np.clip((grey / top - 0.5) / 0.2, 0, 1) * np.clip((paler - 0.25) / 0.3, 0, 1)
