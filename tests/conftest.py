"""Where the tests' data lies, and pictures that several tests use."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fetfast import image
from fetfast.plan import Plan

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


@pytest.fixture(scope="session")
def make_plan() -> Callable[..., Plan]:
    """make_plan(family, size, precision): its networks with noise in every weight, also in those that start at 0."""
    torch = pytest.importorskip("torch")
    from fetfast.export import export
    from fetfast.models import family

    @cache
    def make(name: str, size: str, precision: str) -> Plan:
        spec = family(name).SPECS[size]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            modules = family(name).build(spec)
            for module in modules.values():
                for tensor in module.state_dict().values():
                    tensor.add_(0.02 * torch.randn(tensor.shape))
        return export(spec, modules, precision)

    return make
