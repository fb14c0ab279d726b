"""Family `flow`: the linear stage against the morphable model's own projections, and the plan that ships."""

import numpy as np
import pytest
import torch

from fetfast.models import flow
from fetfast.plan import SHIPPED, Plan
from fetfast.spec import BLENDSHAPES, LANDMARKS

rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.open(SHIPPED / "flow_fp32.plan")


@pytest.fixture(scope="module")
def fuse(plan):
    """The shipped stage as a function of NumPy arrays (source, target: [52], points [478, 2])."""
    module = flow.build(plan.spec)["fuse"].eval()
    module.load_state_dict({k: torch.tensor(w.copy()) for k, w in plan.stage_weights("fuse").items()})

    def run(source, target, points):
        named = {"source_blendshapes": source, "target_blendshapes": target, "target_points": points}
        with torch.no_grad():
            out = module(**{k: torch.as_tensor(np.asarray(v, np.float32)[None]) for k, v in named.items()})
        return out["fused_points"][0].numpy()

    return run


@pytest.fixture(scope="module")
def kit(shared):
    from fetfast.synth.facekit import Facekit

    return Facekit.open(shared / "ict_facekit_f16.npz")


@pytest.fixture(scope="module")
def neutral(plan) -> np.ndarray:
    """A face's landmarks [478, 2] in crop units, from the plan alone: any points that span a plane will do."""
    return rng.uniform(0.2, 0.8, (LANDMARKS, 2)).astype(np.float32)


def expression(**amounts: float) -> np.ndarray:
    out = np.zeros(len(BLENDSHAPES), np.float32)
    for name, amount in amounts.items():
        out[BLENDSHAPES.index(name)] = amount
    return out


def test_same_expression_leaves_every_point_where_it_is(fuse, neutral):
    same = rng.uniform(0, 1, len(BLENDSHAPES)).astype(np.float32)
    assert np.array_equal(fuse(same, same, neutral), neutral)


def test_linear_in_the_change(fuse, neutral):
    smile, brows, none = expression(mouthSmileLeft=0.8), expression(browInnerUp=0.6), expression()
    apart = [fuse(e, none, neutral) - neutral for e in (smile, brows)]
    together = fuse(smile + brows, none, neutral) - neutral
    backward = fuse(none, smile + brows, neutral) - neutral
    assert np.allclose(together, apart[0] + apart[1], atol=1e-6)
    assert np.allclose(backward, -together, atol=1e-6)


def test_turns_scales_and_moves_with_the_target(fuse, neutral):
    e, none = rng.uniform(0, 1, len(BLENDSHAPES)).astype(np.float32), expression()
    map_ = np.array([[0.8, -0.4], [0.5, 0.6]], np.float32)
    moved = fuse(e, none, neutral @ map_ + 0.1)
    assert np.allclose(moved, fuse(e, none, neutral) @ map_ + 0.1, atol=2e-6)


def test_the_mean_face_under_an_affine_camera_is_exact(fuse, kit):
    """Where the model holds exactly, so must the stage: no expression mode mixed up, no axis flipped."""
    vertices = kit.landmark_vertices[:468]
    camera = np.array([[0.04, 0.004], [-0.003, -0.041], [0.012, 0.006]])
    coefficients = rng.uniform(0, 1, len(kit.expression_names)).astype(np.float32)
    for side in "LR":  # modes that the blendshapes join
        for stem in ("browInnerUp", "cheekPuff"):
            coefficients[kit.index(f"{stem}_{side}")] = 0.5
    before = kit.neutral[vertices] @ camera + 0.5
    after = kit.express(kit.neutral, coefficients)[vertices] @ camera + 0.5
    points = np.concatenate([before, np.full((10, 2), 0.5)])
    fused = fuse(coefficients @ kit.to_blendshapes, expression(), points)[:468]
    assert np.abs(fused - after).max() < 1e-5 * np.abs(after - before).max() + 1e-6


def test_other_people_other_poses(fuse, kit):
    """Random identities, poses and expressions under perspective, 80 cm away: the displacement is as good as twice
    the error of the best affine camera, fitted to the true shape, and at most a tenth off."""
    vertices = kit.landmark_vertices[:468]
    identities, expressions = kit.identities[:60, vertices], kit.expressions[:, vertices]
    used = ~np.isin(np.arange(53), kit.index("browInnerUp", "cheekPuff"))  # whose sides the blendshapes join
    error = best = size = 0.0
    for _ in range(40):
        before, after = (rng.uniform(0, 0.6, 53) * (rng.uniform(size=53) < 0.15) * used for _ in range(2))
        yaw, pitch = rng.uniform(-0.5, 0.5), rng.uniform(-0.3, 0.3)
        turn = rotation(1, yaw) @ rotation(0, pitch)
        person = kit.neutral[vertices] + np.tensordot(rng.normal(size=60), identities, 1)
        shapes = [person + np.tensordot(e, expressions, 1) for e in (before, after)]
        screens = [project(s @ turn.T) for s in shapes]
        points = np.concatenate([screens[0], np.full((10, 2), 0.5)])
        fused = fuse(after @ kit.to_blendshapes, before @ kit.to_blendshapes, points)[:468]
        affine = np.linalg.lstsq(np.c_[shapes[0], np.ones(468)], screens[0], rcond=None)[0][:3]
        true = screens[1] - screens[0]
        error += np.square(fused - screens[1]).sum()
        best += np.square((shapes[1] - shapes[0]) @ affine - true).sum()
        size += np.square(true).sum()
    assert error**0.5 <= min(2 * best**0.5, 0.1 * size**0.5)


def rotation(axis: int, angle: float) -> np.ndarray:
    out = np.eye(3)
    i, j = [k for k in range(3) if k != axis]
    out[[i, j], [i, j]] = np.cos(angle)
    out[i, j], out[j, i] = np.sin(angle), -np.sin(angle)
    return out


def project(shape: np.ndarray) -> np.ndarray:
    return 0.5 + shape[:, :2] * (1, -1) * 3 / (80 - shape[:, 2:])


def test_irises_turn_with_the_gaze(plan):
    """eyeLookOutLeft turns the subject's left eye to the image's right (+x), eyeLookUp up (+y), by a few millimetres;
    nothing else moves an iris."""
    basis = plan.weights["fuse.basis"]
    left, right = slice(473, 478), slice(468, 473)
    out = basis[BLENDSHAPES.index("eyeLookOutLeft")]
    assert (out[left, 0] > 0.3).all() and (out[left, 0] < 1.0).all() and not out[right].any()
    assert (basis[BLENDSHAPES.index("eyeLookInLeft"), left, 0] < -0.3).all()
    assert (basis[BLENDSHAPES.index("eyeLookUpRight"), right, 1] > 0.3).all()
    assert (basis[BLENDSHAPES.index("eyeLookDownRight"), right, 1] < -0.3).all()


def test_ships_what_the_command_makes(plan, kit):
    from fetfast.synth import basis

    assert np.array_equal(plan.weights["fuse.basis"], basis.basis(kit))
    assert np.allclose(plan.weights["fuse.camera"], basis.camera(kit), atol=1e-7)  # LAPACKs differ in the last bit


def test_the_header_keeps_the_models_licence(plan):
    assert plan.spec == flow.SPECS["small"]
    assert not plan.header["random_weights"]
    assert "Permission is hereby granted" in plan.provenance["licence"]
    assert "USC Institute for Creative Technologies" in plan.provenance["licence"]


def test_the_command_writes_what_build_reads(tmp_path, shared):
    from click.testing import CliRunner

    from fetfast.build import build
    from fetfast.cli import main

    weights = tmp_path / "W.safetensors"
    done = CliRunner().invoke(
        main, ["make", "basis", "--facekit", str(shared / "ict_facekit_f16.npz"), "-o", str(weights)]
    )
    assert done.exit_code == 0, done.output
    made = build("flow", precision="fp32", weights=weights)
    assert made.name == "flow_fp32" and "MIT" in made.provenance["licence"] and not made.random_weights
    wrong = CliRunner().invoke(main, ["make", "basis", "--facekit", str(tmp_path / "absent"), "-o", str(weights)])
    assert wrong.exit_code == 2 and "no file or folder" in wrong.output
