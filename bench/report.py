"""bench/results/*.json as tables in README.md and docs/, and as plots in docs/images/.

    python bench/report.py            rewrites the tables, draws the plots
    python bench/report.py --check    1 where a committed table differs from its JSON

A page says where a table goes, and everything between the two marks is written anew:

    <!-- bench: network -->
    <!-- end -->

The tables are `TABLES` below. Each says device, commit, versions and date of the run that its figures are from.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import headlines
import plots
import quality
from measure import ROOT, Row

from fetfast.plan import SHIPPED

PAGES = ("README.md", "docs/performance.md", "docs/tensorrt.md", "docs/models/unet.md", "docs/models/flow.md")
BLOCK = re.compile(r"(<!-- bench: ([\w-]+) -->\n).*?(<!-- end -->)", re.S)
SHOWN = {
    "python": "Python",
    "numpy": "NumPy",
    "torch": "PyTorch",
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
}
NOTHING = "No figures yet: `make bench` makes them.\n"

File = dict[str, Any]  # a results file; "name" is the file's
Results = dict[str, list[File]]  # suite -> its files


def load(folder: Path) -> Results:
    """Raises ValueError where a file is not of the common form."""
    found: Results = {}
    for path in sorted(folder.glob("*.json")):
        file = json.loads(path.read_text())
        if not {"suite", "machine"} <= set(file):
            raise ValueError(f"{path} says no suite or no machine; make it again: python bench/record.py")
        found.setdefault(file["suite"], []).append(file | {"name": path.stem})
    for files in found.values():
        files.sort(key=lambda file: file.get("plan") != headlines.DEFAULT)  # which comes first
    return found


# ---- Parts of tables


def markdown(head: list[str], rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


def source(*files: File) -> str:
    """Where figures come from: a line for each device and set of versions, with the commits."""
    commits: dict[tuple[str, ...], list[str]] = {}
    for file in files:
        machine = file["machine"]
        versions = [f"{title} {machine['versions'][key]}" for key, title in SHOWN.items() if key in machine["versions"]]
        about = (f"{machine['device']}, {machine['threads']} threads", *versions, machine["time"].split()[0])
        commits.setdefault(about, []).append(machine["commit"])
    return "".join(
        f"*{'; '.join(about)}; commit {', '.join(dict.fromkeys(known))}.*\n" for about, known in commits.items()
    )


def time(ms: float) -> str:
    if ms >= 1000:
        return f"{ms / 1000:.2f} s"
    if ms < 0.1:
        return f"{1e3 * ms:.0f} µs"
    return f"{ms:.{0 if ms >= 100 else 1 if ms >= 10 else 2}f} ms"


def cell(row: Row | None) -> str:
    """Median time and memory of a row, and in brackets how many times better than eager they are."""
    if row is None or "skipped" in row:
        return "—"
    if "wrong" in row:
        return "wrong"
    parts = [time(row["median_ms"])] if "median_ms" in row else []
    parts += [f"{row[key]:.0f} MB" for key in ("peak_mb", "device_mb") if row.get(key) is not None]
    ratio = row.get("ratio", 1.0)
    versus = "" if ratio == 1 else f" ({ratio:.2f} ×)" if ratio < 10 else f" ({ratio:.0f} ×)"
    return ", ".join(parts) + versus


def crossed(file: File) -> str:
    """Cases against ways, whichever are fewer along the top; what could not run here stands below."""
    rows = {(row["case"], row["way"]): row for row in file["rows"]}
    shown = [key for key, row in rows.items() if "skipped" not in row]
    cases, ways = (list(dict.fromkeys(key[i] for key in shown)) for i in (0, 1))
    if len(ways) <= len(cases):
        text = markdown(["", *ways], [[case, *(cell(rows.get((case, way))) for way in ways)] for case in cases])
    else:
        text = markdown(["", *cases], [[way, *(cell(rows.get((case, way))) for case in cases)] for way in ways])
    absent: dict[str, list[str]] = {}
    for row in file["rows"]:
        if "skipped" in row and row["way"] not in absent.setdefault(row["skipped"], []):
            absent[row["skipped"]].append(row["way"])
    lines = "".join(f"- not measured, {', '.join(which)}: {why}\n" for why, which in absent.items())
    return text + (f"\n{lines}" if lines else "")


def plot(file: File) -> str:
    return f"\n![{file['name']}](images/{file['name']}.svg)\n" if plots.drawable(file) else ""


# ---- Tables


def suite(name: str) -> Callable[[Results], str]:
    """The table of a suite in the common form, a block for each machine that has run it."""

    def table(results: Results) -> str:
        blocks = [f"{crossed(file)}\n{source(file)}{plot(file)}" for file in results.get(name, [])]
        return "\n".join(blocks) or NOTHING

    return table


def stream(results: Results) -> str:
    """Where one step goes, for each plan."""
    blocks = []
    for file in results.get("stream", []):
        rows = [
            [
                row["case"],
                time(row["median_ms"]),
                f"{row['share']:.0%}",
                time(row["floor_ms"]) if row.get("floor_ms", 0) >= 0.005 else "—",
                f"{row['ratio']:.1f} ×" if "ratio" in row else "—",
            ]
            for row in file["rows"]
            if row["way"] == file["backend"]
        ]
        ceilings = ", ".join(
            f"{name} {rate:.0f} {'GB/s' if name.endswith('copy') else 'Gop/s'}"
            for name, rate in file["ceilings"].items()
        )
        text = markdown(["stage", "median", "share", "floor", "faster than eager"], rows)
        head = f"`{file['plan']}` on {file['backend']}"
        head += f"; ceilings in the run: {ceilings}" if ceilings else ""
        head += f"; eager's threads: {file['eager_threads']}" if file.get("eager_threads") else ""
        blocks.append(f"{head}\n\n{text}\n{source(file)}{plot(file)}")
    return "\n".join(blocks) or NOTHING


def scaling(results: Results) -> str:
    """A table for each axis, the sizes along the top; in brackets how many times cheaper one item is than at the
    first size."""
    blocks = []
    for file in results.get("scaling", []):
        axes: dict[str, dict[str, dict[int, Row]]] = {}
        for row in file["rows"]:
            axis, _, what = row["case"].partition(": ")
            axes.setdefault(axis, {}).setdefault(what, {})[row["size"]] = row
        for axis, lines in axes.items():
            sizes = sorted({size for found in lines.values() for size in found})
            rows = [[what, *(cell(found.get(size)) for size in sizes)] for what, found in lines.items()]
            blocks.append(markdown([axis, *map(str, sizes)], rows))
        blocks.append(source(file) + plot(file))
    return "\n".join(blocks) or NOTHING


def headlines_of_quality(results: Results) -> str:
    """Of each plan, what `fetfast evaluate` says that matters most."""
    files = results.get("evaluate", [])
    rows = [[f"`{file['plan']}`", *(quality.headline(file, *at[:2]) for at in quality.HEADLINES)] for file in files]
    head = ["plan", *(what for *_, what in quality.HEADLINES)]
    return f"{markdown(head, rows)}\n{source(*files)}" if rows else NOTHING


def judged(plan: str) -> Callable[[Results], str]:
    """All that `fetfast evaluate` says of one plan, a table for each protocol."""

    def table(results: Results) -> str:
        files = [file for file in results.get("evaluate", []) if file["plan"] == plan]
        blocks = [
            "\n".join(markdown(*made) for made in (*quality.tables(file), quality.groups(file)) if made[1])
            + f"\n{source(file)}"
            for file in files
        ]
        return "\n".join(blocks) or f"No figures yet: `python bench/record.py evaluate-{plan}` makes them.\n"

    return table


def engines(results: Results) -> str:
    """TensorRT: building and loading."""
    blocks = []
    for file in results.get("tensorrt", []):
        taken = {row["case"]: row["median_ms"] for row in file["rows"]}
        load = sum(ms for case, ms in taken.items() if case.startswith("load: "))
        rows = [
            ["build its engine", time(taken["build: unet"]), "5 s"],
            ["load plan and cached engines in a new process, up to deserialisation", time(load), "1 s"],
        ]
        head = [f"paper-size U-Net-256, fp16; {file['rows'][0]['way']}", "measured", "bar"]
        blocks.append(f"{markdown(head, rows)}\n{source(file)}")
    return "\n".join(blocks) or NOTHING


def summary(results: Results) -> str:
    """README's: one line for each figure that matters, and the command that measures it again."""
    found = [(file, headlines.SUITES[name](file)) for name in headlines.SUITES for file in results.get(name, [])]
    lines = [[what, measured, f"`{command}`"] for _, said in found for what, measured, command in said]
    used = [file for file, said in found if said]
    return f"{markdown(['what', 'measured', 'command'], lines)}\n{source(*used)}" if lines else NOTHING


TABLES: dict[str, Callable[[Results], str]] = {
    "summary": summary, "stream": stream, "scaling": scaling, "quality": headlines_of_quality, "tensorrt": engines,
    **{name: suite(name) for name in ("ops", "network", "engine", "start", "memory", "frame_ops")},
    **{f"quality-{path.stem}": judged(path.stem) for path in sorted(SHIPPED.glob("*.plan"))},
}  # fmt: skip


# ---- Pages


def written(page: str, results: Results) -> str:
    """The page with its tables. Raises KeyError for a table that there is not."""
    return BLOCK.sub(lambda m: f"{m[1]}{TABLES[m[2]](results)}{m[3]}", page)


def main(arguments: list[str], root: Path = ROOT) -> int:
    results = load(root / "bench" / "results")
    stale = []
    for name in PAGES:
        page = (root / name).read_text()
        new = written(page, results)
        if new != page:
            stale += difflib.unified_diff(
                page.splitlines(), new.splitlines(), name, f"{name} from the JSON", lineterm=""
            )
            if "--check" not in arguments:
                (root / name).write_text(new)
    if "--check" in arguments:
        print(
            "\n".join([*stale, "", "python bench/report.py writes these tables"])
            if stale
            else "every table is its JSON's"
        )
        return int(bool(stale))
    drawn = plots.draw(results, root / "docs" / "images")
    print(f"{len(stale)} lines of tables differ from before; {len(drawn)} plots: {', '.join(p.name for p in drawn)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
