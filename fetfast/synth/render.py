"""Renders the morphable model alone: procedural materials, hair and glasses, one key light and ambient light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from fetfast.synth import regions
from fetfast.synth.accessories import glasses, hair_field, long_hair, scalp
from fetfast.synth.appearance import Appearance
from fetfast.synth.camera import Pose, eyeballs, turn_eyes
from fetfast.synth.facekit import Facekit
from fetfast.synth.materials import (
    HAIRLINE,
    POSITION,
    Charts,
    fractal,
    iris,
    mix,
    noise,
    roots,
    shirt,
    skin,
    step,
    strands,
)
from fetfast.synth.raster import halve, interpolate, rasterize, vertex_normals


@dataclass(frozen=True)
class Posed:
    """Head, hair and glasses as one mesh before a camera: placed f32 [V, 3] in camera space; screen f32 [V, 3], pixels
    of a picture of twice the size and 1 / depth; triangles i32 [T, 3] and the part of each i32 [T]; chart f32 [V, 6]
    and hairline f32 [V], where a vertex lies on the neutral head; eyes f32 [2, 3], the eyeballs' centres as placed."""

    placed: np.ndarray
    screen: np.ndarray
    triangles: np.ndarray
    parts: np.ndarray
    chart: np.ndarray
    hairline: np.ndarray
    eyes: np.ndarray


@dataclass(frozen=True)
class Scene:
    """The posed mesh rasterised at twice the size: the raster's buffers and interpolated columns."""

    seen: np.ndarray  # i32 [H, W]
    near: np.ndarray  # f32 [H, W]
    attributes: np.ndarray  # f32 [H, W, 13]: chart 6, normal 3, camera position 3, hairline
    part: np.ndarray  # i32 [H, W], -1 where there is nothing


HAIR, RIM = 100, 101  # parts beyond the kit's own
CHART, NORMAL, PLACED = slice(0, 6), slice(6, 9), slice(9, 12)  # columns of a Scene, beside those of materials


def render(
    kit: Facekit,
    charts: Charts,
    shape: np.ndarray,  # f32 [N, 3]: identity and expression applied, eyes straight
    gaze: np.ndarray,
    pose: Pose,  # for a picture of `size` pixels
    appearance: Appearance,
    size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """A portrait u8 [size, size, 3], and what its pixels show, u8 [size, size] as in `regions.py`."""
    posed = posed_scene(kit, charts, turn_eyes(kit, shape, gaze), pose, appearance)
    scene = rasterise(posed, 2 * size)
    color = composite(kit, posed, scene, appearance)
    return to_srgb(halve(color.astype(np.float32))), shown(kit, scene)[::2, ::2]


def composite(kit: Facekit, posed: Posed, scene: Scene, appearance: Appearance) -> np.ndarray:
    """Lights the scene and lays the lashes over it: linear f32 [H, W, 3]."""
    lit = shadow(posed.placed, posed.triangles, scene, appearance)
    return lashes(kit, shade(kit, scene, appearance, lit, posed.eyes), posed.screen, scene.near)


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear f32 -> sRGB u8, highlights rolled off softly."""
    x = np.where(linear > 0.8, 0.8 + 0.2 * np.tanh((linear - 0.8) / 0.2), np.maximum(linear, 0))
    x = np.where(x < 0.0031308, 12.92 * x, 1.055 * np.power(np.maximum(x, 1e-6), 1 / 2.4) - 0.055)
    return np.clip(x * 255 + 0.5, 0, 255).astype(np.uint8)


def posed_scene(kit: Facekit, charts: Charts, shape: np.ndarray, pose: Pose, appearance: Appearance) -> Posed:
    """Joins head, hair and glasses of a shape f32 [N, 3] to one mesh and places it before the camera."""
    solid = kit.triangle_part != kit.part_names.index("EyeLashes")
    field = hair_field(kit, appearance.recede)
    vertices, triangles = [shape], [kit.triangles[solid]]
    parts, chart, fields = [kit.triangle_part[solid].astype(np.int32)], [charts.stacked()], [field]

    def add(v: np.ndarray, t: np.ndarray, part: int, c: np.ndarray, f: np.ndarray) -> None:
        triangles.append(t + sum(map(len, vertices)))
        vertices.append(v)
        parts.append(np.full(len(t), part, np.int32))
        chart.append(c.astype(np.float32))
        fields.append(f.astype(np.float32))

    if appearance.style != "bald":
        v, t, under = scalp(kit, shape, field, 1.3 if appearance.style == "short" else 1.0, appearance.seed)
        add(v, t, HAIR, charts.stacked()[under], field[under])
    if appearance.style == "long":
        v, t = long_hair(shape, 9.0 + appearance.seed % 7, appearance.seed)
        add(v, t, HAIR, bare(v), np.full(len(v), 3.0))
    if appearance.glasses:
        v, t = glasses(kit, shape, appearance.glasses, 1.0)
        add(v, t, RIM, bare(v), np.full(len(v), -9.0))
    big = Pose(pose.rotation, pose.translation, pose.focal * 2, (pose.center[0] * 2, pose.center[1] * 2))
    placed = big.place(np.concatenate(vertices).astype(np.float32))
    return Posed(
        placed,
        big.project(placed),
        np.concatenate(triangles).astype(np.int32),
        np.concatenate(parts),
        np.concatenate(chart),
        np.concatenate(fields),
        eyeballs(kit, placed[: len(shape)])[0],
    )


def bare(vertices: np.ndarray) -> np.ndarray:
    """Charts [V, 6] of what has neither lips nor brows."""
    return np.concatenate([vertices, np.full((len(vertices), 3), (-9, 9, 9))], 1)


def rasterise(posed: Posed, size: int) -> Scene:
    """Rasterises at size x size and interpolates the columns that shading needs."""
    seen = np.full((size, size), -1, np.int32)
    weights = np.zeros((size, size, 3), np.float32)
    near = np.zeros((size, size), np.float32)
    rasterize(posed.screen, posed.triangles, seen, weights, near)
    normals = vertex_normals(posed.placed, posed.triangles)
    columns = np.concatenate([posed.chart, normals, posed.placed, posed.hairline[:, None]], 1)
    out = np.zeros((size, size, columns.shape[1]), np.float32)
    interpolate(seen, weights, posed.triangles, np.ascontiguousarray(columns, dtype=np.float32), out)
    return Scene(seen, near, out, np.where(seen >= 0, posed.parts[np.maximum(seen, 0)], -1))


def shown(kit: Facekit, scene: Scene) -> np.ndarray:
    """u8 [H, W]: the region of each pixel."""
    a, part = scene.attributes, scene.part
    table = np.full(RIM + 1, regions.BACKGROUND, np.uint8)
    table[: len(kit.part_names)] = regions.region_of(kit)
    table[[HAIR, RIM]] = regions.HAIR, regions.GLASSES
    out = np.where(part < 0, regions.BACKGROUND, table[part])
    out = np.where((part == HAIR) & (a[..., HAIRLINE] < 0), regions.SKIN, out)
    out = np.where((out == regions.SKIN) & (shirt(a) > 0.5), regions.BACKGROUND, out)
    return regions.with_features(out, a[..., CHART])


def shadow(placed: np.ndarray, triangles: np.ndarray, scene: Scene, appearance: Appearance) -> np.ndarray:
    """Share of the key light that reaches each pixel, f32 [H, W]: a shadow map seen from the light, softened."""
    forward = appearance.light
    right = np.cross((0, 1, 0), forward)
    right /= np.linalg.norm(right)
    frame = np.stack([right, np.cross(forward, right), forward]).astype(np.float32)
    center = placed.mean(0)
    size, reach = 384, 24.0

    def to_map(points: np.ndarray) -> np.ndarray:
        local = (points - center) @ frame.T
        x, y = (local[..., 0] / reach + 0.5) * size, (0.5 - local[..., 1] / reach) * size
        return np.stack([x, y, local[..., 2] + 100], -1).astype(np.float32)

    seen = np.full((size, size), -1, np.int32)
    weights = np.zeros((size, size, 3), np.float32)
    height = np.zeros((size, size), np.float32)
    rasterize(to_map(placed), triangles, seen, weights, height)
    at = to_map(scene.attributes[..., PLACED])
    lit = np.zeros(scene.seen.shape, np.float32)
    taps = [(dx, dy) for dx in (-4, -1.5, 1.5, 4) for dy in (-4, -1.5, 1.5, 4)]
    for dx, dy in taps:
        x = np.clip(at[..., 0] + dx, 0, size - 1).astype(int)
        y = np.clip(at[..., 1] + dy, 0, size - 1).astype(int)
        lit += step(-0.75, -0.25, at[..., 2] - height[y, x])
    return gaussian_filter(lit / len(taps), size / 300)


def occlusion(scene: Scene) -> np.ndarray:
    """Ambient light lost in creases, f32 [H, W] 0 ... 1: how far a pixel lies behind its surroundings."""
    inside = scene.seen >= 0
    depth = np.where(inside, 1 / np.maximum(scene.near, 1e-6), 0)
    size = len(depth)
    lost = np.zeros(depth.shape)
    for blur, gain in ((size / 150, 0.9), (size / 50, 0.35)):
        weight = gaussian_filter(inside.astype(np.float32), blur)
        around = gaussian_filter(depth, blur) / np.maximum(weight, 1e-3)
        lost += gain * np.clip(depth - around, 0, 0.6)
    return np.where(inside, np.clip(lost, 0, 0.75), 0)


def shade(kit: Facekit, scene: Scene, appearance: Appearance, lit: np.ndarray, balls: np.ndarray) -> np.ndarray:
    """Linear colours f32 [H, W, 3] of everything but the lashes. balls [2, 3]: the eyeballs' centres at the camera."""
    ao = np.asarray(gaussian_filter(1 - occlusion(scene), 0.8))
    out = backdrop(appearance, len(scene.seen))
    names = {n: i for i, n in enumerate(kit.part_names)} | {"hair": HAIR, "rim": RIM}
    centers, _ = eyeballs(kit, kit.neutral)
    for name, part in names.items():
        where = scene.part == part
        if not where.any():
            continue
        a = scene.attributes[where]
        position, normal, placed = a[:, POSITION], unit(a[:, NORMAL]), a[:, PLACED]
        wrap = np.full(3, 0.12)
        gloss: Any = 0.0
        sharp = 30.0
        dim = ao[where]
        if name in ("Face", "BackHead"):
            albedo, gloss, sharp = skin(a, appearance)
            wrap = np.array([0.35, 0.2, 0.14])
        elif name.startswith("Iris"):
            side = 0 if name == "IrisLeft" else 1
            albedo = iris(unit(position - centers[side]), appearance.eyes, appearance.seed)
            normal = unit(placed - balls[side])  # a smooth ball: the mesh is dented where the pupil is
            lid = step(0.55, -0.1, normal[:, 1] + 0.25)
            dim = (0.45 + 0.55 * lid) * np.maximum(dim, 0.7)
            wrap, gloss, sharp = np.full(3, 0.5), 0.9, 220.0
        elif name == "Teeth":
            depth = step(6.0, 10.6, position[:, 2])
            albedo = np.array([0.80, 0.73, 0.62]) * (0.25 + 0.75 * depth)[:, None]
            dim, wrap, gloss, sharp = 0.35 + 0.65 * dim, np.full(3, 0.6), 0.25, 60.0
        elif name == "GumsTongue":
            depth = step(4.0, 10.5, position[:, 2])
            albedo = np.array([0.50, 0.17, 0.16]) * (0.15 + 0.7 * depth)[:, None]
            dim, wrap, gloss, sharp = 0.4 + 0.6 * dim, np.full(3, 0.4), 0.15, 40.0
        elif name.startswith("Socket"):
            depth = step(5.0, 11.0, position[:, 2]) ** 2
            albedo = np.array([0.30, 0.08, 0.07]) * (0.04 + 0.5 * depth)[:, None]
        elif name == "hair":
            scalp_color, _, _ = skin(a, appearance)
            albedo, gloss, sharp = mix(scalp_color, strands(a, appearance), roots(a, appearance)), 0.10, 12.0
            wrap = np.full(3, 0.3)
        else:
            albedo, gloss, sharp = np.full((len(a), 3), 0.02), 0.5, 60.0
        out[where] = light(appearance, albedo, normal, placed, lit[where], dim, wrap, gloss, sharp)
    return out


def light(appearance, albedo, normal, placed, lit, dim, wrap, gloss, sharp) -> np.ndarray:
    """Wrapped diffuse key with shadow, ambient from above, a weak rim, Blinn-Phong highlight with Fresnel."""
    facing = normal @ appearance.light
    diffuse = np.clip((facing[:, None] + wrap) / (1 + wrap), 0, None)
    sky = (0.72 + 0.28 * normal[:, 1])[:, None] * appearance.ambient
    soft = lit[:, None] ** np.array([0.7, 0.95, 1.05])
    color = albedo * (appearance.key * diffuse * soft + sky * dim[:, None])
    view = unit(-placed)
    half = unit(view + appearance.light)
    fresnel = 0.04 + 0.96 * (1 - np.clip((normal * view).sum(1), 0, 1)) ** 5
    shine = np.clip((normal * half).sum(1), 0, 1) ** sharp * (sharp + 8) / 25
    rim = np.clip(fresnel - 0.04, 0, 1) * 0.10
    return (
        color
        + (gloss * 0.12 * shine * lit)[:, None] * appearance.key
        + (rim * dim)[:, None] * appearance.ambient * albedo.mean()
    )


def backdrop(appearance: Appearance, size: int) -> np.ndarray:
    """Two colours and a few soft spots, f32 [size, size, 3]."""
    grid = np.linspace(0, 1, size, dtype=np.float32)
    x, y = np.meshgrid(grid, grid)
    points = np.stack([x * 3, y * 3, np.zeros_like(x)], -1).reshape(-1, 3)
    weight = np.clip(0.5 + 0.5 * (y.ravel() - 0.5) + 0.35 * fractal(points, appearance.seed + 7, 2), 0, 1)
    return (
        mix(appearance.background[0][None], appearance.background[1][None], weight)
        .reshape(size, size, 3)
        .astype(np.float32)
    )


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def lashes(kit: Facekit, color: np.ndarray, points: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Lay the lash cards over the picture, each card alpha-blended: strands that thin out to their tips."""
    part = kit.part_names.index("EyeLashes")
    mine = kit.triangles[kit.triangle_part == part]
    card = np.floor((kit.uv[mine[:, 0], 1] - 0.005) / 0.166).astype(int)
    for layer in range(6):
        front = mine[card == layer]
        seen = np.full(near.shape, -1, np.int32)
        weights = np.zeros((*near.shape, 3), np.float32)
        both = np.ascontiguousarray(np.concatenate([front, front[:, ::-1]]))
        rasterize(points, both, seen, weights, near * np.float32(0.9985))
        uv = np.zeros((*near.shape, 2), np.float32)
        interpolate(seen, weights, both, kit.uv, uv)
        where = seen >= 0
        u, v = uv[where].T
        tip = np.clip(1 - (v - layer * 0.166 - 0.014) / 0.14, 0, 1)
        curl = np.stack([(u + 0.06 * tip) * 260, tip * 0.8, np.full_like(u, layer)], 1)
        strand = step(0.0, 0.6, noise(curl.astype(np.float32), layer))
        alpha = (0.75 if layer > 2 else 0.25) * strand * (1 - tip) ** 1.2
        color[where] *= (1 - alpha)[:, None]
    return color
