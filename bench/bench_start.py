"""How long `import fetfast` and a warm `fetfast transfer` take: whole processes, medians of several runs.

    python bench/bench_start.py DATA        DATA: the folder that holds portraits/

Bars: the import adds at most 30 ms to a bare interpreter; the transfer takes at most 1.5 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 9
IMPORT_BAR, TRANSFER_BAR = 0.030, 1.5


def seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main(data: Path) -> None:
    root = Path(__file__).parents[1]
    bare, imported = [sys.executable, "-c", ""], [sys.executable, "-c", "import fetfast"]
    seconds(imported)
    pairs = [(seconds(bare), seconds(imported)) for _ in range(RUNS)]  # interleaved: the machine is noisy
    added = statistics.median(b - a for a, b in pairs)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.png"
        source, target = root / "demo" / "smile.png", data / "portraits" / "001.jpg"
        transfer = [str(Path(sys.executable).parent / "fetfast"), "transfer", str(source), str(target), "-o", str(out)]
        seconds(transfer)  # fills the caches
        runs = sorted(seconds(transfer) for _ in range(RUNS))
    print(f"import fetfast adds {added * 1e3:.1f} ms to a bare interpreter (bar {IMPORT_BAR * 1e3:.0f})")
    print(f"fetfast transfer, warm: {statistics.median(runs):.2f} s, best {runs[0]:.2f} (bar {TRANSFER_BAR})")
    if added > IMPORT_BAR or statistics.median(runs) > TRANSFER_BAR:
        sys.exit("a bar is missed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
