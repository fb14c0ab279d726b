"""One portrait, fitted and ready to be re-expressed."""

from pathlib import Path

import numpy as np
import pytest

from fetfast.synth import portrait_dataset
from fetfast.synth.fit import Fit, fit_file
from fetfast.synth.portrait import Portrait, prepare

SIZE = 128


@pytest.fixture(scope="module")
def model(shared: Path) -> portrait_dataset.Model:
    return portrait_dataset.open_model(shared / "ict_facekit_f16.npz")


@pytest.fixture(scope="module")
def fitted(model: portrait_dataset.Model, shared: Path) -> Fit:
    return fit_file(model.kit, shared / "portraits" / "001.jpg")


@pytest.fixture(scope="module")
def portrait_128(model: portrait_dataset.Model, portrait: np.ndarray, fitted: Fit) -> Portrait:
    return prepare(model.kit, model.submesh, portrait, fitted, SIZE)
