"""Frames and faces for steps of an engine, and what the host's way makes of them."""

import numpy as np

from fetfast.face import Face
from fetfast.place import HOST

SIZE = (96, 120)  # of the frames


def picture(seed, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def face(seed, size=SIZE, middle=0.5):
    """No face, but one to be cropped: points all over, and those that `crop_matrix` reads where they may be."""
    rng = np.random.default_rng(seed)
    share = rng.uniform((middle - 0.15, 0.3, 0), (middle + 0.15, 0.7, 0), (478, 3))
    level = 0.4 + 0.05 * rng.random()
    share[[33, 263, 234, 454, 2], :2] = [(middle + x, level + y) for x, y in
        ((-0.1, 0), (0.1, 0), (-0.14, 0.02), (0.14, 0.02), (0, 0.1))]  # fmt: skip
    return Face((share * (size[1], size[0], 1)).astype(np.float32), rng.random(52, np.float32), 1.0)


def on_host(engine, steps):
    """What the host's way makes of (source, target, picture) steps, targets unused before."""
    own, engine.place = engine.place, HOST
    frames = [engine.render(source, target, frame) for source, target, frame in steps]
    engine.place = own
    return frames
