"""The three networks inside Google's `face_landmarker.task`, run by OpenVINO on the CPU.

The `.task` is a zip of `.tflite` files, which OpenVINO reads only from disk and takes long to convert: the first run
keeps each compiled, as plans' networks are, under a hash that is checked, and later runs need no `.task`.
All run in f32: bf16 would round pixel coordinates above 128 to whole pixels.
"""

from __future__ import annotations

import tempfile
import zipfile
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fetfast import assets
from fetfast.backends.openvino import compile_model, core, infer_request

if TYPE_CHECKING:
    import openvino

TASK = "face_landmarker.task"


class Net:
    """One network with one infer request: fill `input` f32 in place, call, read `outputs` (views, overwritten by the
    next call)."""

    def __init__(self, name: str, threads: int | None = None) -> None:
        import openvino as ov

        about = {"name": TASK, "stage": name, "plan": assets.ASSETS[TASK].sha256}
        model = compile_model(partial(read, name), about, f32=True, threads=threads)
        self._request = infer_request(model)
        self.input: NDArray[np.float32] = np.zeros(model.input(0).shape, np.float32)
        self._request.set_input_tensor(ov.Tensor(self.input, shared_memory=True))
        self.outputs: list[NDArray[np.float32]] = [
            self._request.get_output_tensor(i).data for i in range(len(model.outputs))
        ]

    def __call__(self) -> list[NDArray[np.float32]]:
        self._request.infer()
        return self.outputs


def read(name: str) -> openvino.Model:
    """The network as OpenVINO's graph. Raises MissingAsset."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(assets.path(TASK)) as bundle:
        return core().read_model(bundle.extract(f"{name}.tflite", folder))
