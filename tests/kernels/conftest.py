"""The kernels on a CUDA device where there is one, else in Triton's interpreter on the CPU."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel's file is first imported


@pytest.fixture(scope="session", autouse=True)
def large_programs() -> None:
    """The interpreter's time goes by the number of programs."""
    if not torch.cuda.is_available():
        from fetfast.kernels import points, teeth

        points.ROWS, teeth.PIXELS, teeth.ROWS = 128, 2048, 64


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
