"""What `bench/gpu.py` measures of whole networks: ours, and PyTorch's, each as a CUDA graph.

eager            the module in f16, channels-last, cuDNN choosing by trial
convolutions     by cuDNN alone, on inputs that lie there: what norms, activations and copies are on top of
torch.compile    max-autotune, in the same kind of graph as all else
tuned            ours, by configurations measured here and now
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch

import gpu_cases
import torch
import torch.nn.functional as F
from cases import error
from fetfast.kernels.configs import TABLE, choose
from gpu_cases import HALF, Bench
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fetfast.backends import tuned
from fetfast.backends.fuse import Network
from fetfast.models import family
from fetfast.models.layers import cast
from fetfast.spec import Spec, Stage
from fetfast.tune import measure, shapes_of

Inputs = dict[str, Tensor]
TUNING = 60.0  # seconds


class Networks:
    """The U-Nets by name, "unet small" and "unet paper", f16, channels-last, with random weights; made once."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.made: dict[str, tuple[Stage, nn.Module, Network]] = {}
        self.table = dict(TABLE)

    def get(self, name: str) -> tuple[Stage, nn.Module, Network]:
        """Its stage, its module, and ours."""
        if name not in self.made:
            size = name.removeprefix("unet ")
            spec: Spec = family("unet").SPECS[size]
            stage = spec.stage("unet")
            if self.bench.dry:
                paper = {"fuse": [16, 16], "unet": [16, 16]}
                spec = replace(spec, args=paper if size == "paper" else {"fuse": 16, "down": [16, 16], "up": [16, 16]})
                S = spec.resolution
                stage = replace(stage, inputs=_tiny(stage.inputs, S), outputs=_tiny(stage.outputs, S))
            module = cast(family("unet").build(spec)["unet"].eval(), HALF)
            module = module.to(self.bench.place, memory_format=torch.channels_last)
            self.made[name] = stage, module, Network(module, stage, partial(choose, table=self.table))
        return self.made[name]

    def inputs(self, stage: Stage, B: int) -> Inputs:
        return {t.name: self.bench.random(B, *t.shape, dtype=torch.float32) for t in stage.inputs}

    def row(self, name: str, B: int, way: str) -> dict[str, Any]:
        B = 1 if self.bench.dry else B
        sets = [self.inputs(self.get(name)[0], B) for _ in range(1 if self.bench.dry else 2)]
        with torch.no_grad():
            return {"run": self.ours, "torch.compile": self.compiled, "tuned": self.tuned}[way](name, sets)

    def ours(self, name: str, sets: list[Inputs]) -> dict[str, Any]:
        """Ours checked and timed, beside eager PyTorch and the convolutions alone."""
        bench, (_, module, network) = self.bench, self.get(name)
        with exactly():
            row, results = checked(module, sets[0], network)
        moved = sum(p.numel() * p.element_size() for p in module.parameters())
        moved += sum(x.numel() * x.element_size() for x in (*sets[0].values(), *results.values()))
        with FlopCounterMode(display=False) as counter:
            calls = convolutions(module, sets[0])
        flops = counter.get_total_flops()
        ways = {"ours": network, "eager": module}
        with fastest():
            row["times"] = {way: bench.timed([partial(f, **data) for data in sets]) for way, f in ways.items()}
            row["times"]["convolutions"] = bench.timed([lambda: [call() for call in calls]])
        seconds, B = 1e-6 * row["times"]["ours"]["median_us"], len(next(iter(sets[0].values())))
        return row | {"batch": B, "bytes": moved, "flops": flops, "floor_us": bench.floor(moved, flops),
                      "images_s": B / seconds, "tflop_s": flops / seconds / 1e12,
                      "share_of_matmul": bench.floor(0, flops) / row["times"]["ours"]["median_us"]}  # fmt: skip

    def compiled(self, name: str, sets: list[Inputs]) -> dict[str, Any]:
        module = self.get(name)[1]
        with fastest():
            function = self.bench.compile(module)
            row, _ = checked(module, sets[0], function)
            return row | {"times": {"torch.compile": self.bench.timed([partial(function, **data) for data in sets])}}

    def tuned(self, name: str, sets: list[Inputs]) -> dict[str, Any]:
        """The configurations that are better than the rule's here, and the network with them."""
        stage, module, _ = self.get(name)
        B = len(next(iter(sets[0].values())))
        shapes = shapes_of(module, stage, (B,), self.bench.place)
        found = dict(measure(shapes, self.bench.place, 1 if self.bench.dry else TUNING, print))
        self.table |= found
        if not self.bench.dry:
            device = torch.cuda.get_device_name()
            tuned.write(device, tuned.read(device) | found)
        return self.ours(name, sets) | {"configurations": {key: vars(c) for key, c in found.items()}}


def warm(dry: bool, part: str) -> None:
    """Compiles what a part of the programme will need, into Triton's cache, by running it once."""
    bench = Bench(dry, one_set=True)
    if part == "kernels":
        for make in (make for cases in gpu_cases.of_batch(bench).values() for make in cases.values()):
            case = make()
            case.ours(*case.sets[0])
        return
    networks = Networks(bench)
    stage, _, network = networks.get(f"unet {part}")
    for B in (1,) if dry else (1, 8, 32):
        network(**networks.inputs(stage, B))


def checked(module: nn.Module, inputs: Inputs, ours: Callable[..., Inputs]) -> tuple[dict[str, Any], Inputs]:
    """How far `ours` is from f64, and how far it may be: twice as far as the module in its own precision. And what it
    gives."""
    with patch.object(torch.Tensor, "float", torch.Tensor.double):
        one = {key: x[:1].double() for key, x in inputs.items()}
        exact = deepcopy(module).double()(**one)
    results = {way: f(**inputs) for way, f in (("ours", ours), ("eager", module))}
    errors = {way: max(error(r[key][:1], exact[key]) for key in exact) for way, r in results.items()}
    allowed = max(2 * errors["eager"], 1e-5)
    return {"error": errors["ours"], "allowed": allowed, "ok": errors["ours"] <= allowed}, results["ours"]


@contextmanager
def exactly() -> Iterator[None]:
    """f32 is f32, not TF32: for what others are measured against."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = False
        yield
        torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def fastest() -> Iterator[None]:
    """PyTorch as fast as it can be: cuDNN tries its algorithms, and may take TF32, as it does by default."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
        yield


def convolutions(module: nn.Module, inputs: Inputs) -> list[Callable[[], Tensor]]:
    """Each convolution of the module as a call on what it reads. Runs the module."""
    calls: list[Callable[[], Tensor]] = []

    def note(layer: Any, given: Any, result: Tensor) -> None:
        function: Callable[..., Tensor] = F.conv_transpose2d if isinstance(layer, nn.ConvTranspose2d) else F.conv2d
        x = given[0].detach().to(layer.weight.dtype)
        calls.append(partial(function, x, layer.weight, None, layer.stride, layer.padding))

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    module(**inputs)
    for hook in hooks:
        hook.remove()
    return calls


def _tiny(tensors: Any, resolution: int) -> Any:
    """Pictures of 8 pixels where they were as fine as the resolution."""
    return tuple(
        replace(t, shape=(t.shape[0], *(8 * n // resolution for n in t.shape[1:]))) if len(t.shape) == 3 else t
        for t in tensors
    )
