"""Plain PyTorch: the oracle that the other backends are measured against. CPU or CUDA."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from fetfast.errors import BadPlan
from fetfast.models import FAMILIES, family
from fetfast.plan import Plan
from fetfast.spec import Stage

if TYPE_CHECKING:
    import torch

    from fetfast.backends import Runner

DEVICES = ("cuda", "cpu")
PACKAGES = ("torch",)
CACHES: tuple[str, ...] = ()
THREADS = False


def why_not(plan: Plan, device: str | None) -> str | None:
    if plan.precision == "int8":
        return "plain PyTorch does not run quantised plans; take backend openvino or tensorrt, or a plan in fp16"
    if unknown := unlisted(plan):
        return unknown
    if find_spec("torch") is None:
        return "PyTorch is missing; pip install torch"
    import torch

    if device is not None and device.startswith("cuda") and not torch.cuda.is_available():
        return "PyTorch sees no CUDA device; install the NVIDIA driver and a CUDA build of torch"
    return None


def unlisted(plan: Plan) -> str | None:
    """Why there are no modules of a plan's family, if there are none."""
    if plan.spec.family in FAMILIES:
        return None
    known = ", ".join(FAMILIES)
    return f"family {plan.spec.family[:40]!r} is none of this version's ({known}): only its graphs can be run"


def load(plan: Plan, device: str | None = None) -> dict[str, Runner]:
    """Each stage's module with the plan's weights. Raises BadPlan where they do not fit the family."""
    import torch

    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if place.type == "cuda":
        place = torch.device("cuda", place.index or 0)  # whichever is current: where the other backends are, and frames
    return {name: _runner(module, plan.spec.stage(name), place) for name, module in modules(plan, place).items()}


def modules(plan: Plan, place: torch.device) -> dict[str, torch.nn.Module]:
    """Stage name -> its module with the plan's weights, at `place`. Raises BadPlan where they do not fit the family."""
    import torch

    try:
        with torch.device("meta"):  # shapes only: nothing is allocated for what a damaged plan says
            built = family(plan.spec.family).build(plan.spec)
        for stage, module in built.items():
            weights = {name: _tensor(weight, place) for name, weight in plan.stage_weights(stage).items()}
            module.load_state_dict(weights, assign=True)
    except Exception as error:  # the arguments that a file gives to `build` may be anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise BadPlan(f"{plan.name} does not fit its family ({reason}); build it again") from error
    return {stage.name: built[stage.name].eval() for stage in plan.spec.stages}


def _tensor(weight: np.ndarray, place: torch.device) -> torch.Tensor:
    import torch

    if weight.dtype.name == "bfloat16":
        tensor = torch.from_numpy(weight.view(np.int16).copy()).view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(weight.copy())
    layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
    # Laid out here: over there it would be a kernel, for which runners on other streams do not wait.
    return tensor.to(memory_format=layout).to(place)


def _runner(module: torch.nn.Module, stage: Stage, place: torch.device) -> Runner:
    import torch

    @torch.inference_mode()
    def run(inputs: dict[str, Any]) -> dict[str, Any]:
        arrays = isinstance(inputs[stage.inputs[0].name], np.ndarray)
        if arrays:
            inputs = {t.name: torch.from_numpy(np.ascontiguousarray(inputs[t.name])).to(place) for t in stage.inputs}
        results = module(**{t.name: inputs[t.name] for t in stage.inputs})
        tensors = {t.name: results[t.name].float().contiguous() for t in stage.outputs}
        return {name: x.cpu().numpy() for name, x in tensors.items()} if arrays else tensors

    return run
