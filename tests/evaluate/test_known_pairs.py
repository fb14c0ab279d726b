"""Pairs whose truth is known: `evaluate/pairs.py`."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fetfast import image  # noqa: E402
from fetfast.engine import Engine  # noqa: E402
from fetfast.errors import BadInput  # noqa: E402
from fetfast.evaluate.pairs import describe, pairs  # noqa: E402
from fetfast.face import Landmarker, crop_matrix, to_crop  # noqa: E402
from fetfast.ops.crop import crop, to_picture  # noqa: E402
from fetfast.ops.heatmap import first_flow  # noqa: E402
from fetfast.ops.paste import paste  # noqa: E402
from fetfast.train import data as train_data  # noqa: E402

SIDE, N = 192, 6
HELD_OUT = [1]  # of persons 0, 1, 2: rows 1 and 4


@pytest.fixture(scope="module")
def engine():
    return Engine("flow_fp32.plan", "eager")


@pytest.fixture(scope="module")
def scene(engine):
    """A made-up face in its crop, its landmarks, landmarks that smile less, and the picture warped to them as family
    `flow` does it."""
    picture = image.load(Path(__file__).parents[2] / "demo" / "smile.png")
    face = Landmarker(threads=1).detect(picture)[0]
    M = crop_matrix(face.landmarks)
    frame = to_picture(crop(picture, M, SIDE))
    points = to_crop(face.landmarks[:, :2], M).astype(np.float32)
    away = points - points[[61, 291]].mean(0)
    driven = points - 0.12 * away * np.exp(-np.square(away / 0.12).sum(1, keepdims=True))
    own = np.array([[SIDE, 0, 0], [0, SIDE, 0]], np.float32)
    flow = first_flow(points[None], driven[None].astype(np.float32), engine.plan.spec.resolution)[0]
    return (
        np.ascontiguousarray(frame),
        points,
        driven.astype(np.float32),
        paste(np.ascontiguousarray(frame), own, flow=flow),
    )


def written(folder, scene, truths):
    frame, points, driven, _ = scene
    arrays = train_data.create(folder, N, SIDE, {"held_out": HELD_OUT})
    for name, value in (("target", frame), ("target_points", points), ("driven_points", driven)):
        arrays[name][:] = value
    arrays["person"][:] = np.arange(N) % 3
    for row, truth in enumerate(truths):
        arrays["truth"][row] = truth
    return folder


def test_the_truth_that_the_warp_makes(engine, scene, tmp_path):
    figures = pairs(engine, written(tmp_path, scene, [scene[3]] * N))
    assert figures["warp_psnr"] > 60 and figures["warp_ssim"] == pytest.approx(1, abs=1e-4)
    assert figures["net_psnr"] > 50 and figures["net_mouth"] > 50  # family flow is that warp
    assert figures["copy_psnr"] < 40 and figures["copy_ssim"] < 0.995
    assert figures["copy_mouth"] < figures["copy_psnr"]  # the change is at the mouth
    line = describe(figures)
    assert f"copy {figures['copy_psnr']:.2f} dB" in line and f"net {figures['net_psnr']:.2f} dB" in line


def test_the_unchanged_target(engine, scene, tmp_path):
    figures = pairs(engine, written(tmp_path, scene, [scene[0]] * N))
    assert figures["copy_psnr"] == pytest.approx(100) and figures["copy_ssim"] == pytest.approx(1)
    assert figures["warp_mouth"] < 40 and figures["net_psnr"] < 50


def test_only_those_held_out_count_spread_over_the_set(engine, scene, tmp_path):
    frame, *_, warped = scene
    noise = np.full_like(frame, 200)
    folder = written(tmp_path, scene, [noise, warped, noise, noise, frame, noise])
    both, first = pairs(engine, folder), pairs(engine, folder, 1)
    assert first["warp_psnr"] > 60 and first["copy_psnr"] < 40
    second = {name: 2 * both[name] - first[name] for name in both}
    assert second["copy_psnr"] == pytest.approx(100) and second["warp_psnr"] < 60
    assert pairs(engine, folder, 5) == both


def test_a_folder_that_holds_no_pairs(engine, tmp_path):
    with pytest.raises(BadInput, match="fetfast synth"):
        pairs(engine, tmp_path)
    train_data.create(tmp_path, N, SIDE, {"held_out": []})
    with pytest.raises(BadInput, match="holds out nobody"):
        pairs(engine, tmp_path)
