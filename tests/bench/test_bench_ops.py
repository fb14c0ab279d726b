"""The ops' suite: runs from end to end, and what is wrong is never timed."""

import json
from dataclasses import replace

import bench_ops
import cases
import edges
import numpy as np
import pytest
import torch
from pictures import face_points

from fetfast.ops import face_mesh


def test_a_quick_run_from_end_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench_ops", "--quick", "--out", str(tmp_path / "ops.json")])
    monkeypatch.setattr(bench_ops, "SIZES", {"small": 32})
    assert bench_ops.main() == 0, capsys.readouterr().out
    rows = json.loads((tmp_path / "ops.json").read_text())["rows"]
    for name in ("anchors", "crop", "warp", "paste", "first_flow", "contours", "gaussians"):
        ways = {row["way"]: row for row in rows if row["case"].startswith(name)}
        assert ways["eager"]["ratio"] == 1 and ways["ours"]["ratio"] > 0 and ways["ours"]["error"] < 1e-3


def test_what_is_wrong_is_a_failure_and_is_not_timed():
    right = bench_ops.Op.of(cases.flow_case(*cases.faces(), 16))
    wrong = replace(right, ours=lambda: right.ours() * (1 + 1e-4))
    for op, timed in ((right, {"eager", "ours"}), (wrong, {"eager"})):
        calls, about = bench_ops.prepared(op, ("eager", "ours"))
        assert set(calls) == timed and ("wrong" in about["ours"]) == ("ours" not in timed)


def test_without_a_compiler_torch_compile_is_skipped_with_the_reason(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    _, about = bench_ops.prepared(bench_ops.Op.of(next(edges.maps())), ("torch.compile",))
    if not torch.cuda.is_available():
        assert "install g++" in about["torch.compile"]["skipped"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="where the ops write is on the GPU")
def test_plain_forms_are_the_ops():
    """The rival must do the same work: all are within 2 % of the reference, all but paste within roundings."""
    for op in map(bench_ops.Op.of, bench_ops.of_sizes({"tiny": 24})):
        off = bench_ops.error(op.eager(*op.tensors), op.exact())
        assert off < (op.alike or 1e-4), op.name


def test_opencv_does_the_same():
    frame_ops = pytest.importorskip("bench_frame_ops", reason="without OpenCV")
    for case in frame_ops.frame_cases():
        assert frame_ops.difference(case) < case.closeness, case.name


def test_the_face_is_a_face():
    points = face_points()[0]
    eyes, mouth = points[468:478].mean(0), points[[face_mesh.LIP_PAIRS[0][0]]].mean(0)
    assert points.shape == (478, 2) and 0 < points.min() < points.max() < 1
    assert eyes[1] + 0.1 < mouth[1] and points[468, 0] < points[473, 0], "eyes above the mouth, its right eye at left"
    assert np.ptp(points, axis=0)[1] > np.ptp(points, axis=0)[0]
