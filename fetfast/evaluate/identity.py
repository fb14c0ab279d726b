"""Whether the result is still the target: distances in dlib's face recognition network, which fetfast never runs.

The network gives 128 numbers for a face; below 0.6 apart, its author counts two pictures as one person.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fetfast.evaluate.points import box, model, upright
from fetfast.image import Frame


def judge() -> Callable[[Frame, np.ndarray], np.ndarray]:
    """read(frame u8 [H, W, 3], M f32 [2, 3]) -> f64 [128], of the face whose crop M takes. dlib finds its own eyes and
    nose in it: the judge shares no landmarks with us."""
    import dlib

    points = dlib.shape_predictor(model("shape_predictor_5_face_landmarks.dat"))
    net = dlib.face_recognition_model_v1(model("dlib_face_recognition_resnet_model_v1.dat"))

    def read(frame: Frame, M: np.ndarray) -> np.ndarray:
        picture = upright(frame, M)
        return np.array(net.compute_face_descriptor(picture, points(picture, box(len(picture)))))

    return read
