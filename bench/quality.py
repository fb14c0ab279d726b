"""What `fetfast evaluate` says of a plan, as tables: for docs/models/, docs/performance.md and README.md."""

from __future__ import annotations

from typing import Any

from fetfast.evaluate.actors import ACTIONS
from fetfast.evaluate.compare import cell

File = dict[str, Any]

# What is wanted of the default plan: at least, or (negative) at most.
BARS = {
    ("actions", "blink"): 0.85, ("actions", "wide"): 0.6, ("actions", "brows up"): 0.7,
    ("actions", "inner brows up"): 0.7,
    ("actions", "brows down"): 0.7, ("actions", "smile"): 0.9, ("actions", "frown"): 0.6, ("actions", "pucker"): 0.7,
    ("actions", "jaw"): 0.9, ("actions", "gaze right"): 0.8, ("actions", "gaze left"): 0.8, ("actions", "gaze up"): 0.8,
    ("actions", "gaze down"): 0.8,
    ("clip", "lids, slope"): 0.8, ("clip", "lids, corr"): 0.85, ("clip", "gap closed (landmarker)"): 0.6,
    ("clip", "corr within (landmarker)"): 0.8, ("clip", "identity, distance to the target"): -0.3,
    ("clip", "nearer to the target"): 1.0,
    ("others", "gap closed (landmarker)"): 0.6, ("others", "corr within (landmarker)"): 0.8,
    ("others", "identity, distance to the target"): -0.3, ("others", "nearer to the target"): 1.0,
    ("smiles", "face, dB over copy"): 1.0, ("smiles", "mouth, dB over copy"): 3.2,
    ("smiles", "mouth, dB over copy, teeth shown"): 3.8, ("smiles", "teeth, right brightness"): 0.8,
    ("smiles", "black and white: face, chroma, levels"): -2.0,
    ("smiles", "black and white: mouth, chroma, levels"): -2.0,
    ("itself", "smiling, mouth, dB"): 32.0, ("itself", "smiling, mouth, dB, teeth shown"): 32.0,
    ("itself", "smiling, face, dB"): 36.0, ("itself", "resting, face, dB"): 36.0,
    ("video", "jitter over the driver's"): -1.2,
}  # fmt: skip
# README's and performance.md's: protocol, figure, what it says there.
HEADLINES = (
    ("smiles", "mouth, dB over copy", "a person's own smile, mouth, over doing nothing"),
    ("actions", "smile", "smile, share of the driver's motion"),
    ("actions", "blink", "blink"),
    ("actions", "brows up", "brows up"),
    ("clip", "gap closed (landmarker)", "gap closed, a clip"),
    ("clip", "identity, distance to the target", "dlib distance to the target"),
)


def bar(protocol: str, figure: str) -> str:
    wanted = BARS.get((protocol, figure))
    return "" if wanted is None else f"{'≥' if wanted > 0 else '≤'} {abs(wanted):g}"


def actions(found: dict[str, Any], protocol: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows: an action's share of the driver's motion, its sides, and what moves that should not."""
    rows = []
    for action in ACTIONS:
        if action not in found:
            continue
        sides = [
            [
                f"{row['plan'][0]:.2f}"
                for name, row in found.items()
                if name.startswith(f"{action}: ") and name.endswith(f", {s}")
            ]
            for s in ("right", "left")
        ]
        crossed = found.get(f"{action}: cross-talk", {}).get("plan")
        base = found[action].get("flow_fp32")
        rows.append([
            action, bar(protocol, action), cell(found[action]["plan"]), *(", ".join(side) or "—" for side in sides),
            "—" if crossed is None else f"{crossed[0]:.2f}", "—" if base is None else f"{base[0]:.2f}",
        ])  # fmt: skip
    head = [
        f"{protocol}: share of the driver's motion",
        "bar",
        "all of it",
        "right",
        "left",
        "cross-talk",
        "`flow_fp32`",
    ]
    return head, rows


def tables(file: File) -> list[tuple[list[str], list[list[str]]]]:
    """Head and rows of each protocol's table."""
    made = []
    for protocol, found in file["figures"].items():
        who = {person for people in file["sums"][protocol].values() for person in people}
        if protocol in ("actions", "acted"):
            head, rows = actions(found, protocol)
        else:
            others = [m for m in dict.fromkeys(method for row in found.values() for method in row) if m != "plan"]
            rows = [
                [name, bar(protocol, name), cell(row.get("plan")), *(cell(row.get(m)) for m in others)]
                for name, row in found.items()
            ]
            head = [protocol, "bar", f"`{file['plan']}`", *(f"`{m}`" if "_" in m else m for m in others)]
        made.append(([f"{head[0]} ({len(who)} people)", *head[1:]], rows))
    return made


def groups(file: File) -> tuple[list[str], list[list[str]]]:
    """Head and rows: the figures of HEADLINES by group of people."""
    rows, names = [], list(dict.fromkeys(g for found in file["groups"].values() for row in found.values() for g in row))
    for protocol, figure, _ in HEADLINES:
        row = file["groups"].get(protocol, {}).get(figure, {})
        if row:
            rows.append([f"{protocol}: {figure}", *(cell(row[g][:3]) if g in row else "—" for g in names)])
    return ["by group", *names], rows


def headline(file: File, protocol: str, figure: str) -> str:
    found = file["figures"].get(protocol, {}).get(figure, {}).get("plan")
    if found is None:
        return "—"
    return f"{found[0]:.2f}" + (" dB" if "dB" in figure else "")
