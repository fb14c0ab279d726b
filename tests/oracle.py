"""What the backends are measured against: a plan's stage in f64."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np

from fetfast.models import family
from fetfast.plan import Plan
from fetfast.spec import Stage


def inputs_of(stage: Stage, batch: int) -> dict[str, np.ndarray]:
    """Numbers in the range that the names promise: points, maps, pictures in 0 ... 1, flow in tenths of the crop."""
    rng = np.random.default_rng(batch)
    scale = {"first_flow": np.float32(0.1)}
    return {t.name: scale.get(t.name, 1) * rng.random((batch, *t.shape), np.float32) for t in stage.inputs}


def in_f64(plan: Plan, stage: Stage, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The stage with the plan's weights, in f64 throughout: what the modules hold to f32 as well."""
    import torch

    module = family(plan.spec.family).build(plan.spec)[stage.name].double().eval()
    weights = {name: torch.from_numpy(w.astype(np.float64)) for name, w in plan.stage_weights(stage.name).items()}
    module.load_state_dict(weights)
    tensors = {name: torch.from_numpy(value).double() for name, value in inputs.items()}
    with patch.object(torch.Tensor, "float", torch.Tensor.double), torch.inference_mode():
        return {name: value.numpy() for name, value in module(**tensors).items()}


def rms(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(a.astype(np.float64) - b))))
