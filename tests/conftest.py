"""Where the tests' data lies, and pictures that several tests use."""

import os
from pathlib import Path

import numpy as np
import pytest

from fetfast import image

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def data() -> Path:
    """The shared data folder: FETFAST_DATA, else ../shared/data beside the checkout. Skips where it is absent."""
    folder = Path(os.environ.get("FETFAST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no data folder: set FETFAST_DATA, or put shared/data beside the checkout")
    return folder


@pytest.fixture(scope="session")
def portrait(data: Path) -> np.ndarray:
    """A real face, u8 [768, 768, 3]."""
    return image.load(data / "portraits" / "001.jpg")


@pytest.fixture(scope="session")
def smile() -> np.ndarray:
    """A render of the morphable model that smiles, u8 [512, 512, 3]."""
    return image.load(ROOT / "demo" / "smile.png")
