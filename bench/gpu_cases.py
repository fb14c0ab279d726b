"""What `bench/gpu.py` measures of single kernels, and the card's two ceilings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cases
import numpy as np
import torch
import torch.nn.functional as F
from cases import error
from torch import Tensor

from fetfast.ops.conv import Affine, Filter, conv
from fetfast.ops.face_mesh import EDGES
from fetfast.ops.norm_act import norm_act, norm_act_reference, statistics
from fetfast.ops.upcat import Part, upcat, upcat_reference
from fetfast.profiling.roofline import Ceilings, Work
from fetfast.profiling.timing import Call, replayed

HALF = torch.float16


@dataclass(frozen=True)
class Case:
    """One problem: sets of data, and ways to compute it that all take one set."""

    sets: list[tuple[Any, ...]]
    ours: Callable[..., Tensor]
    eager: Callable[..., Tensor]
    exact: Callable[..., Tensor]  # takes a set in f64
    bytes: int  # that must move, of one set
    flops: int = 0
    library: Call | None = None  # cuDNN alone, on inputs that lie there


class Bench:
    """Where it runs, how it is timed, and how fast it could be."""

    def __init__(self, dry: bool, one_set: bool = False) -> None:
        self.dry, self.one_set = dry, dry or one_set
        self.place = torch.device("cpu" if dry else "cuda")
        self.ceilings = Ceilings()
        torch.manual_seed(0)

    def random(self, *shape: int, dtype: torch.dtype = HALF) -> Tensor:
        x = torch.randn(shape, device=self.place).to(dtype)
        return x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x

    def measured(self) -> dict[str, Any]:
        """The ceilings, GB/s and Gop/s by name; an interpreter has those of the processor."""
        self.ceilings.measure([self.work(1, 1)])
        found = self.ceilings.figures
        units = {name: "GB/s" if "copy" in name else "Gop/s" for name in found}
        return found | {"says": ", ".join(f"{name} {rate:.0f} {units[name]}" for name, rate in found.items())}

    def work(self, moved: int, flops: int) -> Work:
        return Work(moved, flops, "f32", "cpu") if self.dry else Work(moved, flops, "bf16", "gpu")

    def floor(self, moved: int, flops: int) -> float:
        """Microseconds."""
        return 1e3 * self.ceilings.floor(self.work(moved, flops))

    def timed(self, calls: list[Call]) -> dict[str, float]:
        timing = replayed(calls)
        return {"median_us": 1e3 * timing.median, "p95_us": 1e3 * timing.p95}

    def sets(self, make: Callable[[], tuple[Any, ...]], moved: int) -> list[tuple[Any, ...]]:
        """As many as three times the cache holds, at most 32."""
        return [make() for _ in range(1 if self.one_set else max(1, min(32, (192 << 20) // moved)))]

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """By torch.compile, which tries many kernels; without graphs of its own, for it is timed in ours."""
        if self.dry:
            return function
        torch._dynamo.reset()
        return torch.compile(function, dynamic=False, mode="max-autotune-no-cudagraphs")


def row(bench: Bench, case: Case) -> dict[str, Any]:
    """The kernel checked and timed, beside eager PyTorch, and cuDNN alone."""
    exact = case.exact(*map(_in_f64, case.sets[0]))
    off, allowed = (error(way(*case.sets[0]), exact) for way in (case.ours, case.eager))
    allowed = max(2 * allowed, 2.0**-11)
    times = {way: bench.timed([partial(f, *data) for data in case.sets])
             for way, f in (("ours", case.ours), ("eager", case.eager))}  # fmt: skip
    if case.library:
        times["cuDNN"] = bench.timed([case.library])
    seconds, least = 1e-6 * times["ours"]["median_us"], bench.floor(case.bytes, case.flops)
    return {
        "error": off, "allowed": allowed, "ok": off <= allowed,
        "bytes": case.bytes, "flops": case.flops, "floor_us": least, "times": times,
        "gb_s": case.bytes / seconds / 1e9, "tflop_s": case.flops / seconds / 1e12,
        "share_of_ceiling": least / times["ours"]["median_us"],
    }  # fmt: skip


def compiled(bench: Bench, case: Case) -> dict[str, Any]:
    """What torch.compile makes of the eager form."""
    function, exact = bench.compile(case.eager), case.exact(*map(_in_f64, case.sets[0]))
    off = error(function(*case.sets[0]), exact)
    times = {"torch.compile": bench.timed([partial(function, *data) for data in case.sets])}
    return {"error": off, "ok": off < 2.0**-7, "times": times}


def of_batch(bench: Bench) -> dict[int, dict[str, Callable[[], Case]]]:
    """Batch size -> name -> what makes the case; a convolution of the network that ships comes first."""
    dry = bench.dry
    small, large = (2, 4) if dry else (32, 256)
    K, made = 3 if dry else 478, Cases(bench)

    def of(B: int) -> dict[str, Callable[[], Case]]:
        found: dict[str, Callable[[], Case]] = {}

        def add(name: str, make: Callable[..., Case], *arguments: Any) -> None:
            found[f"{name}, batch {B}"] = partial(make, *arguments)

        def conv(kind: str, CA: int, CB: int, N: int, S: int) -> None:
            CA, CB, N, S = (min(CA, 16), min(CB, 4), min(N, 16), min(S, 4)) if dry else (CA, CB, N, S)
            add(f"conv {kind} ({CA}+{CB}) x {S} x {S} to {N}", made.conv_case, kind, B, CA, CB, N, S)

        conv("3x3", 80, 48, 48, 16)
        conv("4x4 down", 512, 0, 512, 4)
        conv("4x4 down", 128, 0, 256, 64)
        conv("4x4 up", 512, 512, 16, 16)
        conv("3x3", 96, 48, 16, 128)
        add("norm_act small plane", made.norm_case, B, 16 if dry else 512, small)
        add("norm_act large plane", made.norm_case, B, 16 if dry else 64, large)
        add("upcat nearest", made.upcat_case, "nearest", B, 16 if dry else 96, large // 2)
        add("upcat bilinear", made.upcat_case, "bilinear", B, 16 if dry else 96, large // 2)
        add("first_flow", made.flow_case, B, K, large)
        add("gaussians NCHW", made.gaussians_case, B, K, large, False)
        add("gaussians NHWC", made.gaussians_case, B, K, large, True)
        add("contours", made.contours_case, B, large)
        return found

    return {B: of(B) for B in ((1,) if dry else (1, 32))}


class Cases:
    """How the cases' data is made, and what computes it."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.place = bench, bench.place
        self.random, self.sets = bench.random, bench.sets

    def norm_case(self, B: int, C: int, S: int) -> Case:
        def eager(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return F.leaky_relu(F.instance_norm(x.float(), weight=weight, bias=bias).to(x.dtype), 0.2)

        moved = 2 * 2 * B * C * S * S
        data = self.sets(lambda: (self.random(B, C, S, S), *torch.randn(2, C, device=self.place)), moved)
        ours = lambda x, w, b: norm_act(x, w, b, 0.2)  # noqa: E731
        exact = lambda x, w, b: norm_act_reference(x, w, b, 0.2)  # noqa: E731
        return Case(data, ours, eager, exact, moved)

    def upcat_case(self, up: str, B: int, C: int, S: int) -> Case:
        def make() -> tuple[Tensor, ...]:
            a, b = self.random(B, C, S, S), self.random(B, C // 2, 2 * S, 2 * S)
            return a, statistics(a), b, statistics(b)

        def parts(a: Tensor, a_norm: Tensor, b: Tensor, b_norm: Tensor) -> tuple[Part, Part]:
            return Part(a, a_norm, 0.2, up), Part(b, b_norm, 0.2)

        moved = 2 * B * S * S * (C + 2 * C + 4 * (C + C // 2))
        ours, eager = (lambda *data, way=way: way(*parts(*data)) for way in (upcat, upcat_reference))
        return Case(self.sets(make, moved), ours, eager, eager, moved)

    def map_case(self, make: Callable[[], cases.Case], out: Tensor) -> Case:
        """A map of landmarks, drawn into a network's input."""
        drawn = [make() for _ in range(4)]
        plain = drawn[0].plain(self.place)

        def eager(*data: Any) -> Tensor:
            y = plain(*data)
            return y if y.dtype == torch.float64 else y.to(out.dtype)

        data = [case.tensors(self.place) for case in drawn]
        moved = out.numel() * out.element_size()
        return Case(data, partial(drawn[0].ours, out=out), eager, eager, moved, drawn[0].operations)

    def flow_case(self, B: int, K: int, S: int) -> Case:
        widths = np.full(K, 0.03, np.float32)
        return self.map_case(lambda: cases.flow_case(points(B, K), points(B, K), S, widths),
                             self.random(B, 10, S, S)[:, 8:])  # fmt: skip

    def gaussians_case(self, B: int, K: int, S: int, channels_last: bool) -> Case:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        out = torch.empty(B, K, S, S, dtype=HALF, device=self.place, memory_format=layout)
        return self.map_case(lambda: cases.gaussians_case(points(B, K), S), out)

    def contours_case(self, B: int, S: int) -> Case:
        edges = np.array(EDGES[:: 16 if self.bench.dry else 1], np.int32)
        return self.map_case(lambda: cases.contours_case(points(B, 478), S, edges), self.random(B, 8, S, S)[:, 3:4])

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
        data = self.sets(make, moved)
        x, weight = upcat_reference(*parts(*data[0][:4])), data[0][4]

        def library() -> Tensor:
            if transposed:
                return F.conv_transpose2d(x, weight, None, 2, 1)
            return F.conv2d(x, weight, None, stride, (k - 1) // 2)

        return Case(data, ours, eager, eager, moved, flops, library)


def points(B: int, K: int) -> np.ndarray:
    return (0.5 + 0.2 * torch.randn(B, K, 2)).numpy()


def _in_f64(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
