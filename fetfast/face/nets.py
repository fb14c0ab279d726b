"""The three networks inside Google's `face_landmarker.task`, run by OpenVINO on the CPU.

The `.task` is a zip of `.tflite` files. OpenVINO reads those only from disk and takes long to convert them, so the
first run writes each, at batch 1, as OpenVINO's own format into the cache; its compiled model is cached there too.
All run in f32: bf16 would round pixel coordinates above 128 to whole pixels.
"""

from __future__ import annotations

import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from fetfast import assets
from fetfast.backends.openvino import core

TASK = "face_landmarker.task"


class Net:
    """One network with one infer request: fill `input` f32 in place, call, read `outputs` (views, overwritten by the
    next call)."""

    def __init__(self, name: str, threads: int | None = None) -> None:
        import openvino as ov

        config = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = str(threads)
        model = _compile(name, config)
        self._request = model.create_infer_request()
        self.input: NDArray[np.float32] = np.zeros(model.input(0).shape, np.float32)
        self._request.set_input_tensor(ov.Tensor(self.input, shared_memory=True))
        self.outputs: list[NDArray[np.float32]] = [
            self._request.get_output_tensor(i).data for i in range(len(model.outputs))
        ]

    def __call__(self) -> list[NDArray[np.float32]]:
        self._request.infer()
        return self.outputs


def _compile(name: str, config: dict[str, str]) -> Any:
    import openvino as ov

    # The version is part of the folder's name: a newer OpenVINO converts anew.
    version = ov.get_version().split("-")[0]
    folder = assets.cache_folder() / f"openvino-{version}" / assets.ASSETS[TASK].sha256[:16]
    graph = folder / f"{name}.xml"
    cached = config | {"CACHE_DIR": str(folder)}
    with suppress(RuntimeError):  # it is not there yet, or damaged
        return core().compile_model(graph, "CPU", cached)
    model = convert(name)
    try:
        _keep(model, graph)
    except OSError:  # the cache cannot be written: run all the same, and convert again the next time
        return core().compile_model(model, "CPU", config)
    return core().compile_model(graph, "CPU", cached)


def convert(name: str) -> Any:
    """The network as OpenVINO's graph at batch 1, not compiled. Raises MissingAsset."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(assets.path(TASK)) as bundle:
        model = core().read_model(bundle.extract(f"{name}.tflite", folder))
    _batch, *shape = model.input(0).partial_shape
    model.reshape([1, *(side.get_length() for side in shape)])
    return model


def _keep(model: Any, graph: Path) -> None:
    import openvino as ov

    graph.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(graph.parent / "lock"), tempfile.TemporaryDirectory(dir=graph.parent) as aside:
        written = Path(aside) / graph.name
        ov.save_model(model, written, compress_to_fp16=False)
        written.with_suffix(".bin").replace(graph.with_suffix(".bin"))
        written.replace(graph)  # last: it says that both are whole
