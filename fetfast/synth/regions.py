"""Semantic regions, the labels of mask.npy, of the model's parts and pixels."""

from __future__ import annotations

import numpy as np

from fetfast.synth.facekit import Facekit
from fetfast.synth.materials import Charts

# Clothes are background; and so is, on a photo, whatever is no part of the fitted face: hair, glasses, ears, neck.
REGIONS = ("background", "skin", "brows", "eyes", "lips", "mouth", "hair", "glasses", "occluder")
BACKGROUND, SKIN, BROWS, EYES, LIPS, MOUTH, HAIR, GLASSES, OCCLUDER = range(len(REGIONS))
PARTS = {
    "Face": SKIN, "BackHead": SKIN, "IrisLeft": EYES, "IrisRight": EYES, "Socket_eye_left": EYES,
    "Socket_eye_right": EYES, "Teeth": MOUTH, "GumsTongue": MOUTH, "Socket_mouth": MOUTH,
}  # fmt: skip


def region_of(kit: Facekit) -> np.ndarray:
    """u8 [parts]: the region that each of the model's parts belongs to."""
    return np.array([PARTS.get(name, BACKGROUND) for name in kit.part_names], np.uint8)


def with_features(regions: np.ndarray, chart: np.ndarray) -> np.ndarray:
    """Regions u8 [...] with lips and brows told from other skin, by where it lies in `Charts` [..., 6]."""
    lips, along, across = chart[..., 3], chart[..., 4], chart[..., 5]
    brows = (np.abs(across) < 1) & (along > 0) & (along < 1)
    out = np.where((regions == SKIN) & brows, BROWS, regions)
    return np.where((regions == SKIN) & (lips > 0), LIPS, out).astype(np.uint8)


def triangle_regions(kit: Facekit) -> np.ndarray:
    """u8 [T]: the region of each of the model's triangles."""
    chart = Charts.of(kit).stacked()[kit.triangles].mean(1)
    return with_features(region_of(kit)[kit.triangle_part], chart)
