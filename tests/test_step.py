"""Inputs by name, and when each is made: against values known by hand, on landmarks put where they are wanted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fetfast.errors import BadPlan, Unavailable
from fetfast.face import Face
from fetfast.inputs import FRAME, INPUTS, LABELS, SIDE
from fetfast.ops.face_mesh import BROWS, EYES, IRISES, LIPS
from fetfast.plan import Plan
from fetfast.spec import REGIONS, Output, Spec, Stage, Task, TensorSpec
from fetfast.step import Step, Target, Wiring

RNG = np.random.default_rng(0)
FRAME_SHAPE = (120, 100, 3)
TRANSFER = Output("target", {"flow": "first_flow"})


def face(seed: int = 0) -> Face:
    """Brows, eyes and lips far apart, all else in between; the axes of the head where `crop_matrix` reads them."""
    rng = np.random.default_rng(seed)
    at = rng.uniform((30, 40, 0), (70, 80, 0), (478, 3))
    for part, y in ((BROWS, 35), (EYES, 50), (IRISES, 50), (LIPS, 85)):
        at[list(part)] = np.c_[np.linspace(35, 65, len(part)), np.full(len(part), y), np.zeros(len(part))]
    at[[33, 263], :2] = (38, 50), (62, 50)
    made = Face(at.astype(np.float32), rng.random(52).astype(np.float32), 1.0)
    made.__dict__["pose"] = np.eye(3, dtype=np.float32)  # it faces the viewer
    return made


def spec(*stages: Stage, **tasks: Task) -> Spec:
    return Spec("none", "small", 32, stages, tasks or {"transfer": Task((TRANSFER,))}, ("happy", "sad"))


def step(wiring: Wiring | None = None, runners=None, target: Target | None = None, **options) -> Step:
    frame = RNG.integers(0, 256, FRAME_SHAPE, np.uint8)
    flow = Plan.open("flow_fp32").spec
    return Step(
        wiring or Wiring(flow, "transfer"), runners or {}, face(1), frame, target or Target.prepare(frame, [face()]),
        **options,
    )  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
def test_every_input_has_the_shape_of_its_row(name: str) -> None:
    row, now = INPUTS[name], step(label="sad")
    now.tensors["fused_points"] = now.target.points + np.float32(0.01)
    now.wiring.spec = replace(now.wiring.spec, labels=("happy", "sad"))
    sizes = {SIDE: 24, LABELS: 2}
    made = now.need(name, 24 if row.sized else None)
    if FRAME in row.shape:
        assert made.shape == FRAME_SHAPE and made.dtype == np.uint8
    else:
        assert made.shape == (1, *(sizes.get(n, n) for n in row.shape)) and made.dtype == np.float32


def test_what_says_that_it_depends_on_the_target_alone_does() -> None:
    for name, row in INPUTS.items():
        if row.target_only:
            assert name.startswith("target") and all(INPUTS[part].target_only for part in row.made_of)


def test_one_picture_at_two_sides() -> None:
    now = step()
    large, small = now.need("target", 64), now.need("target", 16)
    assert large.shape == (1, 3, 64, 64) and small.shape == (1, 3, 16, 16) and now.need("target", 64) is large
    assert np.abs(large.reshape(3, 16, 4, 16, 4).mean((2, 4)) - small[0]).max() < 0.5


@pytest.mark.parametrize("intensity", [0.0, 0.5, 1.0, 1.5, 2.0])
def test_points_go_as_far_as_the_intensity_says(intensity: float) -> None:
    now = step(intensity=intensity)
    now.tensors["fused_points"] = now.target.points + np.float32((0.1, -0.2))
    moved = now.need("driven_points") - now.target.points
    np.testing.assert_allclose(moved, np.broadcast_to(np.float32((0.1, -0.2)) * intensity, moved.shape), atol=1e-6)


@pytest.mark.parametrize("region, core", [("brows", BROWS), ("eyes", EYES), ("mouth", LIPS), ("gaze", IRISES)])
def test_a_region_moves_its_own_landmarks_and_no_other_s(region: str, core: tuple[int, ...]) -> None:
    amount = step(regions=(region,)).need("driven_amount")[0, :, 0]
    assert amount[list(core)].min() > 0.999
    for other in ({*BROWS}, {*EYES}, {*IRISES}, {*LIPS}):
        assert other == {*core} or amount[list(other)].max() < 0.001
    whole = step().need("driven_amount")
    np.testing.assert_allclose(whole, 1, atol=1e-6)


def test_regions_pass_into_each_other_over_three_hundredths_of_the_crop() -> None:
    """Between a brow and a lid: half each in the middle, and exp(-d d' / s^2) by how far it is from there."""
    one = face()
    target = Target.prepare(np.zeros(FRAME_SHAPE, np.uint8), [one])
    side = float(np.linalg.norm(target.matrices[0][:, 0]))  # pixels of the frame
    free = next(i for i in range(468) if i not in {*BROWS, *EYES, *LIPS, *IRISES, 33, 263, 234, 454, 2})
    x = one.landmarks[BROWS[10], 0]
    for above in (0.0, 0.01):  # crop sides above the middle of brow (35) and eye (50)
        one.landmarks[list(BROWS), 0] = one.landmarks[list(EYES), 0] = x
        one.landmarks[[33, 263], 0] = 38, 62
        one.landmarks[free, :2] = x, 42.5 - above * side
        weights = Target(np.zeros(FRAME_SHAPE, np.uint8), [one], target.matrices).regions[0, :, free]
        near, far = (7.5 / side - above) ** 2, (7.5 / side + above) ** 2
        ratio = np.exp((far - near) / (2 * 0.03**2))
        assert weights[REGIONS.index("brows")] / weights[REGIONS.index("eyes")] == pytest.approx(ratio, rel=0.02)


def test_what_depends_on_the_target_alone_runs_once_for_each_target() -> None:
    """Inputs and stages; a driver's run for every step. What a stage gave is overwritten by its next run."""
    code, other = TensorSpec("code", (1,)), TensorSpec("shift", (1,))
    stages = (
        Stage("identity", (TensorSpec("target", (3, 32, 32)),), (code,)),
        Stage("expression", (TensorSpec("source_blendshapes", (52,)),), (other,)),
        Stage("warp", (code, other), (TensorSpec("first_move", (2, 32, 32)),)),
    )
    wiring = Wiring(spec(*stages, transfer=Task((Output("target", {"flow": "first_move"}),))), "transfer")
    assert [stage.name for stage in wiring.stages] == ["identity", "expression", "warp"]
    ran: list[str] = []
    memory = np.zeros((1, 1), np.float32)

    def identity(inputs):
        ran.append("identity")
        memory[:] = len(ran)
        return {"code": memory}

    def expression(inputs):
        ran.append("expression")
        return {"shift": inputs["source_blendshapes"][:, :1]}

    def warp(inputs):
        return {"first_move": np.broadcast_to((inputs["code"] + inputs["shift"])[..., None, None], (1, 2, 32, 32))}

    runners = {"identity": identity, "expression": expression, "warp": warp}
    target = Target.prepare(np.zeros(FRAME_SHAPE, np.uint8), [face()])
    for _ in range(3):
        now = step(wiring, runners, target)
        flow = now.parts(wiring.outputs[0])["flow"]
        assert flow[0, 0, 0, 0] == pytest.approx(1 + face(1).blendshapes[0])
        memory[:] = 99
    assert ran.count("identity") == 1 and ran.count("expression") == 3


def test_only_stages_that_the_task_needs_run() -> None:
    stages = (
        Stage("judge", (TensorSpec("target", (3, 32, 32)),), (TensorSpec("probabilities", (2,)),)),
        Stage("fuse", (TensorSpec("target_points", (478, 2)),), (TensorSpec("fused_points", (478, 2)),)),
    )
    tasks = {"transfer": Task((TRANSFER,)), "recognize": Task((Output("labels", {"probabilities": "probabilities"}),))}
    both = spec(*stages, **tasks)
    assert [[stage.name for stage in Wiring(both, task).stages] for task in tasks] == [["fuse"], ["judge"]]
    assert "driven_amount" in Wiring(both, "transfer").reads and Wiring(both, "recognize").reads == {
        "target_frame",
        "target_placement",
    }


@pytest.mark.parametrize(
    "shape, tasks, error, message",
    [
        ((4, 32, 32), {}, BadPlan, r"target is \[3, side, side\], expected \[4, 32, 32\]"),
        ((3, 32, 16), {}, BadPlan, r"expected \[3, 32, 16\]"),
        ((3,), {}, BadPlan, r"expected \[3\]"),
        ((3, 32, 32), {"recognize": Output("labels", {"probabilities": "b"})}, BadPlan, r"expected \[2\]"),
        ((3, 32, 32), {"decode": Output("image", {"image": "image"})}, Unavailable, "cannot build: target"),
        ((3, 32, 32), {"transfer": Output("target", {"flow": "b", "light": "b"})}, BadPlan, r"expected \[1, side"),
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(shape, tasks, error, message) -> None:
    given = (TensorSpec("b", (2, 32, 32)), TensorSpec("image", (3, 32, 32)))
    stage = Stage("net", (TensorSpec("target", shape),), given)
    tasks = tasks or {"transfer": Output("target", {"flow": "b"})}
    with pytest.raises(error, match=message):
        Wiring(spec(stage, **{name: Task((output,)) for name, output in tasks.items()}), next(iter(tasks)))
