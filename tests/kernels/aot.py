"""Compiles launches of the kernels ahead of time, for GPUs that are not here, and reads what they take off the binary.

Run as a program, in a process of its own, since Triton either interprets or compiles:

    python tests/kernels/aot.py [sm_80 sm_90 ...]

What is compiled is what the kernels' own `launch` functions ask for when given tensors of these shapes: their launches
are recorded instead of run. Needs Triton of any version, neither torch nor a GPU. Prints a line for each kernel, and
exits with 1 if one spills or does not fit.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SHARED = {80: 166912, 86: 101376, 89: 101376, 90: 232448, 100: 232448, 120: 101376}  # bytes that a program may have
MULTIPROCESSORS = {80: 108, 86: 82, 89: 128, 90: 132, 100: 148, 120: 170}
TYPES = {"f16": "fp16", "bf16": "bf16", "f32": "fp32", "i32": "i32"}
SIZES = {"f16": 2, "bf16": 2, "f32": 4, "i32": 4}
NAMES = {"f16": "float16", "bf16": "bfloat16", "f32": "float32"}


@dataclass(frozen=True)
class Fake:
    """What the launch functions ask of a tensor. Contiguous, in the order of its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def stride(self, axis: int | None = None) -> Any:
        strides = tuple(accumulate((1, *self.shape[:0:-1]), lambda a, b: a * b))[::-1]
        return strides if axis is None else strides[axis]

    def element_size(self) -> int:
        return SIZES[self.dtype]

    def numel(self) -> int:
        return prod(self.shape)


def tensor(dtype: str, *shape: int) -> Any:
    return Fake(dtype, shape)


@dataclass(frozen=True)
class Launch:
    """A recorded launch, as Triton would specialise it."""

    file: str
    kernel: str
    signature: dict[str, str]
    constants: dict[str, Any]
    aligned: tuple[str, ...]  # arguments divisible by 16
    options: dict[str, int]


def record(run: Callable[[], None]) -> list[Launch]:
    """The launches of `run`, none of which happens."""
    from triton.runtime.jit import JITFunction

    launches: list[Launch] = []

    def take(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        assert min(grid) > 0 and max(grid[1:], default=1) < 1 << 16, f"{self.fn.__name__}: grid {grid}"
        options = {name: kwargs.pop(name) for name in ("num_warps", "num_stages") if name in kwargs}
        values = dict(zip(self.arg_names, args, strict=False)) | kwargs
        signature, constants, aligned = {}, {}, []
        for parameter in self.params:
            name, value = parameter.name, values[parameter.name]
            if parameter.is_constexpr or value is None or (type(value) is int and value == 1):
                signature[name], constants[name] = "constexpr", value
            elif isinstance(value, Fake):
                signature[name] = "*" + TYPES[value.dtype]
                aligned.append(name)
            else:
                signature[name] = "fp32" if isinstance(value, float) else "i32"
                if isinstance(value, int) and value % 16 == 0:
                    aligned.append(name)
        launches.append(
            Launch(
                Path(self.fn.__code__.co_filename).stem, self.fn.__name__, signature, constants, tuple(aligned), options
            )
        )

    original = JITFunction.run
    JITFunction.run = take
    try:
        run()
    finally:
        JITFunction.run = original
    return launches


def usage(launch: Launch, capability: int) -> dict[str, int]:
    """Compile one launch: registers a thread, bytes of shared memory, and of stack and local memory (spills)."""
    from importlib import import_module

    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    fn = getattr(import_module(f"fetfast.kernels.{launch.file}"), launch.kernel)
    position = {name: (i,) for i, name in enumerate(fn.arg_names)}
    source = ASTSource(
        fn,
        launch.signature,
        {position[name]: value for name, value in launch.constants.items()},
        {position[name]: [["tt.divisibility", 16]] for name in launch.aligned},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=dict(launch.options))
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        text = subprocess.run(
            [tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = {key.lower(): int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", text)}
    assert found.keys() == {"reg", "stack", "local"}, text
    return found | {"shared": compiled.metadata.shared, "warps": compiled.metadata.num_warps}


def cases(capability: int) -> list[tuple[str, Launch]]:
    """The chosen set, with the configurations that this architecture is given: (title, launch). What is light in
    registers and shared memory is compiled for one architecture, sm_90, that stands for all."""
    from fetfast.kernels import configs, conv, heatmap, norm_act, points, teeth, upcat

    chosen: list[tuple[str, Launch]] = []

    def add(title: str, run: Callable[[], None]) -> None:
        for launch in record(run):
            heavy = launch.kernel in ("conv_kernel", "one_pass_kernel")
            if (heavy or capability == 90) and launch not in (known for _, known in chosen):
                chosen.append((f"{title}: {launch.kernel}", launch))

    def add_conv(title: str, dtype: str, B: int, size: int, CA: int, CB: int, N: int, kind: str) -> None:
        taps, Q, stride = {"3x3": (9, 1, 1), "down": (16, 1, 2), "up": (4, 4, 1)}[kind]
        out = size * {"3x3": 1, "down": 1, "up": 2}[kind] // stride
        y = tensor(dtype, B, out, out, N)
        channels = (CA, CB) if CB else (CA,)
        shape = configs.Shape(
            capability, MULTIPROCESSORS[capability], NAMES[dtype], B, out * out // Q, channels, N, taps, Q
        )
        config = configs.choose(shape)
        a_size = size // 2 if kind == "3x3" and CB else size
        norms = [tensor("f32", 3, B, C) if C > 16 else None for C in (CA, CB)]
        work = tensor("f32", *conv.workspace(config, y, Q == 4))
        add(title, lambda: conv.launch(
            tensor(dtype, B, a_size, a_size, CA), norms[0], 0.2, kind == "3x3" and CB > 0,
            tensor(dtype, B, size, size, CB) if CB else None, norms[1] if CB else None, 0.2, False,
            tensor(dtype, Q, taps, CA + CB, N), None if N > 16 else tensor("f32", N), y,
            tensor("f32", 3, B, N) if N > 16 else None, tensor("f32", N), tensor("f32", N), work, stride, 1.0, 1e-5,
            config,
        ))  # fmt: skip

    weight = tensor("f32", 128)
    x = tensor("f16", 32, 1024, 128)
    add("on chip", lambda: norm_act.launch(x, weight, weight, None, x, 1e-5, 0.2))
    if capability == 90:
        x = tensor("bf16", 1, 65536, 128)
        norm, pieces = tensor("f32", 3, 1, 128), tensor("f32", 2, 1, norm_act.piece_count(x), 128)
        add("pieces", lambda: norm_act.merge(pieces, norm_act.moments(x, pieces), weight, weight, norm, 1e-5))
        add("pieces", lambda: norm_act.apply(x, norm, x, x, 0.2))
        for B in (1, 32):
            at, width, out = tensor("f32", B, 478, 2), tensor("f32", 478), tensor("f32", B, 2, 256, 256)
            add(f"flow, batch {B}", lambda p=at, w=width, out=out: heatmap.first_flow(p, p, w, 40.0, out))
        add("contours", lambda: heatmap.contours(at, tensor("i32", 128, 2), 1.0, tensor("f16", 32, 1, 256, 256)))
        where, face = tensor("f32", 1, 40, 2), tensor("f32", 1, 478, 2)
        add("teeth", lambda: teeth.stand(face, face, tensor("f32", 40, 956), tensor("i32", 2, 11), where))
        add("teeth", lambda: teeth.draw(where, 10, 8, 0.5, 1.0, tensor("f32", 1, 1, 256, 256)))
        add("points", lambda: points.moved(face, face, tensor("f32", 1, 478, 1), face))
        numbers, marks, spread = tensor("f32", 514, 4), tensor("i32", 514, 4), tensor("f32", 2, 1, 514, 2)
        add("points", lambda: points.anchors(face, face, numbers, marks, 0.02, 0.06, 0.012, 8.0, 100.0, spread))
        add("each", lambda: heatmap.gaussians(at, 0.02, None, tensor("f16", 32, 478, 256, 256)))
        a, b = tensor("f16", 8, 96, 64, 64), tensor("f16", 8, 48, 128, 128)
        for up in ("nearest", "bilinear"):
            add(up, lambda up=up: upcat.launch(
                a, tensor("f32", 3, 8, 96), 0.2, up, b, tensor("f32", 3, 8, 48), 0.2, "none",
                tensor("f16", 8, 144, 128, 128)))  # fmt: skip
        add_conv("small plan, batch 1", "bf16", 1, 64, 96, 96, 48, "3x3")
        add_conv("f32 head", "f32", 1, 256, 16, 0, 6, "3x3")
        add_conv("first, batch 32", "f16", 32, 256, 16, 0, 64, "down")
        add_conv("decoder, batch 8", "bf16", 8, 64, 128, 128, 64, "up")
    add_conv("inner, batch 1", "f16", 1, 4, 512, 0, 512, "down")
    add_conv("inner, batch 32", "f16", 32, 4, 512, 512, 512, "up")
    add_conv("outer, batch 32", "f16", 32, 64, 128, 0, 256, "down")
    add_conv("decoder, batch 32", "f16", 32, 64, 96, 48, 48, "3x3")
    add_conv("decoder, batch 1", "f16", 1, 16, 512, 512, 256, "up")
    return chosen


def main(architectures: list[str]) -> int:
    import triton

    print(f"triton {triton.__version__}")
    jobs = [
        (title, capability, launch)
        for capability in (int(name.removeprefix("sm_")) for name in architectures)
        for title, launch in cases(capability)
    ]
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = list(pool.map(usage, (job[2] for job in jobs), (job[1] for job in jobs)))
    bad = 0
    for (title, capability, _), got in zip(jobs, results, strict=True):
        registers = got["reg"] * 32 * got["warps"]
        fits = got["stack"] + got["local"] == 0 and got["shared"] <= SHARED[capability] and registers <= 65536
        bad += not fits
        print(
            f"sm_{capability:<4}{title:<40}{got['reg']:>4} registers x {got['warps']} warps, "
            f"{got['shared']:>6} B shared, {got['stack'] + got['local']} B spilt{'' if fits else '   DOES NOT FIT'}"
        )
    print(f"{len(results)} compiled, {bad} do not fit")
    return int(bad > 0)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    import fetfast

    fetfast.__path__.append(str(ROOT))  # where `fetfast.kernels` is in the checkout, if it is not installed
    sys.exit(main(sys.argv[1:] or [f"sm_{capability}" for capability in SHARED]))
