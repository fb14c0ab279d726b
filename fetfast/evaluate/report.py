"""The report: one HTML file that needs no network, with figures, plots, groups, and the worst and best results.

It shows the people that were measured on. Those of the London set must not leave the machine, and the page says so.
"""

from __future__ import annotations

from base64 import b64encode
from html import escape
from pathlib import Path
from typing import Any

from fetfast import evaluate
from fetfast.evaluate.album import Album, Shot
from fetfast.evaluate.compare import cell
from fetfast.evaluate.figures import DETAIL
from fetfast.evaluate.setup import PLAN
from fetfast.files import written

COLORS = ("#0b6e4f", "#b5651d", "#8a8a8a", "#4a5fc1")  # of methods, the plan first
ROW, LEFT, WIDTH, MARGIN = 22, 290, 430, 16  # pixels of a plot
NOTE = (
    "This page shows people. Those of the London set (DeBruine and Jones 2017, CC BY 4.0) consented to studies: do not "
    "publish it. Pictures named result were synthesised."
)
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#1c1c1c;max-width:1180px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{margin-top:2.6rem;border-bottom:1px solid #ccc;padding-bottom:.2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px}
td,th{padding:.15rem .7rem;text-align:right;border-bottom:1px solid #eee}td:first-child,th:first-child{text-align:left}
.shot{display:inline-block;margin:.5rem 1.2rem .9rem 0;vertical-align:top}.shot p{margin:0 0 .2rem;font-size:13px}
.strip{display:flex;gap:3px}figure{margin:0}figcaption{font-size:11px;color:#555;text-align:center}
.strip img{width:178px;height:178px;object-fit:cover;display:block;cursor:zoom-in}
.strip input{display:none}.strip input:checked+img{width:auto;height:auto;cursor:zoom-out}
.note{background:#fff6e0;border:1px solid #e8d28f;padding:.6rem .9rem}.key span{margin-right:1.2rem;white-space:nowrap}
summary{cursor:pointer;margin:.5rem 0}svg text{font:12px system-ui,sans-serif;fill:#333}
"""


def write(path: Path, figures: dict[str, Any], album: Album) -> None:
    """Writes the report. figures: as `evaluate` gives them. Raises BadInput where it cannot be written."""
    with written(path) as file:
        file.write_text(page(figures, album))


def page(figures: dict[str, Any], album: Album) -> str:
    machine = figures.get("machine", {})
    about = [f"digest {figures['digest'][:12]}", f"backend {figures['backend']}"]
    about += [f"{name} {machine[name]}" for name in ("device", "commit", "time") if name in machine]
    shots = album.pages()
    says = descriptions()
    sections = [
        section(name, says.get(name, ""), found, figures["groups"].get(name, {}), figures["sums"].get(name, {}))
        + (f"{gallery('Worst', shots[name][0])}{gallery('Best', shots[name][1])}" if name in shots else "")
        for name, found in figures["figures"].items()
    ]
    title = f"{figures['plan']}: how well it transfers expressions"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{escape(title)}</h1><p>{escape('; '.join(about))}{'; a quick run' if figures['quick'] else ''}</p>"
        f"<p class=note>{escape(NOTE)}</p><p>Values with 95 % bootstrap intervals over people.</p>"
        f"{''.join(sections)}</html>"
    )


def descriptions() -> dict[str, str]:
    """What each protocol is, as the package's own docstring says it."""
    found = {}
    for line in (evaluate.__doc__ or "").splitlines():
        name, _, what = line.strip().partition(" ")
        if name in evaluate.PROTOCOLS:
            found[name] = what.strip().partition(" (`")[0]
    return found


def section(name: str, says: str, found: dict[str, Any], groups: dict[str, Any], sums: dict[str, Any]) -> str:
    methods = list(dict.fromkeys(method for row in found.values() for method in row))
    who = {person for people in sums.values() for person in people}
    dots = {m: f"<svg width=12 height=12><circle cx=6 cy=6 r=5 fill='{color(methods, m)}'/></svg>" for m in methods}
    key = "".join(f"<span>{dot} {escape(method)}</span>" for method, dot in dots.items())
    plots = "".join(plot(rows, methods) for rows in by_unit(found))
    rows = "".join(
        f"<tr><td>{escape(figure)}</td>{''.join(f'<td>{cell(row.get(method))}</td>' for method in methods)}</tr>"
        for figure, row in found.items()
    )
    head = "".join(f"<th>{escape(method)}</th>" for method in ("", *methods))
    return (
        f"<h2 id={name}>{name}</h2><p>{escape(says)}; people: {len(who)}</p><p class=key>{key}</p>{plots}"
        f"<details><summary>All figures</summary><table><tr>{head}</tr>{rows}</table></details>{by_group(groups)}"
    )


def by_unit(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Figures that share an axis, without details: decibels, and the rest."""
    chosen = {figure: row for figure, row in found.items() if DETAIL not in figure}
    decibels = {figure: row for figure, row in chosen.items() if "dB" in figure}
    return [rows for rows in (decibels, {f: row for f, row in chosen.items() if f not in decibels}) if rows]


def plot(rows: dict[str, Any], methods: list[str]) -> str:
    """Dots with intervals, one row for each figure, as an inline SVG."""
    ends = [end for row in rows.values() for value in row.values() for end in value]
    low, high = min(0.0, *ends), max(1.0, *ends)
    height = ROW * len(rows) + 2 * MARGIN + 14

    def x(value: float) -> float:
        return LEFT + WIDTH * (value - low) / (high - low)

    def line(x1: float, x2: float, y1: float, y2: float, tone: str, width: float) -> str:
        ends = f"x1={x1:.1f} x2={x2:.1f} y1={y1:.1f} y2={y2:.1f}"
        return f"<line {ends} stroke='{tone}' stroke-width={width} />"

    parts = [f"<svg width={LEFT + WIDTH + 40} height={height} role=img>"]
    step = next(s for s in (0.25, 0.5, 1, 2, 5, 10, 20, 50, 1e9) if (high - low) / s <= 9)
    for n in range(int(low / step) - 1, int(high / step) + 2):
        if low <= n * step <= high:
            at = x(n * step)
            parts.append(line(at, at, MARGIN, height - MARGIN - 10, "#bbb" if n else "#666", 0.6))
            parts.append(f"<text x={at:.1f} y={height - 6} text-anchor=middle>{n * step:g}</text>")
    for n, (figure, row) in enumerate(rows.items()):
        y = MARGIN + ROW * (n + 0.5)
        parts.append(f"<text x={LEFT - 10} y={y + 4:.1f} text-anchor=end>{escape(figure)}</text>")
        for k, (method, (value, start, end)) in enumerate(row.items()):
            tone, level = color(methods, method), y + 3 * (k - (len(row) - 1) / 2)
            parts.append(line(x(start), x(end), level, level, tone, 1.6))
            parts.append(f"<circle cx={x(value):.1f} cy={level:.1f} r={4 if method == PLAN else 3} fill='{tone}'/>")
    return "".join(parts) + "</svg>"


def color(methods: list[str], method: str) -> str:
    return COLORS[methods.index(method) % len(COLORS)]


def by_group(groups: dict[str, Any]) -> str:
    """The plan's figures by group of people."""
    names = list(dict.fromkeys(group for row in groups.values() for group in row))
    if not names:
        return ""
    counts = {group: max(row[group][3] for row in groups.values() if group in row) for group in names}
    head = "<th></th>" + "".join(f"<th>{escape(group)} ({counts[group]})</th>" for group in names)
    rows = ""
    for figure, row in groups.items():
        cells = "".join(f"<td>{cell(row[group][:3] if group in row else None)}</td>" for group in names)
        rows += f"<tr><td>{escape(figure)}</td>{cells}</tr>"
    return f"<details><summary>By groups of people</summary><table><tr>{head}</tr>{rows}</table></details>"


def gallery(title: str, shots: list[Shot]) -> str:
    opened = " open" if title == "Worst" else ""
    return f"<details{opened}><summary>{title} {len(shots)}</summary>{''.join(map(strip, shots))}</details>"


def strip(shot: Shot) -> str:
    """Pictures side by side; a click shows one at its full resolution."""
    pictures = "".join(
        f"<figure><label><input type=checkbox><img alt='{escape(name, quote=True)}' "
        f"src='data:image/jpeg;base64,{b64encode(picture).decode()}'></label><figcaption>{escape(name)}</figcaption></figure>"
        for name, picture in shot.pictures.items()
    )
    return f"<div class=shot><p>{escape(shot.person)} — {escape(shot.case)}</p><div class=strip>{pictures}</div></div>"
