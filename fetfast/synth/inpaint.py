"""Fills in what a photo hides and a new expression shows: teeth behind lips, the eyeball behind a lid, a lid in its
fold. Colours come from what the photo shows of the same face. Colours are f32 0 ... 255, gamma-coded as in the picture.
"""

from __future__ import annotations

import numpy as np

from fetfast.synth.face_submesh import FACE, MOUTH, SOCKET, TEETH, FaceSubmesh
from fetfast.synth.fit import Fit
from fetfast.synth.teeth_geometry import ARCH

LIP_GAP = 0.05  # of the eye distance: photographed teeth are trusted above
RED = [0, 17, 37, 267, 39, 269, 84, 314, 181, 405, 40, 270, 91, 321, 61, 291]  # landmarks of the lips' outer edge
BESIDE = 0.12  # of a tooth's light is lost towards its neighbours
EDGE, LASHES = 0.1, 0.3  # cm: how far the dark line of a shut eye reaches up its lid, and down, where lashes lie
LASH = np.array([0.76, 0.8, 0.82])  # of the skin's light that is lost in it
AROUND = 1.2  # cm round an eye, where its lids' skin is taken from


def eye_colors(
    submesh: FaceSubmesh, base: np.ndarray, fit: Fit, colors: np.ndarray, seen: np.ndarray, skin: np.ndarray
):
    """Iris and white of the eyes, f32 [2, 3], from what the photo shows of them, else guessed from the skin."""
    tone = np.median(skin, 0)
    angle = np.concatenate([np.degrees(np.arccos(np.clip(directions(submesh, s)[:, 2], -1, 1))) for s in (0, 1)])
    color, clear = colors[np.concatenate(submesh.balls)], seen[np.concatenate(submesh.balls)] > 0.9
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


def directions(submesh: FaceSubmesh, side: int) -> np.ndarray:
    """Unit vectors f32 [V, 3] from an eyeball's centre to its vertices, the pupil at +z."""
    away = submesh.neutral[submesh.balls[side]] - submesh.centers[side]
    return away / np.linalg.norm(away, axis=1, keepdims=True)


def inpaint(submesh, fit, base, colors, seen, normals, tooth_tone) -> tuple[np.ndarray, np.ndarray]:
    """How far the photo is trusted at each vertex, and what is painted where it is not."""
    trust = np.ones(len(base), np.float32)
    paint = np.zeros((len(base), 3), np.float32)
    lip = np.median(colors[submesh.landmarks[[0, 17, 37, 267, 84, 314]]], 0)
    z = submesh.neutral[:, 2]

    inner = (submesh.kind == TEETH) | (submesh.kind == MOUTH)
    eyes = np.linalg.norm(fit.landmarks[263] - fit.landmarks[33])
    gap = np.linalg.norm(fit.landmarks[13] - fit.landmarks[14]) / eyes
    depth = np.clip((z - 5.5) / 5.0, 0, 1)
    tooth, flesh = submesh.kind == TEETH, lip * np.array([0.9, 0.64, 0.64])
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
    relief = np.clip((z - 6.5) / 3, 0, 1)  # front teeth in the light, the second molars in the dark
    out_of = np.stack((submesh.neutral[:, 0], z - ARCH), 1)
    outwards = (out_of * normals[:, ::2]).sum(1) / np.linalg.norm(out_of, axis=1)
    relief *= np.clip(0.45 + 0.9 * outwards, 0.1, 1)  # what faces the tongue is seen in open mouths only, and unlit
    relief *= 1 - BESIDE * np.clip(submesh.flanks, 0, 1) ** 4
    shaded = tooth_tone * relief[:, None] + 0.3 * flesh * (1 - relief[:, None])  # red light in the mouth: not grey
    paint[tooth] = np.minimum(shaded, 250)[tooth]
    paint[submesh.kind == MOUTH] = (flesh * (0.15 + 0.65 * depth[:, None] ** 2))[submesh.kind == MOUTH]

    balls = np.concatenate(submesh.balls)
    trust[balls] = seen[balls]

    # A lid's skin comes from round the eye, where the photo shows neither lashes nor the eye itself.
    lids = submesh.lids > 0
    trust[lids] = 1 - submesh.lids[lids] * (1 - np.clip((normals[lids, 2] - 0.1) / 0.3, 0, 1) * seen[lids])
    upper, lower = submesh.rims[..., 0].min(1), submesh.rims[..., 1].min(1)
    near = (submesh.kind == FACE) & (np.minimum(upper, lower) < AROUND)
    bare = near & (trust > 0.9) & (seen > 0.9) & (upper > 0.4) & (lower > 0.4)
    for side in (0, 1):
        mine, shown = (rows & (submesh.rims[:, side].min(1) < 2 * AROUND) for rows in (near | lids, bare))
        if shown.any():  # but not from where it is darkest, below the brow: a lid that comes down is in the light
            shown &= colors.mean(1) >= np.percentile(colors[shown].mean(1), 25)
            away = ((submesh.neutral[mine, None] - submesh.neutral[None, shown]) ** 2).sum(2)
            weight = np.exp(-away / (2 * 0.4**2)) + 1e-9
            paint[mine] = weight @ colors[shown] / weight.sum(1, keepdims=True)
    line = np.maximum(np.exp(-((upper / EDGE) ** 2)), np.exp(-((lower / LASHES) ** 2)))
    paint[near] *= 1 - line[near, None] * LASH
    hidden = np.clip((submesh.lips + (0.1 if gap > LIP_GAP else 0)) / 0.15, 0, 1)  # landmarks may lie on the teeth
    lips = hidden > 0
    near = submesh.neutral[lips, None, 0] - submesh.neutral[None, submesh.landmarks[RED], 0]
    weight = np.exp(-((near / 0.5) ** 2)) + 1e-9
    trust[lips] = 1 - hidden[lips]
    paint[lips] = 0.8 * weight @ colors[submesh.landmarks[RED]] / weight.sum(1, keepdims=True)
    trust[submesh.kind == SOCKET] = 0
    paint[submesh.kind == SOCKET] = 0.5 * lip
    return trust.astype(np.float32), paint.astype(np.float32)


def fringe(submesh: FaceSubmesh) -> np.ndarray:
    """f32 [N, 2] 0 ... 1, the subject's left and right eye: skin so near to the lids' edges that an open eye's photo
    shows lashes there, or the eye's white. It is painted as the eye shuts."""
    bands = np.clip(2 - submesh.rims / (0.3, 0.25), 0, 1).max(2)
    return bands * (submesh.kind == FACE)[:, None]


def toothlike(colors: np.ndarray, lip: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """f32 [N] 0 ... 1: is a colour [N, 3] as bright, and as much less red than the lips, as the brightest `inside`?"""
    grey, red = colors.mean(1), colors[:, 0] / (colors[:, 1] + 1)
    top = np.percentile(inside.mean(1), 90)
    bright = inside[inside.mean(1) >= top].mean(0)
    paler = (lip[0] / (lip[1] + 1) - red) / max(lip[0] / (lip[1] + 1) - bright[0] / (bright[1] + 1), 0.15)
    return np.clip((grey / top - 0.5) / 0.2, 0, 1) * np.clip((paler - 0.25) / 0.3, 0, 1)
