"""Where a face's parts lie and how much they count: against geometry worked out by hand."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from fetfast.ops.face_mesh import CHAINS, LIPS  # noqa: E402
from fetfast.train.losses import faces  # noqa: E402

RIGHT_EYE, LEFT_EYE = CHAINS["eyes"]


def sigmoid(x: float) -> float:
    return 1 / (1 + 2.718281828459045 ** (-x))


def box(points: torch.Tensor, rows: tuple[int, ...], x: tuple[float, float], y: tuple[float, float]) -> None:
    """Puts these landmarks into a box, two of them into its corners."""
    count = len(set(rows))
    t = torch.linspace(0, 1, count)
    points[0, sorted(set(rows))] = torch.stack((x[0] + (x[1] - x[0]) * t, y[0] + (y[1] - y[0]) * t.flip(0)), 1)


@pytest.fixture
def points() -> torch.Tensor:
    """[1, 478, 2]: a face that fills the crop's middle, mouth below, eyes above."""
    points = torch.full((1, 478, 2), 0.5)
    points[0, 10], points[0, 152] = torch.tensor([0.2, 0.1]), torch.tensor([0.8, 0.9])
    box(points, LIPS, (0.4, 0.6), (0.65, 0.75))
    box(points, RIGHT_EYE, (0.25, 0.35), (0.28, 0.32))
    box(points, LEFT_EYE, (0.65, 0.75), (0.28, 0.32))
    return points


def test_an_ellipse_is_half_at_its_rim():
    """Of a box of 0.2 by 0.1 about (0.5, 0.7) the radii are 0.6 of its sides and 0.02: 0.14 and 0.08."""
    points = torch.tensor([[[0.4, 0.65], [0.6, 0.75]]])
    soft = faces.ellipse(points, 100)[0, 0]

    def wanted(row: int, column: int) -> float:
        x, y = (column + 0.5) / 100, (row + 0.5) / 100
        return sigmoid(8 * (1 - (((x - 0.5) / 0.14) ** 2 + ((y - 0.7) / 0.08) ** 2) ** 0.5))

    for at in ((69, 49), (69, 63), (77, 49), (62, 36), (10, 10)):
        assert soft[at].item() == pytest.approx(wanted(*at), abs=1e-4)
    assert soft[69, 49] > 0.999 and soft[10, 10] < 1e-6
    assert (soft[69, 63] + soft[69, 64]).item() / 2 == pytest.approx(0.5, abs=0.02)


def test_between_lips_is_the_polygon_of_the_inner_lips():
    ring = list(CHAINS["lips"][1])[:-1]
    points = torch.zeros(1, 478, 2)
    angle = torch.linspace(0, 2 * torch.pi, len(ring) + 1)[:-1]
    points[0, ring] = torch.stack((0.5 + 0.2 * angle.cos(), 0.6 + 0.1 * angle.sin()), 1)
    inside = faces.between_lips(points, 128)[0, 0]
    assert inside[77, 64] == 1 and inside[50, 64] == 0 and inside[77, 20] == 0
    area = 0.5 * len(ring) * torch.sin(torch.tensor(2 * torch.pi / len(ring))) * 0.2 * 0.1  # of that polygon
    assert abs(inside.sum() / 128**2 - area) < 0.03 * area


def test_lips_count_five_times_as_much_as_skin_eyes_four_times_and_what_is_between_lips_twenty_more(points):
    nothing = torch.zeros(1, 1, 100, 100)
    parts = faces.parts(points, nothing)[0, 0]
    assert parts[70, 50].item() == pytest.approx(4, abs=0.01)
    assert parts[30, 30].item() == pytest.approx(3, abs=0.01) and parts[30, 70].item() == pytest.approx(3, abs=0.01)
    assert parts[50, 50] < 0.01
    inside = nothing.clone()
    inside[..., 70, 50] = 1
    assert (faces.parts(points, inside) - parts)[..., 70, 50].item() == pytest.approx(20)


def test_skin_counts_one_and_the_background_three_tenths(points):
    weight = faces.importance(points, torch.zeros(1, 1, 100, 100))[0, 0]
    assert weight[50, 50].item() == pytest.approx(1, abs=0.01)
    assert weight[0, 0].item() == pytest.approx(0.3, abs=0.02)
    more = faces.importance(points, torch.full((1, 1, 100, 100), 2.5))[0, 0]
    assert torch.allclose(more - weight, torch.tensor(2.5))


def test_patches_are_squares_about_mouth_right_and_left_eye(points):
    """Of a picture that holds its own coordinates: half as much again as the wider side of each part."""
    centre = (torch.arange(256) + 0.5) / 256
    picture = torch.stack((centre.expand(256, 256), centre[:, None].expand(256, 256), torch.zeros(256, 256)))[None]
    found = faces.patches(picture, points)
    assert found.shape == (3, 3, 96, 96)
    for patch, (x, y), side in zip(found, ((0.5, 0.7), (0.3, 0.3), (0.7, 0.3)), (0.3, 0.15, 0.15), strict=True):
        for i, j in ((0, 0), (0, 95), (95, 0), (40, 70)):
            wanted = torch.tensor([x + ((j + 0.5) / 96 - 0.5) * side, y + ((i + 0.5) / 96 - 0.5) * side])
            assert torch.allclose(patch[:2, i, j], wanted, atol=1e-4)


def test_patches_of_a_batch_lie_part_by_part(points):
    two = torch.cat((points, points))
    pictures = torch.stack((torch.full((3, 64, 64), 1.0), torch.full((3, 64, 64), 2.0)))
    assert faces.patches(pictures, two).mean((1, 2, 3)).tolist() == pytest.approx([1, 2, 1, 2, 1, 2])
