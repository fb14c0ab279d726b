"""The retarget stage: what differs between two faces moves the target, and eyes and lips meet where the driver's do."""

import pytest
import torch

from fetfast.models.flow import E
from fetfast.models.retarget import LIDS, Retarget, gaps, lip_gaps
from fetfast.ops.face_mesh import LIP_PAIRS
from fetfast.plan import SHIPPED, Plan
from fetfast.spec import BLENDSHAPES

NOTHING = torch.zeros(1, E)


@pytest.fixture(scope="module")
def stage() -> Retarget:
    """With the weights that ship."""
    weights = Plan.open(SHIPPED / "unet_fp16.plan").stage_weights("fuse")
    module = Retarget()
    module.load_state_dict({name: torch.tensor(weight) for name, weight in weights.items()})
    return module.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def face(stage: Retarget) -> torch.Tensor:
    """The mean face f32 [1, 478, 2] from in front, crop units."""
    return 0.5 + stage.face[None, :, :2] * torch.tensor([1.0, -1.0]) / 25


def with_shut(points: torch.Tensor, *eyes: int) -> torch.Tensor:
    out = points.clone()
    for upper, lower, _ in (LIDS[eye] for eye in eyes):
        out[:, list(upper)] = out[:, list(lower)]
    return out


def openings(points: torch.Tensor) -> torch.Tensor:
    """f32 [2]: of the right and the left eye, in the eye's widths."""
    return torch.stack([(g.mean() / width[0, 0]) for g, _, width in (gaps(points, eye) for eye in LIDS)])


def run(stage: Retarget, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return stage(source, NOTHING, target, NOTHING)["fused_points"]


def test_a_face_that_drives_itself_stays(stage: Retarget, face: torch.Tensor) -> None:
    noisy, shapes = face + 0.01 * torch.randn(face.shape, generator=torch.manual_seed(0)), torch.rand(1, E)
    assert torch.equal(stage(noisy, shapes, noisy, shapes)["fused_points"], noisy)


def test_shut_is_shut_whatever_shape_both_eyes_have(stage: Retarget, face: torch.Tensor) -> None:
    """A narrow driver, a wide target; the eye that is not shut stays nearly as it was."""
    wide, narrow = face.clone(), face.clone()
    for upper, *_ in LIDS:
        wide[:, list(upper), 1] -= 0.008
        narrow[:, list(upper), 1] += 0.008
    for driver, target in ((narrow, wide), (wide, narrow)):
        before = openings(run(stage, driver, target))
        assert openings(run(stage, with_shut(driver, 0, 1), target)).abs().max() < 0.02
        for eye in (0, 1):
            after = openings(run(stage, with_shut(driver, eye), target))
            assert after[eye] < 0.02 and (after - before)[1 - eye].abs() < 0.15 * before[eye]


def test_an_eye_that_was_shut_opens(stage: Retarget, face: torch.Tensor) -> None:
    opened = openings(run(stage, face, with_shut(face, 0, 1)))
    assert ((opened - openings(face)).abs() < 0.25 * openings(face)).all()


def test_lids_follow_in_proportion(stage: Retarget, face: torch.Tensor) -> None:
    half = face + 0.5 * (with_shut(face, 0, 1) - face)
    share = openings(run(stage, half, face)) / openings(face)
    assert ((share > 0.4) & (share < 0.75)).all()


@pytest.mark.parametrize(
    ("right", "left", "shift"),
    [
        ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336), (0, -0.02)),  # brows up
        ((61, 40, 91), (291, 270, 321), (0.01, -0.01)),  # corners of the mouth out and up
        ((61, 40, 91), (291, 270, 321), (0, 0.01)),  # and down
    ],
)
def test_both_sides_alike(stage: Retarget, face: torch.Tensor, right, left, shift) -> None:
    """What a driver does on both sides alike comes over alike: and the way that it went."""
    acted, (x, y) = face.clone(), shift
    acted[:, list(right)] += torch.tensor([-x, y])
    acted[:, list(left)] += torch.tensor([x, y])
    moved = (run(stage, acted, face) - face)[0]
    sides = moved[list(right)].mean(0) * torch.tensor([-1, 1]), moved[list(left)].mean(0)
    amounts = [float(side @ torch.tensor([x, y], dtype=torch.float32)) / (x * x + y * y) for side in sides]
    assert min(amounts) > 0.05 and max(amounts) < 1.4 * min(amounts), amounts


def test_lips_meet_where_the_driver_s_do_and_never_cross(stage: Retarget, face: torch.Tensor) -> None:
    upper, lower = (list(row) for row in zip(*LIP_PAIRS, strict=True))
    shut, parted = face.clone(), face.clone()
    shut[:, lower] = shut[:, upper]
    parted[:, lower, 1] = parted[:, upper, 1] + 0.03
    met, _ = lip_gaps(run(stage, shut, parted))
    assert met.abs().max() < 0.005
    generator = torch.manual_seed(2)
    for _ in range(5):
        source, target = (p + 0.01 * torch.randn(p.shape, generator=generator) for p in (shut, parted))
        crossed, own = lip_gaps(run(stage, source, target))[0], lip_gaps(target)[0]
        assert (crossed >= own.clamp(max=0) - 1e-5).all()


def test_a_profile_does_less_and_stays_finite(stage: Retarget, face: torch.Tensor) -> None:
    flat = (face - 0.5) * torch.tensor([0.02, 1.0]) + 0.5
    smile = torch.zeros(1, E)
    smile[0, [BLENDSHAPES.index("mouthSmileLeft"), BLENDSHAPES.index("mouthSmileRight")]] = 1
    moved = stage(flat, smile, face, NOTHING)["fused_points"]
    assert moved.isfinite().all() and (moved - face).abs().max() < 0.2
