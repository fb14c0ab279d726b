"""What `bench/gpu.py` measures: the ceilings, each kernel, whole networks."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest.mock import patch

import plain
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fetfast.backends.fuse import Network
from fetfast.models import family
from fetfast.models.layers import cast
from fetfast.ops import heatmap
from fetfast.ops.conv import Affine, Filter, conv
from fetfast.ops.norm_act import norm_act, norm_act_reference, statistics
from fetfast.ops.topology import EDGES
from fetfast.ops.upcat import Part, upcat, upcat_reference
from fetfast.profiling.roofline import Ceilings, Work
from fetfast.profiling.timing import Timing, looped, replayed
from fetfast.spec import Spec, Stage
from fetfast.tune import measure, shapes_of

Call = Callable[[], Any]
HALF = torch.float16


@dataclass(frozen=True)
class Case:
    """One problem: sets of data, and ways to compute it that all take one set."""

    name: str
    sets: list[tuple[Any, ...]]
    ours: Callable[..., Tensor]
    eager: Callable[..., Tensor]
    exact: Callable[..., Tensor]  # takes a set in f64
    bytes: int  # that must move, of one set
    flops: int = 0


class Bench:
    def __init__(self, dry: bool, end: float, one_set: bool = False) -> None:
        self.dry, self.end, self.one_set = dry, end, dry or one_set
        self.place = torch.device("cpu" if dry else "cuda")
        self.ceilings = Ceilings()
        torch.manual_seed(0)

    def late(self, seconds: float = 0) -> bool:
        return time.monotonic() + seconds > self.end

    def random(self, *shape: int, dtype: torch.dtype = HALF) -> Tensor:
        x = torch.randn(shape, device=self.place).to(dtype)
        return x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x

    def warm(self, part: str) -> None:
        """Compiles what `kernels`, or the network of that index in `nets`, will need: into Triton's cache."""
        if part == "kernels":
            for make in self.cases():
                case = make()
                case.ours(*case.sets[0])
        else:
            name, stage, module = self.nets()[int(part)]
            network = Network(module, stage)
            for (other, _, _), B in self.jobs():
                if other == name:
                    network(**self.inputs(stage, B))

    def measure_ceilings(self) -> dict[str, float]:
        """GB/s and Gop/s by name; an interpreter has those of the processor."""
        self.ceilings.measure([self.work(1, 1)])
        return self.ceilings.figures

    def work(self, moved: int, flops: int) -> Work:
        return Work(moved, flops, "f32", "cpu") if self.dry else Work(moved, flops, "bf16", "gpu")

    def floor(self, moved: int, flops: int) -> float:
        """Microseconds."""
        return 1e3 * self.ceilings.floor(self.work(moved, flops))

    def timed(self, calls: list[Call]) -> dict[str, float]:
        return _us(replayed(calls))

    def sets(self, make: Callable[[], tuple[Any, ...]], moved: int) -> list[tuple[Any, ...]]:
        """As many as three times the cache holds, at most 32."""
        return [make() for _ in range(1 if self.one_set else max(1, min(32, (192 << 20) // moved)))]

    def kernels(self) -> list[dict[str, Any]]:
        rows = []
        for make in self.cases():
            if self.late(15):
                break
            case = make()
            got, exact = case.ours(*case.sets[0]), case.exact(*map(_in_f64, case.sets[0]))
            allowed = max(2 * _error(case.eager(*case.sets[0]), exact), 2.0**-11)
            row: dict[str, Any] = {
                "name": case.name, "error": _error(got, exact), "allowed": allowed, "ok": _error(got, exact) <= allowed,
                "bytes": case.bytes, "flops": case.flops, "floor_us": self.floor(case.bytes, case.flops), "times": {},
            }  # fmt: skip
            for name, way in (("ours", case.ours), ("eager", case.eager)):
                row["times"][name] = self.timed([partial(way, *data) for data in case.sets])
            seconds = 1e-6 * row["times"]["ours"]["median_us"]
            row |= {"gb_s": case.bytes / seconds / 1e9, "tflop_s": case.flops / seconds / 1e12}
            row["share_of_ceiling"] = row["floor_us"] / row["times"]["ours"]["median_us"]
            rows.append(row)
            print(f"  {case.name}: {row['times']['ours']['median_us']:.1f} us", flush=True)
        return rows

    def compiled_kernels(self, rows: list[dict[str, Any]]) -> None:
        """What torch.compile makes of the eager form, as far as the time goes."""
        for make, row in zip(self.cases(), rows, strict=False):
            row["times"]["compiled"] = None
            if not self.late(40) and not (self.dry and row is not rows[0]):
                case = make()
                function = self.compile(case.eager, "max-autotune-no-cudagraphs")
                row["times"]["compiled"] = self.timed([partial(function, *data) for data in case.sets])

    def compile(self, function: Callable[..., Any], mode: str) -> Callable[..., Any]:
        torch._dynamo.reset()
        how: dict[str, Any] = {"backend": "eager"} if self.dry else {"mode": mode}
        return torch.compile(function, dynamic=False, **how)

    def cases(self) -> list[Callable[[], Case]]:
        small, large = (2, 4) if self.dry else (32, 256)
        batches = (1,) if self.dry else (1, 32)
        K = 3 if self.dry else 478
        made: list[Callable[[], Case]] = []
        for B in batches:
            made += [
                partial(self.norm_case, "small plane", B, 16 if self.dry else 512, small),
                partial(self.norm_case, "large plane", B, 16 if self.dry else 64, large),
                partial(self.upcat_case, "nearest", B, 16 if self.dry else 96, large // 2),
                partial(self.upcat_case, "bilinear", B, 16 if self.dry else 96, large // 2),
                partial(self.flow_case, B, K, large),
                partial(self.gaussians_case, B, K, large, False),
                partial(self.gaussians_case, B, K, large, True),
                partial(self.contours_case, B, large),
                partial(self.conv_case, "4x4 down", B, 4 if self.dry else 512, 0, 4 if self.dry else 512, 4),
                partial(self.conv_case, "4x4 down", B, 16 if self.dry else 128, 0, 4 if self.dry else 256, small * 2),
                partial(self.conv_case, "4x4 up", B, 4 if self.dry else 512, 4 if self.dry else 512, 16, small // 2),
                partial(self.conv_case, "3x3", B, 4 if self.dry else 96, 4 if self.dry else 48, 16, large // 2),
            ]
        return made

    def norm_case(self, name: str, B: int, C: int, S: int) -> Case:
        def eager(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return F.leaky_relu(F.instance_norm(x.float(), weight=weight, bias=bias).to(x.dtype), 0.2)

        moved = 2 * 2 * B * C * S * S
        data = self.sets(lambda: (self.random(B, C, S, S), *torch.randn(2, C, device=self.place)), moved)
        ours = lambda x, w, b: norm_act(x, w, b, 0.2)  # noqa: E731
        exact = lambda x, w, b: norm_act_reference(x, w, b, 0.2)  # noqa: E731
        return Case(f"norm_act {name} {B}x{C}x{S}x{S}", data, ours, eager, exact, moved)

    def upcat_case(self, up: str, B: int, C: int, S: int) -> Case:
        def make() -> tuple[Tensor, ...]:
            a, b = self.random(B, C, S, S), self.random(B, C // 2, 2 * S, 2 * S)
            return a, statistics(a), b, statistics(b)

        def parts(a: Tensor, a_norm: Tensor, b: Tensor, b_norm: Tensor) -> tuple[Part, Part]:
            return Part(a, a_norm, 0.2, up), Part(b, b_norm, 0.2)

        moved = 2 * B * S * S * (C + 2 * C + 4 * (C + C // 2))
        ours, eager = (lambda *data, way=way: way(*parts(*data)) for way in (upcat, upcat_reference))
        return Case(f"upcat {up} {B}x{C}x{S}x{S}", self.sets(make, moved), ours, eager, eager, moved)

    def points(self, B: int, K: int) -> Tensor:
        return 0.5 + 0.2 * torch.randn(B, K, 2, device=self.place)

    def flow_case(self, B: int, K: int, S: int) -> Case:
        widths = torch.full((K,), 0.03, device=self.place)
        out = self.random(B, 10, S, S)[:, 8:]  # a slice of a network's input

        def eager(source: Tensor, driven: Tensor) -> Tensor:
            return plain.first_flow(source, driven, widths, S)

        data = [(self.points(B, K), self.points(B, K)) for _ in range(4)]
        ours = lambda source, driven: heatmap.first_flow(source, driven, S, out, widths)  # noqa: E731
        return Case(f"first_flow {B}x{K} {S}x{S}", data, ours, lambda *d: eager(*d).to(HALF), eager,
                    2 * B * 2 * S * S, 6 * B * K * S * S)  # fmt: skip

    def gaussians_case(self, B: int, K: int, S: int, channels_last: bool) -> Case:
        out = torch.empty(B, K, S, S, dtype=HALF, device=self.place)
        if channels_last:
            out = out.contiguous(memory_format=torch.channels_last)

        def eager(points: Tensor) -> Tensor:
            maps = plain.gaussians(points, S, 0.02)
            return maps if points.dtype == torch.float64 else maps.to(out.dtype)

        data = [(self.points(B, K),) for _ in range(2)]
        name = f"gaussians {'NHWC' if channels_last else 'NCHW'} {B}x{K} {S}x{S}"
        ours = lambda points: heatmap.gaussians(points, S, 0.02, None, out)  # noqa: E731
        return Case(name, data, ours, eager, eager, 2 * B * K * S * S)

    def contours_case(self, B: int, S: int) -> Case:
        out = self.random(B, 8, S, S)[:, 3:4]
        data = [(self.points(B, 478),) for _ in range(4)]
        edges = torch.tensor(EDGES[:: 16 if self.dry else 1], dtype=torch.int32, device=self.place)

        def eager(points: Tensor) -> Tensor:
            drawn = plain.contours(points, S, edges)
            return drawn if points.dtype == torch.float64 else drawn.to(HALF)

        ours = lambda points: heatmap.contours(points, S, out, edges)  # noqa: E731
        return Case(f"contours {B} {S}x{S}", data, ours, eager, eager, 2 * B * S * S)

    def conv_case(self, kind: str, B: int, CA: int, CB: int, N: int, S: int) -> Case:
        k, stride, transposed = {"3x3": (3, 1, False), "4x4 down": (4, 2, False), "4x4 up": (4, 2, True)}[kind]
        C, up = CA + CB, "nearest" if kind == "3x3" else "none"

        def make() -> tuple[Any, ...]:
            a = self.random(B, CA, S, S)
            b = self.random(B, CB, *((2 * S, 2 * S) if up == "nearest" else (S, S))) if CB else None
            shape = (C, N, k, k) if transposed else (N, C, k, k)
            weight = self.random(*shape) / (C * k * k) ** 0.5
            return a, statistics(a), b, statistics(b) if b is not None else None, weight, Filter.pack(
                weight, None, stride, transposed)  # fmt: skip

        def parts(a: Any, a_norm: Any, b: Any, b_norm: Any) -> tuple[Part, Part | None]:
            return Part(a, a_norm, 0.2, up), None if b is None else Part(b, b_norm, 0.2)

        def ours(*data: Any) -> Tensor:
            return conv(*parts(*data[:4]), data[5], norm=Affine())[0]

        def eager(*data: Any) -> Tensor:
            x = upcat_reference(*parts(*data[:4]))
            y = F.conv_transpose2d(x, data[4], None, 2, 1) if transposed else F.conv2d(
                x, data[4], None, stride, (k - 1) // 2)  # fmt: skip
            y.float().var((2, 3))  # what the next norm reads
            return y

        out = 2 * S if transposed or up == "nearest" else S // stride
        pixels = B * S * S
        moved = 2 * (pixels * CA + (4 if up == "nearest" else 1) * pixels * CB + k * k * C * N + B * out * out * N)
        flops = 2 * B * out * out * N * C * k * k // (4 if transposed else 1)
        name = f"conv {kind} {B}x({CA}+{CB})x{S}x{S} to {N}"
        return Case(name, self.sets(make, moved), ours, eager, eager, moved, flops)

    def networks(self) -> list[dict[str, Any]]:
        rows = []
        for (name, stage, module), B in self.jobs():
            if self.late(15):
                break
            rows.append(self.network(name, stage, module, B))
            print(f"  {rows[-1]['name']}: {rows[-1]['times']['ours']['median_us']:.1f} us", flush=True)
        return rows

    def compiled_networks(self, rows: list[dict[str, Any]]) -> None:
        for ((_, stage, module), B), row in zip(self.jobs(), rows, strict=False):
            row["times"]["compiled"] = None
            if not self.late(0 if self.dry else 75):
                sets = [self.inputs(stage, B) for _ in range(2)]
                with torch.no_grad():
                    row["times"]["compiled"] = self.looped(self.compile(module, "max-autotune"), sets)

    def jobs(self) -> list[tuple[tuple[str, Stage, nn.Module], int]]:
        """The networks and their batch sizes, what matters most first."""
        return [(net, B) for B in ((1,) if self.dry else (1, 32, 8)) for net in self.nets()]

    def nets(self) -> list[tuple[str, Stage, nn.Module]]:
        """The U-Nets and the paper's encoders, f16, channels-last."""
        found = []
        for size, name in (("paper", "unet"), ("small", "unet"), ("paper", "fuse"))[: 2 if self.dry else 3]:
            spec: Spec = family("unet").SPECS[size]
            stage = spec.stage(name)
            if self.dry:
                paper = {"fuse": [16, 16], "unet": [16, 16]}
                spec = replace(spec, args=paper if size == "paper" else {"fuse": 16, "down": [16, 16], "up": [16, 16]})
                S = spec.resolution
                stage = replace(stage, inputs=_tiny(stage.inputs, S), outputs=_tiny(stage.outputs, S))
            module = cast(family("unet").build(spec)[name].eval(), HALF)
            module = module.to(self.place, memory_format=torch.channels_last)
            found.append((f"unet {size} {name}", stage, module))
        return found

    def network(self, name: str, stage: Stage, module: nn.Module, B: int) -> dict[str, Any]:
        sets = [self.inputs(stage, B) for _ in range(1 if self.dry else 2)]
        ours = Network(module, stage)
        with torch.no_grad(), patch.object(torch.Tensor, "float", torch.Tensor.double):
            one = {key: x[:1].double() for key, x in sets[0].items()}
            exact = deepcopy(module).double()(**one)
        with torch.no_grad():
            results = {way: f(**sets[0]) for way, f in (("ours", ours), ("eager", module))}
            errors = {way: max(_error(r[key][:1], exact[key]) for key in exact) for way, r in results.items()}
            moved = sum(p.numel() * p.element_size() for p in module.parameters())
            moved += sum(x.numel() * x.element_size() for x in (*sets[0].values(), *results["ours"].values()))
            flops = _flops(module, sets[0])
            row: dict[str, Any] = {
                "name": f"{name} batch {B}", "batch": B, "error": errors["ours"], "allowed": 2 * errors["eager"],
                "ok": errors["ours"] <= max(2 * errors["eager"], 1e-5), "bytes": moved, "flops": flops,
                "floor_us": self.floor(moved, flops), "times": {"ours": self.timed([partial(ours, **s) for s in sets])},
            }  # fmt: skip
            row["times"]["eager in a graph"] = self.timed([partial(module, **s) for s in sets])
            row["times"]["eager"] = self.looped(module, sets)
        seconds = 1e-6 * row["times"]["ours"]["median_us"]
        share = self.floor(0, flops) / row["times"]["ours"]["median_us"]
        return row | {"images_s": B / seconds, "tflop_s": flops / seconds / 1e12, "share_of_matmul": share}

    def looped(self, function: Callable[..., Any], sets: list[dict[str, Tensor]]) -> dict[str, float]:
        """Calls from Python one after the other, as a loop makes them."""
        return _us(looped([partial(function, **data) for data in sets]))

    def inputs(self, stage: Stage, B: int) -> dict[str, Tensor]:
        return {t.name: self.random(B, *t.shape, dtype=torch.float32) for t in stage.inputs}

    def tuned(self) -> dict[str, Any]:
        """Better configurations than the rule's, for the committed table."""
        batches = (1,) if self.dry else (1, 8, 32)
        shapes = [s for _, stage, module in self.nets() for s in shapes_of(module, stage, batches, self.place)]
        seconds = min(1.0, self.end - time.monotonic()) if self.dry else self.end - time.monotonic()
        return {key: vars(config) for key, config in measure(shapes, self.place, seconds, print)}


def _tiny(tensors: Any, resolution: int) -> Any:
    """Pictures of 8 pixels where they were as fine as the resolution."""
    return tuple(
        replace(t, shape=(t.shape[0], *(8 * n // resolution for n in t.shape[1:]))) if len(t.shape) == 3 else t
        for t in tensors
    )


def _in_f64(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _error(got: Tensor, exact: Tensor) -> float:
    off = (got - exact).norm() / exact.norm().clamp(min=1e-30)
    return float(off) if got.isfinite().all() else float("inf")


def _us(timing: Timing) -> dict[str, float]:
    return {"median_us": 1e3 * timing.median, "p95_us": 1e3 * timing.p95}


def _flops(module: nn.Module, inputs: dict[str, Tensor]) -> int:
    with FlopCounterMode(display=False) as counter:
        module(**inputs)
    return counter.get_total_flops()
