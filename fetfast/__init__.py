"""fetfast: a source face's expression, put onto a target face that stays itself.

`Engine` and everything else is imported on first use, so that `import fetfast` costs a few milliseconds.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fetfast.errors import BadInput, BadPlan, FetfastError, MissingAsset, NoFace, Unavailable

if TYPE_CHECKING:
    from fetfast.engine import Engine
    from fetfast.live.loop import Loop
    from fetfast.plan import Plan

# Packages that we build on report their use to their makers over the network, and keep an id in the home folder, unless
# told not to before they are imported; every process of ours comes by here first.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # OpenVINO and NNCF do without it then
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime

__version__ = "0.1.0"
__all__ = ["BadInput", "BadPlan", "Engine", "FetfastError", "Loop", "MissingAsset", "NoFace", "Plan", "Unavailable"]

_LAZY = {"Engine": "fetfast.engine", "Loop": "fetfast.live.loop", "Plan": "fetfast.plan"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'fetfast' has no attribute {name!r}")
