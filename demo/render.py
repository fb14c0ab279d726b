"""Renders demo/*.png: four people who do not exist, by the morphable model. Needs the extra `train` and ICT-FaceKit.

python demo/render.py FACEKIT [name ...]
"""

import sys
from pathlib import Path

import numpy as np

from fetfast.synth.appearance import random_appearance
from fetfast.synth.camera import Pose
from fetfast.synth.facekit import Facekit
from fetfast.synth.materials import Charts
from fetfast.synth.render import render

SIZE = 512
PEOPLE = {  # name: (seed of the person, yaw, expression)
    "calm": (23, 0.06, {}),
    "smile": (9, 0.10, {"mouthSmile": 1.0, "cheekSquint": 0.7, "jawOpen": 0.12, "mouthUpperUp": 0.5, "eyeSquint": 0.3}),
    "surprise": (
        19,
        -0.12,
        {"jawOpen": 0.55, "browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.8, "mouthFunnel": 0.3},
    ),
    "wink": (
        8,
        0.05,
        {"eyeBlink_L": 1.0, "cheekSquint_L": 0.8, "mouthSmile_L": 0.9, "mouthSmile_R": 0.4, "browDown_L": 0.4},
    ),
}


def main(facekit: Path, names: list[str], folder: Path) -> None:
    from PIL import Image

    kit = Facekit.open(facekit)
    charts = Charts.of(kit)
    for name in names or PEOPLE:
        seed, yaw, wanted = PEOPLE[name]
        rng = np.random.default_rng(seed)
        appearance = random_appearance(rng)
        expression = np.zeros(len(kit.expression_names))
        for mode, amount in wanted.items():
            expression[kit.index(mode)] = amount
        shape = kit.shape(rng.normal(size=100) * 0.7, expression)
        pose = Pose(np.array([0.05, yaw, 0]), np.array([0, -1.5, -100.0]), SIZE / 27 * 100, (SIZE / 2, SIZE / 2))
        picture, _ = render(kit, charts, shape, np.zeros((2, 2)), pose, appearance, SIZE)
        Image.fromarray(picture).save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:], Path(__file__).parent)
