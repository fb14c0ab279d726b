"""`fetfast bench`: where the time of one `stream` step goes, on this machine, in well under a minute."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fetfast import assets, image
from fetfast.engine import Engine
from fetfast.face import Face
from fetfast.image import Frame
from fetfast.inputs import Scene
from fetfast.ops.paste import paste
from fetfast.spec import REGIONS

DRIVER, TARGET = (480, 640), (768, 768)  # height, width


def stream_step(engine: Engine, steps: int = 200, warm_up: int = 20) -> dict[str, Any]:
    """Times `steps` steps of what `Engine.stream` does, part by part.

    The driver is scikit-image's astronaut in a 640 x 480 frame, moved by a pixel or two from frame to frame so that
    tracking has work to do; the target is the same portrait at 768 x 768. Returns a dict: plan, backend, steps,
    step_ms {median, p95} and parts {name: median ms}.
    """
    portrait = image.load(assets.path("astronaut.png"))
    target = engine.prepare(_fit(portrait, TARGET))
    drivers = [np.roll(_fit(portrait, DRIVER), shift, axis=(0, 1)) for shift in _wander()]
    times: dict[str, list[float]] = defaultdict(list)
    previous: Face | None = None
    for i in range(warm_up + steps):
        if i == warm_up:
            times.clear()
        frame = drivers[i % len(drivers)]
        begin = time.perf_counter()
        with _timed(times, "face: track the driver"):
            previous = engine.follow(frame, previous)
        assert previous is not None, "the astronaut's face was not found"
        scene = Scene(previous, frame, target, 1.0, REGIONS)
        for stage in engine.plan.spec.stages:
            with _timed(times, f"inputs: for {stage.name}"):
                inputs = {tensor.name: scene.need(tensor.name) for tensor in stage.inputs}
            with _timed(times, f"network: {stage.name}"):
                scene.tensors |= engine.run_stage(stage.name, inputs)
        with _timed(times, "inputs: for paste"):
            parts = {part: scene.need(name) for part, name in engine.plan.spec.paste.items()}
        with _timed(times, "paste"):
            paste(target.frame, target.matrices[0], **{part: tensor[0] for part, tensor in parts.items()})
        times["step"].append(time.perf_counter() - begin)
    whole = np.array(times.pop("step")) * 1e3
    return {
        "plan": engine.plan.name,
        "backend": engine.backend,
        "steps": steps,
        "step_ms": {"median": float(np.median(whole)), "p95": float(np.percentile(whole, 95))},
        "parts": {name: float(np.median(values) * 1e3) for name, values in times.items()},
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as lines for a person."""
    total = figures["step_ms"]["median"]
    lines = [f"{figures['plan']} on {figures['backend']}, median of {figures['steps']} steps"]
    lines += [f"  {name:<28}{ms:7.2f} ms {ms / total:6.0%}" for name, ms in figures["parts"].items()]
    lines += [
        f"  {'one stream step':<28}{total:7.2f} ms   p95 {figures['step_ms']['p95']:.2f} ms, {1e3 / total:.0f} frames/s"
    ]
    return "\n".join(lines)


def _fit(frame: Frame, size: tuple[int, int]) -> Frame:
    """`frame` scaled to the height wanted, in the middle of a grey frame of that size."""
    from PIL import Image

    height, width = size
    scaled = np.asarray(Image.fromarray(frame).resize((height, height)))
    out = np.full((height, width, 3), 127, np.uint8)
    left = (width - height) // 2
    out[:, left : left + height] = scaled
    return out


def _wander() -> list[tuple[int, int]]:
    steps = np.random.default_rng(0).integers(-1, 2, size=(32, 2)).cumsum(0)
    return [(int(y), int(x)) for y, x in steps]


@contextmanager
def _timed(times: dict[str, list[float]], name: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    times[name].append(time.perf_counter() - begin)
