"""Whether the result is still the target: distances in dlib's face recognition network, which fetfast never runs.

The network gives 128 numbers for a face; below 0.6 apart, its author counts two pictures as one person.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fetfast.evaluate.data import Frame
from fetfast.face import Face


def why_not() -> str | None:
    missing = [name for name in ("dlib", "face_recognition_models") if find_spec(name) is None]
    return f'{" and ".join(missing)} not installed; pip install "fetfast[judges]"' if missing else None


def reader() -> Callable[[Frame, Face], np.ndarray]:
    """The face as 128 numbers. dlib finds its own eyes and nose in our box: the judge shares no landmarks with us."""
    import dlib

    package = find_spec("face_recognition_models")  # importing it needs pkg_resources, which is gone
    assert package is not None and package.origin is not None
    models = Path(package.origin).parent / "models"
    points = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    net = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))

    def read(frame: Frame, face: Face) -> np.ndarray:
        pixels = np.ascontiguousarray(frame)
        return np.array(net.compute_face_descriptor(pixels, points(pixels, dlib.rectangle(*map(round, face.box)))))

    return read


def score(targets: np.ndarray, drivers: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
    """From f64 [T, 128], [D, 128] or [T, D, 128], and [T, D, 128]: mean distances, and the share of results that lie
    nearer to their target than to their driver. Results without a face are left out of the distances (None: there are
    no others), and lower the share."""
    to_target = np.linalg.norm(outputs - targets[:, None], axis=2)
    to_driver = np.linalg.norm(outputs - drivers, axis=2)
    found = np.isfinite(to_target)
    return {
        "to_target": float(to_target[found].mean()) if found.any() else None,
        "to_driver": float(to_driver[found].mean()) if found.any() else None,
        "nearer_to_target": float((to_target < to_driver).mean()),
    }


def describe(figures: dict[str, Any]) -> str:
    if figures["to_target"] is None:
        return "no result shows a face"
    return (
        f"distance to the target {figures['to_target']:.3f}, to the driver {figures['to_driver']:.3f};"
        f" nearer to the target in {figures['nearer_to_target']:.1%}"
    )
