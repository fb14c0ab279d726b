"""One portrait, fitted and ready to be re-posed."""

from pathlib import Path

import numpy as np
import pytest

from fetfast.synth import pairs
from fetfast.synth.fit import Fit, fit_file
from fetfast.synth.portrait import Portrait, prepare

SIZE = 128


@pytest.fixture(scope="module")
def model(shared: Path) -> pairs.Model:
    return pairs.open_model(shared / "ict_facekit_f16.npz")


@pytest.fixture(scope="module")
def fitted(model: pairs.Model, shared: Path) -> Fit:
    return fit_file(model.kit, shared / "portraits" / "001.jpg")


@pytest.fixture(scope="module")
def portrait_128(model: pairs.Model, portrait: np.ndarray, fitted: Fit) -> Portrait:
    return prepare(model.kit, model.mask, portrait, fitted, SIZE)
