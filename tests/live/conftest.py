"""Clips and people that anybody has: the astronaut, at rest and smiling as the engine makes her, and the repo's renders
of people who do not exist. One engine for all of them."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fetfast import Engine, assets
from fetfast.image import load
from fetfast.video import Writer

pytest.importorskip("av")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def engine():
    return Engine("flow_fp32")


@pytest.fixture(scope="session")
def renders():
    """Two renders of the morphable model, at rest and smiling ... u8 [256, 256, 3]."""
    return [load(ROOT / "demo" / f"{name}.png")[::2, ::2].copy() for name in ("surprise", "smile")]


@pytest.fixture(scope="session")
def portrait_file():
    """Somebody who winks, 512 x 512."""
    return ROOT / "demo" / "wink.png"


@pytest.fixture(scope="session")
def other_file():
    """Somebody else, who is surprised, 512 x 512."""
    return ROOT / "demo" / "surprise.png"


@pytest.fixture(scope="session")
def astronaut():
    """A real face, u8 [360, 360, 3]: she smiles."""
    head = Image.fromarray(load(assets.path("astronaut.png"))[:220, 120:340])
    return np.asarray(head.resize((360, 360), Image.Resampling.BICUBIC))


@pytest.fixture(scope="session")
def smiling(engine, astronaut):
    """smiling(share): her with so much of her smile, 0 (at rest) ... 1, u8 [360, 360, 3]."""
    (face,) = engine.landmarker.detect(astronaut)
    at_rest = replace(face, blendshapes=(face.blendshapes * 0.1).astype(np.float32))

    def make(share):
        return engine.transfer(at_rest, astronaut, intensity=1 - share)

    return make


@pytest.fixture(scope="session")
def driver(smiling):
    """Of 72 frames u8 [360, 640, 3] that show her the first 30 are at rest, the last 12 smile."""
    pictures = {}
    frames = []
    for i in range(72):
        share = round(min(max((i - 30) / 30, 0), 1), 1)  # few pictures to make
        if share not in pictures:
            pictures[share] = np.full((360, 640, 3), 90, np.uint8)
            pictures[share][:, 140:500] = smiling(share)
        frames.append(pictures[share].copy())
    return frames


@pytest.fixture(scope="session")
def clip(driver, tmp_path_factory):
    """Them as a file, 25 a second, with sound."""
    from clips import film

    return film(tmp_path_factory.mktemp("clip") / "clip.mp4", driver, sound="aac")


@pytest.fixture
def make_clip(tmp_path):
    """make_clip(frames, name): a file of these frames at 25 a second."""

    def make(frames, name="clip.mp4"):
        with Writer(tmp_path / name, Fraction(25)) as writer:
            for i, frame in enumerate(frames):
                writer.write(Fraction(i, 25), np.ascontiguousarray(frame))
        return tmp_path / name

    return make
