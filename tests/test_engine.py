"""The whole way of a frame, with the plans that ship, on real faces."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import fetfast
from fetfast import BadInput, BadPlan, Engine, NoFace, Unavailable
from fetfast.plan import Plan
from fetfast.spec import BLENDSHAPES, REGIONS, Output, Task

SMILE = [BLENDSHAPES.index("mouthSmileLeft"), BLENDSHAPES.index("mouthSmileRight")]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


@pytest.fixture(scope="module")
def result(engine, smile, portrait):
    return engine.transfer(smile, portrait)


def blendshapes(engine, frame):
    return engine.landmarker.detect(frame)[0].blendshapes


def test_the_expression_comes_over(engine, smile, portrait, result):
    driver, before, after = (blendshapes(engine, f)[SMILE].mean() for f in (smile, portrait, result))
    assert before < driver - 0.2, "the test's own ground: the target smiles less than the source"
    assert after - before > 0.25 * (driver - before)


def test_what_is_not_face_stays_bit_for_bit(portrait, result):
    assert result.shape == portrait.shape and result.dtype == np.uint8
    changed = (result != portrait).any(-1)
    assert 0.005 < changed.mean() < 0.5
    assert not changed[:40].any() and not changed[:, :40].any() and not changed[:, -40:].any()


def test_intensity_scales_the_change(engine, smile, portrait, result):
    still = engine.transfer(smile, portrait, intensity=0)
    np.testing.assert_allclose(still.astype(int), portrait, atol=1)
    half = blendshapes(engine, engine.transfer(smile, portrait, intensity=0.5))[SMILE].mean()
    assert blendshapes(engine, portrait)[SMILE].mean() < half < blendshapes(engine, result)[SMILE].mean()


def test_regions_keep_to_themselves(engine, smile, portrait, result):
    mouth = engine.transfer(smile, portrait, regions=("mouth",))
    face = engine.landmarker.detect(portrait)[0]
    brow_row = int(face.landmarks[[105, 334], 1].mean())  # the middles of the brows
    chin_row = int(face.landmarks[17, 1])
    change = np.abs(mouth.astype(int) - portrait).sum((1, 2))
    full = np.abs(result.astype(int) - portrait).sum((1, 2))
    assert change[chin_row - 60 : chin_row].sum() > 0.5 * full[chin_row - 60 : chin_row].sum()
    assert change[brow_row - 20 : brow_row + 5].sum() < 0.35 * full[brow_row - 20 : brow_row + 5].sum()


def test_the_same_input_gives_the_same_bytes(engine, smile, portrait, result):
    np.testing.assert_array_equal(engine.transfer(smile, portrait), result)


def test_every_kind_of_target_gives_the_same_picture(engine, smile, portrait, result):
    pil = engine.transfer(smile, Image.fromarray(portrait))
    assert isinstance(pil, Image.Image)
    np.testing.assert_array_equal(np.asarray(pil), result)
    chw = torch.from_numpy(portrait).permute(2, 0, 1)
    np.testing.assert_array_equal(engine.transfer(smile, chw).permute(1, 2, 0), result)
    floats = engine.transfer(smile, chw / 255)
    assert floats.dtype == torch.float32
    np.testing.assert_array_equal((floats * 255).round().byte().permute(1, 2, 0), result)
    np.testing.assert_array_equal(engine.transfer(Image.fromarray(smile), portrait[:, ::-1][:, ::-1]), result)


def test_batches(engine, smile, portrait, result):
    batch = engine.transfer(smile, np.stack([portrait, portrait[:, ::-1]]))
    assert batch.shape == (2, *portrait.shape)
    np.testing.assert_array_equal(batch[0], result)
    several = engine.transfer([smile, smile], portrait)
    np.testing.assert_array_equal(several[1], result)
    listed = engine.transfer([smile, smile], [Image.fromarray(portrait)])
    assert [type(r) for r in listed] == [Image.Image] * 2
    with pytest.raises(BadInput, match="2 drivers and 3 targets"):
        engine.transfer([smile] * 2, [portrait] * 3)


@pytest.mark.parametrize(
    "bad",
    [None, 3, [], np.zeros((0, 0, 3), "u1"), np.zeros((9, 9)), np.zeros((9, 9, 3)), np.zeros((2, 9, 9, 3), "u1")],
    ids=lambda bad: getattr(bad, "shape", bad),
)
def test_a_stream_names_the_frame_that_is_none(engine, smile, portrait, bad):
    stream = engine.stream([smile, bad], portrait)
    assert next(stream).shape == portrait.shape
    with pytest.raises(BadInput, match=r"frames\[1\]"):
        next(stream)


@pytest.mark.parametrize("frames", [None, 3, "driver.mp4", b"x"])
def test_a_stream_of_no_frames_is_refused_at_once(engine, portrait, frames):
    with pytest.raises(BadInput, match="frames is a"):
        engine.stream(frames, portrait)


def without(frame, face, side):
    """A frame without three tenths of its face, from above all down to the eyes: cut away beyond that edge. Deeper cuts
    are found by chance."""
    x0, y0, x1, y1 = (round(v) for v in face.box)
    x, y = (x1 - x0) * 3 // 10, (y1 - y0) * 3 // 10
    return {"left": frame[:, x0 + x :], "right": frame[:, : x1 - x], "top": frame[y0 + y :], "bottom": frame[: y1 - y]}[
        side
    ]


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_face_beyond_the_edge(engine, smile, portrait, side):
    """Its mouth still seen, it smiles and makes others smile nearly as much as a whole one; no mouth, no crash."""
    target = without(portrait, engine.landmarker.detect(portrait)[0], side)
    source = without(smile, engine.landmarker.detect(smile)[0], side)
    driven, driving = engine.transfer(smile, target), engine.transfer(source, portrait)
    assert driven.shape == target.shape and driving.shape == portrait.shape
    if side != "bottom":
        for before, after in ((target, driven), (portrait, driving)):
            gain = blendshapes(engine, after)[SMILE].mean() - blendshapes(engine, before)[SMILE].mean()
            assert gain > 0.4


def test_a_target_may_be_prepared_of_any_picture(engine, portrait):
    wanted = engine.prepare(portrait).points
    np.testing.assert_array_equal(engine.prepare(Image.fromarray(portrait)).points, wanted)
    with pytest.raises(BadInput, match="batch of 2"):
        engine.prepare([portrait, portrait])
    with pytest.raises(BadInput, match="tgt is a int"):
        engine.prepare(5)


def test_a_stream_follows_its_driver(engine, smile, portrait, result):
    blank = np.zeros_like(smile)
    frames = list(engine.stream([blank, smile, blank, smile], portrait))
    np.testing.assert_array_equal(frames[0], portrait)  # nobody seen yet
    np.testing.assert_array_equal(frames[1], result)
    np.testing.assert_array_equal(frames[2], result)  # nobody there: the last expression is held
    assert len({id(f) for f in frames}) == 4
    given = engine.stream([blank, blank, smile], portrait)
    for _ in range(2):
        next(given)[:] = 0  # the caller's own: the target does not change by it
    np.testing.assert_array_equal(next(given), result)
    tracked = list(engine.stream([smile] * 3, portrait))
    assert np.abs(tracked[2].astype(int) - result).mean() < 1
    with pytest.raises(BadInput, match="batch of 2"):
        engine.stream([smile], [portrait, portrait])


def test_known_faces_need_no_pictures(engine, smile, portrait, result):
    face = engine.landmarker.detect(smile)[0]
    own = engine.landmarker.detect(portrait)[0]
    np.testing.assert_array_equal(engine.transfer(face, portrait, face=own), result)
    np.testing.assert_array_equal(next(iter(engine.stream([face], portrait))), result)


def test_one_or_all_of_several_faces(engine, smile, portrait):
    pair = np.concatenate([portrait[:, 130:640], portrait[::1, 130:640][:, ::-1]], axis=1)
    half = pair.shape[1] // 2
    moved = {
        which: [
            bool(np.abs(engine.transfer(smile, pair, face=which).astype(int) - pair)[:, part].mean() > 0.5)
            for part in (slice(half), slice(half, None))
        ]
        for which in (0, 1, "all")
    }
    assert moved == {0: [True, False], 1: [False, True], "all": [True, True]}
    with pytest.raises((BadInput, NoFace), match="2"):
        engine.transfer(smile, pair, face=2)


def test_mistakes_are_named(engine, smile, portrait):
    blank = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(NoFace, match="src"):
        engine.transfer(blank, portrait)
    with pytest.raises(NoFace, match="tgt"):
        engine.transfer(smile, blank)
    for wrong in (-0.1, 2.1, float("nan"), "much", None):
        with pytest.raises(BadInput, match="intensity"):
            engine.transfer(smile, portrait, intensity=wrong)
    for wrong in (("nose",), (), "ears"):
        with pytest.raises(BadInput, match="regions"):
            engine.transfer(smile, portrait, regions=wrong)
    assert engine.options(1, ("mouth", "mouth", "eyes"))["regions"] == ("mouth", "eyes")  # each counts once
    for wrong in (None, 5, [5]):
        with pytest.raises(BadInput, match="regions is"):
            engine.transfer(smile, portrait, regions=wrong)
    with pytest.raises(BadInput, match="backend"):
        Engine(backend="cudnn")
    for wrong in ("gpu", 5, "cuda:x", "cpu:1", ""):
        with pytest.raises(BadInput, match="device is"):
            Engine(device=wrong)
    with pytest.raises(BadInput, match="plan is 5"):
        Engine(5)
    with pytest.raises(Unavailable):
        Engine(device="cuda:99")


def test_a_plan_must_composite_what_there_is():
    plan = Plan.open("flow_fp32.plan")
    for parts, error in (
        ({"flow": "target_points"}, BadPlan),
        ({"flow": "first_flow", "light": "first_flow"}, BadPlan),
        ({"flow": "tide"}, Unavailable),
    ):
        tasks = {"transfer": Task((Output("target", parts),))}
        with pytest.raises(error, match=r"expected \[2, side, side\]|expected \[1, side, side\]|tide"):
            Engine(replace(plan, spec=replace(plan.spec, tasks=tasks)))


def test_a_plan_that_goes_in_a_circle_is_refused():
    """Its only stage moves the points that it is given, which are its own."""
    plan = Plan.open("flow_fp32.plan")
    tasks = {"transfer": Task((Output("target", {"flow": "first_flow"}),), {"target_points": "fused_points"})}
    with pytest.raises(BadPlan, match="circle"):
        Engine(replace(plan, spec=replace(plan.spec, tasks=tasks)))


def test_backends_agree(smile, portrait):
    plan = "flow_fp32.plan"
    fast, oracle = (Engine(plan, backend=b).transfer(smile, portrait) for b in ("openvino", "eager"))
    assert np.abs(fast.astype(int) - oracle).max() <= 1


def test_the_engine_says_what_it_runs(engine):
    assert engine.backend == "openvino"
    assert engine.plan.spec.family in ("flow", "unet")
    assert all(isinstance(why, str) and why for why in engine.skipped.values())
    assert "openvino" not in engine.skipped and set(REGIONS) == {"brows", "eyes", "gaze", "mouth"}
    assert fetfast.Engine is Engine


def test_black_and_white_stays_so(engine, smile):
    grey = np.repeat(smile.mean(-1, keepdims=True).astype(np.uint8), 3, axis=2)
    result = engine.transfer(smile[:, ::-1], grey)
    assert (result != grey).any() and (result == result[:, :, :1]).all()
