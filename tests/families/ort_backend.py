"""A throw-away backend: ONNX Runtime on the processor."""

import numpy as np

from fetfast.plan import Plan

DEVICES = ("cpu",)
PACKAGES = ("onnxruntime",)
CACHES = ()
THREADS = False


def why_not(plan: Plan, device: str | None) -> str | None:
    return None if device in (None, "cpu") else f"ONNX Runtime runs on the CPU here, not on {device}"


def load(plan: Plan, device: str | None = None) -> dict:
    import onnxruntime

    def runner(stage):
        session = onnxruntime.InferenceSession(plan.onnx(stage.name))
        names = [tensor.name for tensor in stage.outputs]
        return lambda inputs: dict(
            zip(names, session.run(names, {k: np.asarray(v) for k, v in inputs.items()}), strict=True)
        )

    return {stage.name: runner(stage) for stage in plan.spec.stages}
