"""Clips that the tests make, and one engine for all of them."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fetfast import Engine
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
def portrait_file(data):
    return data / "portraits" / "001.jpg"


@pytest.fixture(scope="session")
def clip(data):
    return data / "clips" / "single_face.mp4"


@pytest.fixture
def make_clip(tmp_path):
    """make_clip(frames, name): a file of these frames at 25 a second."""

    def make(frames, name="clip.mp4"):
        with Writer(tmp_path / name, Fraction(25)) as writer:
            for i, frame in enumerate(frames):
                writer.write(Fraction(i, 25), np.ascontiguousarray(frame))
        return tmp_path / name

    return make
