"""What every suite here shares: rows of figures, the file that holds them, the table, the command line.

timings = interleaved({"eager": lambda: ..., "ours": lambda: ...})      # fetfast.profiling; outputs were checked
rows = compare("case", timings, base="eager")           # the rows of a results file
sys.exit(finish("ops", rows, missed, options))          # prints, writes JSON, 1 where a bar is missed
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fetfast.environment import machine, threads
from fetfast.errors import FetfastError
from fetfast.files import written
from fetfast.profiling.timing import Call, Timing, interleaved, ratio

__all__ = ["Call", "Timing", "interleaved", "machine", "ratio", "threads"]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"

Row = dict[str, Any]
About = dict[str, dict[str, Any]]  # way -> what its row says


def checked(
    ways: Iterable[str],
    make: Callable[[str], Call],  # the call of a way; raises FetfastError where it cannot be here
    off: Callable[[Any], float],  # how far the result of a call is from the exact one
    allowed: Callable[[str, About], float],  # how far a way may be off, by what is known of those before it
) -> tuple[dict[str, Call], About]:
    """The calls that are right, by way, and about each way: its error, why it is skipped, or how it is wrong."""
    calls: dict[str, Call] = {}
    about: About = {}
    for way in ways:
        try:
            call = make(way)
        except FetfastError as reason:
            about[way] = {"skipped": str(reason)}
            continue
        about[way] = {"error": (error := off(call()))}
        if error > (most := allowed(way, about)):
            about[way]["wrong"] = f"{way} is off by {error:.2g}, allowed {most:.2g}"
        else:
            calls[way] = call
    return calls, about


def benchmark(fixture: Any, way: str, calls: Mapping[str, Call], about: About) -> None:
    """One way as a test of pytest-benchmark."""
    import pytest

    why = about.get(way, {"skipped": "not of this case"})
    assert "wrong" not in why, why["wrong"]
    if way not in calls:
        pytest.skip(why["skipped"])
    fixture(calls[way])


def row(case: str, way: str, timing: Timing | None, **more: Any) -> Row:
    """A row of a results file. Without a timing it says, as skipped="why", that the way could not run here."""
    times = timing.figures if timing else {}
    return {"case": case, "way": way} | {key: _rounded(value) for key, value in (times | more).items()}


def compare(
    case: str, timings: Mapping[str, Timing], base: str, more: Mapping[str, Mapping[str, Any]] | None = None, **all: Any
) -> list[Row]:
    """A row for each way, `ratio` against `base` in it; `more` holds further keys by way, `all` those of every row."""
    return [
        row(case, way, timing, ratio=ratio(timings, way, base), **((more or {}).get(way, {})), **all)
        for way, timing in timings.items()
    ]


def _rounded(value: Any) -> Any:
    """Four digits: more is noise, and makes every line of a file differ from run to run."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def options(suite: str, description: str | None) -> argparse.Namespace:
    """The command line that every suite has: --quick and --out."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds at small sizes: proves that it runs")
    where = RESULTS / f"{suite}-CLASS.json"
    parser.add_argument("--out", type=Path, help=f"the JSON; {where.relative_to(ROOT)} unless --quick")
    return parser.parse_args()


def save(suite: str, rows: list[Row], out: Path | None = None) -> Path:
    """Writes a results file, one row a line: bench/results/SUITE-CLASS.json, or `out`."""
    about = machine()
    file = out or RESULTS / f"{suite}-{about['class']}.json"
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    head = json.dumps({"suite": suite, "machine": about}, indent=1).removesuffix("\n}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with written(file) as aside:
        aside.write_text(f'{head},\n "rows": [\n{lines}\n ]\n}}\n')
    return file


def table(rows: list[Row]) -> str:
    """The rows for a person: one block for each case; further keys in the columns that some row of the block has."""
    lines: list[str] = []
    for case in dict.fromkeys(row["case"] for row in rows):
        block = [{k: v for k, v in row.items() if k not in ("case", "skipped")} for row in rows if row["case"] == case]
        why = [row.get("skipped", "") for row in rows if row["case"] == case]
        keys = list(dict.fromkeys(key for row in block for key in row))
        cells = [keys, *([_cell(row.get(key)) for key in keys] for row in block)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(keys))]
        lines += [f"\n{case}"]
        for line, reason in zip(cells, ["", *why], strict=True):
            first, *others = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            lines += ["  ".join(["", first.strip().ljust(widths[0]), *others, reason]).rstrip()]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def finish(suite: str, rows: list[Row], missed: list[str], given: argparse.Namespace) -> int:
    """Prints the table and the bars that were missed, and writes the JSON: a quick run only where --out says, so that
    it never replaces figures of the record. Returns the exit status."""
    print(table(rows))
    if given.out or not given.quick:
        print(save(suite, rows, given.out))
    for bar in missed:
        print(f"MISSED: {bar}")
    return int(bool(missed))
