"""The figures of the record: every suite in turn, each into bench/results/NAME-CLASS.json. Wants a quiet machine.

    python bench/record.py [NAME ...] [--quick] [--out FOLDER]

Without names: all. --quick: few rounds, to see that all of it runs; needs --out, so that it replaces no figures. Exits
with 1 where a suite fails or misses a bar, after having run the others. bench/report.py then writes the tables.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from measure import RESULTS, ROOT

from fetfast.environment import machine
from fetfast.plan import SHIPPED

FETFAST = str(Path(sys.executable).parent / "fetfast")
# What matters most comes first. Those without a bench_NAME.py run once for each plan that ships.
SUITES = (
    "start", "engine", "stream", "network", "loop", "ops", "frame_ops", "memory", "scaling", "tensorrt", "evaluate"
)  # fmt: skip


def commands(quick: bool) -> dict[str, list[str]]:
    """Name -> what runs it; the file that it writes is to be put at the end."""
    few = ["--quick"] if quick else []
    steps = "20" if quick else "200"
    of_a_plan = {
        "stream": ["bench", "--steps", steps, "--plan"],
        "loop": ["bench", "loop", "--plan"],
        "evaluate": ["evaluate", *few],
    }
    found: dict[str, list[str]] = {}
    for suite in SUITES:
        if words := of_a_plan.get(suite):
            plans = sorted(path.stem for path in SHIPPED.glob("*.plan"))
            found |= {f"{suite}-{plan}": [FETFAST, *words, plan, "--json"] for plan in plans}
        else:
            found[suite] = [sys.executable, str(ROOT / "bench" / f"bench_{suite}.py"), *few, "--out"]
    return found


def run(names: list[str], folder: Path, quick: bool) -> list[str]:
    """Runs them, one after the other; gives those that failed."""
    folder.mkdir(parents=True, exist_ok=True)
    kind, failed = machine()["class"], []
    for name in names:
        print(f"\n== {name}", flush=True)
        if subprocess.run([*commands(quick)[name], str(folder / f"{name}-{kind}.json")]).returncode:
            failed.append(name)
    return failed


def main() -> int:
    names = commands(False)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if unknown := set(options.names) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected some of {', '.join(names)}")
    if options.quick and not options.out:
        parser.error("--quick needs --out")
    failed = run(options.names or list(names), options.out or RESULTS, options.quick)
    print(f"\nfailed, or missed a bar: {', '.join(failed)}" if failed else "\nall done")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
