"""README's table: of each suite the figures that matter most, with the command that measures them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import quality

from fetfast.plan import Plan

DEFAULT = Plan.best().stem
Line = tuple[str, str, str]  # what, measured, command


def stream(file: dict[str, Any]) -> list[Line]:
    step = file["rows"][-1]["median_ms"]
    what = f"one `stream` step, 640×480 driver, 768² target, `{file['plan']}` on {file['backend']}"
    return [(what, f"{step:.1f} ms, {1e3 / step:.0f} frames/s", f"fetfast bench --plan {file['plan']}")]


def network(file: dict[str, Any]) -> list[Line]:
    shown = {f"{backend} {DEFAULT.rpartition('_')[2]}" for backend in ("tensorrt", "triton", "openvino")}
    return [
        (
            f"the default plan's networks, {row['way']}, against eager PyTorch fp32, channels-last",
            f"{row['ratio']:.1f} × faster",
            "python bench/bench_network.py",
        )
        for row in file["rows"]
        if row["case"] == "default plan" and row["way"] in (*shown, "openvino int8") and "ratio" in row
    ]


def loop(file: dict[str, Any]) -> list[Line]:
    command, plan, camera = f"fetfast bench loop --plan {file['plan']}", f"`{file['plan']}`", file["camera"]
    waited = f"{camera['latency_ms']['p95']:.0f} ms; {file['dropped_share']:.1%}"
    return [
        (f"a clip onto a 768² portrait, decoded and encoded, {plan}", f"{file['fast']['fps']:.0f} frames/s", command),
        (f"camera pace, 25 frames/s, {plan}: capture to show, p95; dropped", waited, command),
    ]


def start(file: dict[str, Any]) -> list[Line]:
    rows = {(row["case"], row["way"]): row for row in file["rows"]}
    warm, light = rows["fetfast transfer", "warm"], rows["import", "fetfast"]
    command = "python bench/bench_start.py"
    return [
        ("`fetfast transfer` from the shell, warm caches", f"{warm['median_ms'] / 1e3:.2f} s", command),
        ("the most memory that it holds", f"{warm['peak_mb']:.0f} MB", command),
        ("`import fetfast`", f"{light['median_ms']:.0f} ms", command),
    ]


def frame_ops(file: dict[str, Any]) -> list[Line]:
    ratios = [row["ratio"] for row in file["rows"] if row["way"] == "ours" and row["case"].endswith(", 2 threads")]
    span = f"{min(ratios):.1f}–{max(ratios):.1f} × faster"
    return [("crop, warp and paste against OpenCV, two threads", span, "python bench/bench_frame_ops.py")]


def evaluate(file: dict[str, Any]) -> list[Line]:
    protocol, figure, what = quality.HEADLINES[0]
    said = quality.headline(file, protocol, figure)
    return [(f"`{file['plan']}`: {what}", said, f"fetfast evaluate {file['plan']} --only {protocol}")]


def parity(file: dict[str, Any]) -> list[Line]:
    points, scores = (row["mean"] for row in file["rows"])
    return [
        ("landmarks against MediaPipe, share of the interocular distance", f"{points:.2f} %", "make parity"),
        ("blendshapes against MediaPipe, mean absolute", f"{scores:.3f}", "make parity"),
    ]


SUITES: dict[str, Callable[[dict[str, Any]], list[Line]]] = {
    "stream": stream, "network": network, "loop": loop, "start": start, "frame_ops": frame_ops, "evaluate": evaluate,
    "parity": parity,
}  # fmt: skip
