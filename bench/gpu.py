"""The proof on a GPU: tests for real, the card's two ceilings, whole frames, each kernel, whole networks. `make gpu`
runs it.

    python bench/gpu.py [tests] [stream] [kernels] [networks] [compiled] [tune] [--out DIR] [--minutes N] [--dry]
                        [--sanitize]

Without names: tests, stream, kernels, networks and compiled (torch.compile of what those two measured), in that order,
each stopping in time for the whole to end within --minutes (9). What was not reached is in the file as null. `tune`
measures configurations of `conv`. Writes DIR/gpu-NAME.json, and prints a table last.

Every figure is checked before it is timed (error against f64 at most twice that of eager PyTorch), on random data,
in CUDA graphs over so many sets of it that the last call's is not in the cache. `floor` is the larger of bytes that
must move over the measured copy rate and operations over the measured matrix rate.

--dry runs the same code in Triton's interpreter at tiny sizes: it proves that the program runs, and measures nothing.
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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PARTS = ("kernels", "0", "1", "2")  # compiled in processes of their own, while the tests run
SECTIONS = ("tests", "stream", "kernels", "networks", "compiled", "tune")


def main() -> int:
    from fetfast.files import write_json

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="what to run")
    parser.add_argument("--out", type=Path, default=ROOT / "out")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--sanitize", action="store_true")
    parser.add_argument("--warm", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.dry:
        os.environ["TRITON_INTERPRET"] = "1"
    if options.sanitize:
        return sanitize()
    end = time.monotonic() + 60 * options.minutes - 20
    wanted = options.sections or SECTIONS[:5]
    if options.warm:
        import gpu_cases

        gpu_cases.Bench(options.dry, end, one_set=True).warm(options.warm)
        return 0
    warming = [warm(part, options.dry) for part in (PARTS[1:2] if options.dry else PARTS)]
    failed = run_tests(end) if "tests" in wanted and not options.dry else 0
    for process in warming:
        failed = process.wait(max(1, end - time.monotonic())) or failed

    import gpu_cases
    import gpu_stream

    figures: dict[str, Any] = {"machine": machine(options.dry), "tests_failed": failed}
    bench = gpu_cases.Bench(dry=options.dry, end=end)
    figures["ceilings"] = bench.measure_ceilings()
    if "stream" in wanted:
        figures["stream"] = gpu_stream.rows(options.dry, bench.late)
    if "kernels" in wanted:
        figures["kernels"] = bench.kernels()
    if "networks" in wanted:
        figures["networks"] = bench.networks()
    if "compiled" in wanted:
        bench.compiled_networks(figures.get("networks", []))
        bench.compiled_kernels(figures.get("kernels", []))
    if "tune" in wanted:
        figures["tuned"] = bench.tuned()
    options.out.mkdir(parents=True, exist_ok=True)
    name = "dry" if options.dry else "-".join(figures["machine"]["device"].split())
    file = options.out / f"gpu-{name}.json"
    write_json(file, figures)
    print(table(figures))
    print(file)
    rows = [row for section in ("stream", "kernels", "networks") for row in figures.get(section, [])]
    wrong = [row["name"] for row in rows if row.get("ok") is False]
    if wrong:
        print("WRONG:", ", ".join(wrong))
    return int(bool(failed or wrong))


def warm(part: str, dry: bool) -> subprocess.Popen[bytes]:
    """Compiles, beside the tests, what will be measured: on many cores that is most of the time saved."""
    return subprocess.Popen([sys.executable, __file__, "--warm", part, *(["--dry"] if dry else [])])


def run_tests(end: float) -> int:
    """The kernels' and the backend's tests on the device. Returns pytest's exit status."""
    parallel = ["-n", "8"] if importlib.util.find_spec("xdist") else []
    command = [sys.executable, "-m", "pytest", "tests/kernels", "-q", *parallel, "-p", "no:cacheprovider"]
    try:
        return subprocess.run(command, cwd=ROOT, timeout=max(1, end - time.monotonic())).returncode
    except subprocess.TimeoutExpired:
        print("tests: out of time")
        return 124


def sanitize() -> int:
    """compute-sanitizer over the small cases of every kernel; its exit status is the first that is not 0."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    cases = ["tests/kernels/test_norm_act.py", "tests/kernels/test_upcat.py", "tests/kernels/test_conv.py",
             "tests/kernels/test_heatmap_kernel.py", "tests/kernels/test_teeth_kernel.py",
             "tests/kernels/test_frame.py"]  # fmt: skip
    for check in ("memcheck", "racecheck"):
        print(f"== {check}", flush=True)
        # PyTorch's caching allocator would hide what is outside of a tensor but inside of its block
        environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        python = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "not compiles", *cases]
        run = subprocess.run(
            [tool, "--tool", check, "--error-exitcode", "9", "--target-processes", "all", *python],
            cwd=ROOT, env=environment,
        )  # fmt: skip
        if run.returncode:
            return run.returncode
    return 0


def machine(dry: bool) -> dict[str, Any]:
    from fetfast import environment

    found = environment.machine()
    if dry:
        return found | {"device": "interpreter"}
    asked = "driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.limit,temperature.gpu"
    query = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True).stdout.splitlines()[:1]
    return found | dict(zip(asked.split(","), (answer or [""])[0].split(", "), strict=False))


def table(figures: dict[str, Any]) -> str:
    lines = [
        ", ".join(
            f"{name} {rate:.0f} {'GB/s' if 'copy' in name else 'Gop/s'}" for name, rate in figures["ceilings"].items()
        )
    ]
    for row in figures.get("stream", []):
        rates = ", ".join(f"{way} {rate:.0f}" for way, rate in row["frames_s"].items())
        lines.append(f"{row['name']:<44} {'ok' if row['ok'] else 'WRONG':<6} bar {row['bar']:.0f} frames/s: {rates}")
    for title in ("kernels", "networks"):
        for row in figures.get(title, []):
            times = [f"{way} {t['median_us']:.1f}" if t else f"{way} not reached" for way, t in row["times"].items()]
            right = "ok" if row["ok"] else "WRONG"
            lines.append(f"{row['name']:<44} {right:<6} floor {row['floor_us']:.1f} us, {', '.join(times)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
