"""The proof on a GPU, in two calls that each end by their own clock. `make gpu` runs the first, `make gpu CALL=2` the
second; both begin with what matters most.

    python bench/gpu.py 1|2 [--out DIR] [--seconds 235] [--dry]
    python bench/gpu.py --sanitize

1   ceilings; one convolution; the network that ships, checked and timed at batch 1; frames of a stream; the paper's
    U-Net; tests on the device; then each kernel, and larger batches
2   torch.compile of the network that ships; its configurations tuned, and it again with them; counters of three
    convolutions by Nsight Compute; then torch.compile of all else

Each row is in DIR/gpu-DEVICE-CALL.json as soon as it is there, so that whoever is stopped keeps what he had. A row that
fails says why and is no other's trouble; one that would not end in time is not begun, and is named.

Every figure is checked before it is timed (error against f64 at most twice that of eager PyTorch), on random data, and
every way is timed alike: in CUDA graphs, over so many sets of data that the last call's is not in the cache. `floor` is
the larger of bytes that must move over the measured copy rate and operations over the measured matrix rate.

--dry runs the same rows in Triton's interpreter at tiny sizes: it proves that the program runs, and measures nothing.
--sanitize runs the kernels' small cases under compute-sanitizer's memcheck and racecheck instead.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fetfast.files import write_json

ROOT = Path(__file__).parents[1]
SECONDS = 235.0  # of a call: the rest of 270 is for installing
WARM = ("small", "paper", "kernels")  # compiled in processes of their own, while the first rows run
TESTS = ("test_triton_backend.py", "test_device_frames_gpu.py", "test_conv.py", "test_networks.py", "test_norm_act.py",
         "test_heatmap_kernel.py", "test_upcat.py", "test_teeth_kernel.py", "test_frame.py")  # fmt: skip
SANITIZED = ("test_norm_act.py", "test_upcat.py", "test_conv.py", "test_heatmap_kernel.py", "test_teeth_kernel.py",
             "test_frame.py")  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One thing to find out. seconds: that must be left for it to be begun."""

    name: str
    seconds: float
    make: Callable[[], dict[str, Any]]


@dataclass
class Record:
    """What was found so far, in a file that is whole after each row."""

    file: Path
    figures: dict[str, Any] = field(default_factory=dict)

    def keep(self, section: str, value: Any) -> None:
        if isinstance(value, dict) and section == "rows":
            self.figures.setdefault("rows", []).append(value)
        else:
            self.figures[section] = value
        write_json(self.file, self.figures)


def run(rows: Iterable[Row], record: Record, end: float) -> None:
    """Makes the rows in order, until `end` on the monotonic clock."""
    late = []
    for row in rows:
        begin = time.monotonic()
        if begin + row.seconds > end:
            late.append(row.name)
            record.keep("not_begun", late)
            continue
        try:
            found = row.make()
        except Exception as error:
            traceback.print_exc()
            found = {"failed": f"{type(error).__name__}: {error}"[:2000], "ok": False}
        found = {"name": row.name, **found, "took_s": round(time.monotonic() - begin, 1)}
        record.keep("rows", found)
        print(line(found), flush=True)


def line(row: dict[str, Any]) -> str:
    """A row as one line of a table."""
    said = row.get("failed") or row.get("says")
    if said is None:
        least = f"floor {row['floor_us']:.1f} us, " if "floor_us" in row else ""
        nodes = f", {row['nodes']} nodes" if "nodes" in row else ""
        said = least + ", ".join(f"{way} {t['median_us']:.1f}" for way, t in row["times"].items()) + nodes
    return f"{row['name']:<46} {'ok' if row.get('ok', True) else 'WRONG':<6} {said}"


def programme(call: int, dry: bool, end: float, out: Path) -> list[Row]:
    """The rows of a call, most important first: the same by name and in order, dry or not."""
    import gpu_cases
    import gpu_networks
    import gpu_stream

    bench = gpu_cases.Bench(dry)
    net, kernel, stream = gpu_networks.Networks(bench).row, gpu_cases.row, gpu_stream.row
    small, large = ("1", "32") if not dry else ("1", "1")
    cases = gpu_cases.of_batch(bench)

    def kernels(batch: str, way: Callable[..., dict[str, Any]] = kernel, seconds: float = 8) -> list[Row]:
        return [Row(name, seconds, lambda make=make: way(bench, make())) for name, make in cases[int(batch)].items()]

    def network(name: str, batch: int, way: str = "run", seconds: float = 20) -> Row:
        return Row(f"{name} batch {batch}{'' if way == 'run' else f': {way}'}", seconds, lambda: net(name, batch, way))

    first = Row("ceilings", 8, bench.measured)
    if call == 1:
        conv, *others = kernels(small)
        return [
            first, conv, network("unet small", 1),
            *(Row(f"stream {plan} on {backend}", 25, lambda p=plan, b=backend: stream(dry, p, b))
              for plan, backend in gpu_stream.ROWS),
            network("unet paper", 1),
            Row("tests", 40, lambda: tests(dry, min(100.0, end - time.monotonic() - 5))),
            *others, network("unet small", 8), network("unet small", 32),
            network("unet paper", 32), *(kernels(large) if not dry else []),
        ]  # fmt: skip
    return [
        first, network("unet small", 1, "torch.compile", 100), network("unet small", 1, "tuned", 60),
        Row("counters", 30, lambda: counters(dry, out, min(60.0, end - time.monotonic() - 5))),
        network("unet paper", 1, "torch.compile", 75), network("unet small", 32, "torch.compile", 75),
        network("unet paper", 32, "torch.compile", 75),
        *kernels(small, gpu_cases.compiled, 30),
    ]  # fmt: skip


def tests(dry: bool, seconds: float) -> dict[str, Any]:
    """The kernels' and the backend's tests on the device, none that compiles for other ones."""
    parallel = ["-n", "8"] if importlib.util.find_spec("xdist") else []
    files = [f"tests/kernels/{name}" for name in (("test_streams.py",) if dry else TESTS)]
    chosen = ["-k", "not compiles"]
    command = [sys.executable, "-m", "pytest", *files, "-q", *parallel, "-p", "no:cacheprovider", "--maxfail=4"]
    try:
        done = subprocess.run([*command, *chosen], cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        return {"ok": False, "failed": f"not done in {seconds:.0f} s", "output": str(error.stdout)[-4000:]}
    return {"ok": not done.returncode, "says": done.stdout.strip().splitlines()[-1], "output": done.stdout[-8000:]}


def counters(dry: bool, out: Path, seconds: float) -> dict[str, Any]:
    """What Nsight Compute counts of three convolutions of the network that ships, into a file."""
    command = [sys.executable, __file__, "--launch", *(["--dry"] if dry else [])]
    if not dry:
        command = [shutil.which("ncu") or "/usr/local/cuda/bin/ncu", "--clock-control", "none", "--kernel-name",
                   "conv_kernel", "--launch-count", "3", "--set", "full", *command]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    (out / "gpu-counters.txt").write_text(done.stdout)
    return {"ok": not done.returncode, "says": f"{out.name}/gpu-counters.txt", "errors": done.stderr[-2000:]}


def sanitize() -> int:
    """compute-sanitizer over the small cases of every kernel; its exit status is the first that is not 0."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    cases = [f"tests/kernels/{name}" for name in SANITIZED]
    for check in ("memcheck", "racecheck"):
        print(f"== {check}", flush=True)
        # PyTorch's caching allocator would hide what is outside of a tensor but inside of its block
        environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        python = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "not compiles", *cases]
        done = subprocess.run(
            [tool, "--tool", check, "--error-exitcode", "9", "--target-processes", "all", *python],
            cwd=ROOT, env=environment,
        )  # fmt: skip
        if done.returncode:
            return done.returncode
    return 0


def machine(dry: bool) -> dict[str, Any]:
    from fetfast.environment import machine

    found = machine()
    if dry:
        return found | {"device": "interpreter"}
    asked = "driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.limit,temperature.gpu"
    query = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True).stdout.splitlines()[:1]
    return found | dict(zip(asked.split(","), (answer or [""])[0].split(", "), strict=False))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("call", nargs="?", type=int, choices=(1, 2), default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "out")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--sanitize", action="store_true")
    parser.add_argument("--warm", choices=WARM, help=argparse.SUPPRESS)
    parser.add_argument("--launch", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.dry:
        os.environ["TRITON_INTERPRET"] = "1"
    if options.sanitize:
        return sanitize()
    if options.warm or options.launch:
        import gpu_networks

        gpu_networks.warm(options.dry, options.warm or "small")
        return 0
    end = time.monotonic() + options.seconds
    about = machine(options.dry)
    options.out.mkdir(parents=True, exist_ok=True)
    name = "dry" if options.dry else about["class"]
    record = Record(options.out / f"gpu-{name}-{options.call}.json")
    record.keep("machine", about)
    warming = [] if options.dry else [subprocess.Popen([sys.executable, __file__, "--warm", part]) for part in WARM]
    run(programme(options.call, options.dry, end, options.out), record, end)
    for process in warming:
        process.kill()
    late = record.figures.get("not_begun", [])
    print(f"{record.file}{f'; no time left for {len(late)}: ' + ', '.join(late) if late else ''}")
    return int(not all(row.get("ok", True) for row in record.figures["rows"]))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
