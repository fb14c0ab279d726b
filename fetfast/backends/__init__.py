"""The backends: one file and one row of this table each, in order of preference.

A backend's file has two functions, and says what it is:

    why_not(plan, device) -> str | None       None, or why it cannot run this plan here and what to do
    load(plan, device) -> dict[str, Runner]   stage name -> its network, ready to run
    DEVICES     kinds of device that it runs on, the one it prefers first: "cuda", "cpu"
    PACKAGES    what it needs, as the package index calls it
    CACHES      folders of the cache in which it keeps compiled networks
    THREADS     whether `load` takes threads=N, how many of the processor's it may use

device is "cpu", "cuda", "cuda:N", or None for whatever the backend prefers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from fetfast.errors import BadInput, Unavailable
from fetfast.plan import Plan

# Takes a stage's inputs by name, f32 [B, ...], B >= 0; gives its outputs alike, which the next call overwrites.
# NumPy arrays; or, where `tensors_on` names a GPU, all of them PyTorch's tensors on it: then on PyTorch's current
# stream, and nothing is waited for.
Runner = Callable[[dict[str, Any]], dict[str, Any]]

BACKENDS = {
    "tensorrt": "fetfast.backends.tensorrt",
    "triton": "fetfast.backends.triton",
    "openvino": "fetfast.backends.openvino",
    "eager": "fetfast.backends.eager",
}


def examine(plan: Plan, device: str | None = None) -> dict[str, str | None]:
    """Each backend's name, and None or why it cannot run `plan` on `device`."""
    return {name: module(name).why_not(plan, device) for name in BACKENDS}


def choose(plan: Plan, backend: str = "auto", device: str | None = None) -> tuple[str, dict[str, str]]:
    """The backend that runs `plan`, and why each one preferred to it cannot.

    "auto" takes the first that can. One asked for by name is that one, or Unavailable. Raises BadInput.
    """
    if device is not None and not (isinstance(device, str) and re.fullmatch(r"cpu|cuda(:\d+)?", device)):
        raise BadInput(f"device is {device!r}, expected cpu, cuda, cuda:N, or None for whatever the backend prefers")
    if backend != "auto" and backend not in BACKENDS:
        raise BadInput(f"backend is {backend!r}, expected auto or one of {', '.join(BACKENDS)}")
    skipped: dict[str, str] = {}
    for name in BACKENDS if backend == "auto" else (backend,):
        reason = module(name).why_not(plan, device)
        if reason is None:
            return name, skipped
        skipped[name] = reason
    reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
    raise Unavailable(f"{plan.name} cannot run on {device or 'this machine'}: {reasons}")


def load(backend: str, plan: Plan, device: str | None = None) -> dict[str, Runner]:
    """The plan's stages, ready to run on a backend that `choose` named."""
    return module(backend).load(plan, device)


def module(backend: str) -> Any:
    """The file of a backend."""
    return import_module(BACKENDS[backend])


def declared(what: str) -> list[str]:
    """All that the backends say of themselves under one name, PACKAGES or CACHES, each once."""
    return list(dict.fromkeys(item for backend in BACKENDS for item in getattr(module(backend), what)))


def tensors_on(backend: str, device: str | None = None) -> str | None:
    """The GPU, "cuda:N", on which a backend's runners and all that stands between them (`ops`) take tensors;
    None where frames go by the processor's memory: there is no such GPU, or PyTorch, Triton or CuPy is missing."""
    on_gpu = "cuda" in module(backend).DEVICES and device != "cpu"
    if not on_gpu or not all(map(find_spec, ("torch", "triton", "cupy"))):
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    return "cuda:0" if device in (None, "cuda") else device
