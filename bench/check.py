"""Is anything slower than it was? The suites again, against the committed results of the same class of machine.

    python bench/check.py [NAME ...]

Only ratios to eager PyTorch are compared, taken within a run on both sides: absolute times differ between machines of
one class and from hour to hour. A way is slower where its ratio fell by more than 15 %, and by more than three times
the spread (the larger of both files' interquartile ranges, as a share of the median). A suite is run in its quick form;
what looks slower there is run again in full, and only what is slower there too is said. Exits with 1 then.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import record
from measure import RESULTS, Row

from fetfast.environment import machine

LEAST, SPREADS = 0.15, 3
NAMES = ("ops", "network", "engine", "start", "memory", "stream")  # those that compare with eager

File = dict[str, Any]


def main(wanted: list[str], results: Path = RESULTS) -> int:
    kind, found = machine()["class"], []
    names = [name for name in record.commands(True) if name.split("-")[0] in (wanted or NAMES)]
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            committed = results / f"{name}-{kind}.json"
            if not committed.exists():
                print(f"{name}: no committed results of {kind}; python bench/record.py {name} makes them")
                continue
            old = json.loads(committed.read_text())
            for quick in (True, False):
                fresh = Path(folder) / ("quick" if quick else "full")
                record.run([name], fresh, quick)
                if not (fresh / committed.name).exists():
                    lines = [f"{name}: failed, and measured nothing"]
                    break
                new = json.loads((fresh / committed.name).read_text())
                lines = slower(old, new)
                lost = sum(noise(*pair) >= 1 for pair in pairs(old, new))
                print(f"{name}: of {len(pairs(old, new))} compared, {len(lines)} slower, {lost} too noisy to tell")
                if not lines:
                    break
            found += lines
    print("\n".join(["", *found]) if found else "\nnothing is slower")
    return int(bool(found))


def pairs(old: File, new: File) -> list[tuple[Row, Row]]:
    """The rows that both files have and that say a ratio to a base other than themselves."""
    before = {(row["case"], row["way"]): row for row in old["rows"]}
    both = [(before.get((row["case"], row["way"]), {}), row) for row in new["rows"]]
    return [(a, b) for a, b in both if "ratio" in a and "ratio" in b and not a["ratio"] == b["ratio"] == 1]


def noise(before: Row, now: Row) -> float:
    """The share of its ratio that a way may lose."""
    spreads = [row["iqr_ms"] / row["median_ms"] for row in (before, now) if row.get("median_ms") and "iqr_ms" in row]
    return max(LEAST, SPREADS * max(spreads, default=0.0))


def slower(old: File, new: File) -> list[str]:
    """A line for each way that lost."""
    lines = []
    for before, now in pairs(old, new):
        lost, allowed = 1 - now["ratio"] / before["ratio"], noise(before, now)
        if lost > allowed:
            lines.append(
                f"{old['suite']}, {now['case']}, {now['way']}: {now['ratio']:.2f} x eager, was {before['ratio']:.2f} x "
                f"({lost:.0%} less; {allowed:.0%} is noise)"
            )
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
