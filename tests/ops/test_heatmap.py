"""The landmarks' maps, CPU form: against the references, and what a first flow must do to a face."""

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from fetfast.errors import BadInput
from fetfast.ops import face_mesh
from fetfast.ops.anchors import LOWER, OPEN, UPPER, WIDTHS, WITHIN, anchors, corrected
from fetfast.ops.heatmap import contours, first_flow, gaussians

RNG = np.random.default_rng(2)


def points(B=1, K=478):
    return RNG.uniform(-0.1, 1.1, (B, K, 2)).astype(np.float32)


def face():
    """[1, 478, 2] points that stand where a face's stand as far as the tests ask: lids, irises and lips."""
    at = np.random.default_rng(2).uniform(0.2, 0.8, (1, 478, 2)).astype(np.float32)  # the same in any order of tests
    for part, middle, radius in (("lips", (0.5, 0.7), 0.1), ("eyes", (0.5, 0.4), 0.2)):
        for chain in face_mesh.CHAINS[part]:
            turn = np.linspace(np.pi, -np.pi, len(chain))[:-1]
            at[0, chain[:-1]] = np.stack([np.cos(turn), 0.1 * np.sin(turn)], 1) * radius + middle
    at[0, list(face_mesh.IRISES)] = (0.5, 0.4)
    return at


def test_flow_is_backward_in_crop_sides():
    source, driven = points(1, 4) * 0 + 0.5, points(1, 4) * 0 + 0.5
    driven[..., 0] += 0.25
    flow = first_flow(source, driven, 64, widths=np.full(4, 0.05, np.float32))[0]
    at = flow[:, 32, 48]  # the driven point: its picture comes from the source point
    assert -0.25 <= at[0] < -0.2 and abs(at[1]) < 1e-6
    assert np.abs(flow[:, :, 0]).max() < 0.01  # far from every point it fades


def test_flow_of_points_at_rest_is_exactly_zero():
    at = face()
    assert not first_flow(at, at, 32).any()


def test_points_far_away_move_nothing():
    at = face()
    assert not first_flow(at * 1e20, at * 2e20, 16).any()


def test_flow_takes_out_of_any_strides():
    source, driven = face(), face()
    want = first_flow(source, driven, 24)
    nhwc = np.zeros((1, 24, 24, 5), np.float32)
    out = nhwc[..., 2:4].transpose(0, 3, 1, 2)
    assert first_flow(source, driven, 24, out) is out
    assert np.array_equal(out, want) and not nhwc[..., [0, 1, 4]].any()


def test_an_opening_mouth_does_not_show_its_lips_twice():
    """From the upper lip to the lower one, the row that is looked at must go down steadily, or nearly."""
    source, S = face(), 128
    source[0, UPPER, 1] = source[0, LOWER, 1] = 0.7
    source[0, UPPER, 0] = source[0, LOWER, 0] = np.linspace(0.42, 0.58, len(UPPER))
    driven = source.copy()
    driven[0, LOWER, 1] += 0.08
    lips = np.array(UPPER + LOWER)
    flow = first_flow(source, driven, S)[0]
    column, rows = S // 2, slice(int(0.71 * S), int(0.77 * S))
    with_anchors = np.diff(flow[1, rows, column]) * S
    bare = first_flow(source[:, lips], driven[:, lips], S, widths=WIDTHS[lips])[0]
    assert with_anchors.min() > -2.5 and np.diff(bare[1, rows, column]).min() * S < 1.5 * with_anchors.min()


def test_a_closing_lid_takes_along_what_it_covers():
    source = face()
    driven = source.copy()
    driven[0, 158:161, 1] += 0.05
    moved, there = anchors(source, driven)
    displacement = (moved - there)[0]
    assert np.allclose(displacement[468:473], (source - driven)[0, 158:161].mean(0), atol=1e-6)
    assert not displacement[473:478].any()


@pytest.mark.parametrize("below, covered", [(-0.01, 1.0), (-0.003, 0.75), (0.0, 0.5), (0.003, 0.25), (0.01, 0.0)])
def test_a_lid_covers_by_a_hundredth_of_the_crop(below, covered):
    """An iris this far below the edge of a lid that came down: how much of it goes with the lid."""
    source = face()
    source[0, 158:161, 1] = 0.3
    driven = source.copy()
    driven[0, 158:161, 1] = 0.4
    driven[0, 468:473, 1] = 0.4 + below
    moved = anchors(source, driven)[0]
    mine, lids = source[0, 468:473], driven[0, 468:473] - np.float32((0, 0.1))
    assert np.allclose(moved[0, 468:473], (1 - covered) * mine + covered * lids, atol=1e-5)


@pytest.mark.parametrize("op", [anchors, lambda *points: corrected(*anchors(*points))])
def test_anchors_are_the_same_for_tensors(op):
    """To a hundredth of a pixel of a crop at 128, where points move as far as a face's."""
    source = points(2)
    driven = source + np.float32(0.05) * (points(2) - source)
    got = op(torch.from_numpy(source), torch.from_numpy(driven))
    for mine, theirs in zip(op(source, driven), got, strict=True):
        assert mine.dtype == np.float32 and mine.shape == (2, len(WIDTHS), 2)
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=0.01 / 128)


def test_a_brow_and_a_lid_land_where_they_are_wanted():
    """They are thinner than the Gaussians: without the correction they follow their neighbours, which stay."""
    source, S = face(), 128
    driven = source.copy()
    parts = [*face_mesh.BROWS, *range(158, 161)]
    driven[0, parts, 1] -= 0.02
    completed = anchors(source, driven)

    def shown(flow):
        x, y = (driven[0, parts] * S).astype(int).T
        return -flow[0, 1, y, x].mean()

    with_it, without = (shown(first_flow(*pair, S, widths=WIDTHS)) for pair in (corrected(*completed), completed))
    assert abs(with_it + 0.02) < 0.8 * abs(without + 0.02)


def test_points_that_are_unknown_or_far_away_correct_no_other():
    source, driven = anchors(face(), face())
    source[0, 40:60] += 0.01
    want = corrected(source, driven)[0]
    for strange in (np.nan, 1e30):
        spoiled = driven.copy()
        spoiled[0, 300] = strange
        got = corrected(source, spoiled)[0]
        near = np.linalg.norm(driven[0] - driven[0, 300], axis=1) > 6 * WIDTHS[300]
        assert np.allclose(got[0, near], want[0, near], atol=1e-6)
        assert np.array_equal(got[0, 300], source[0, 300]) and np.array_equal(got[0, ~WITHIN], source[0, ~WITHIN])


def test_anchors_between_shut_lips_go_with_the_nearer_one_and_between_open_ones_by_the_way():
    source = face()
    for gap, shares in ((0.001, (0, 0, 1, 1)), (OPEN, (0.125, 0.375, 0.625, 0.875))):
        driven = source.copy()
        driven[0, UPPER] = (0.5, 0.5)
        driven[0, LOWER] = (0.5, 0.5 + gap)
        source[0, UPPER] = driven[0, UPPER]
        source[0, LOWER] = driven[0, LOWER] + 1
        moved, there = anchors(source, driven)
        assert np.allclose((moved - there)[0, 478:, 0].reshape(4, 9), np.array(shares)[:, None], atol=1e-4)


def test_what_stands_between_the_landmarks_needs_nothing_from_the_host():
    class Alone(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            assert function not in (torch.tensor, torch.as_tensor, torch.from_numpy)
            if function is torch.Tensor.__getitem__:
                parts = args[1] if isinstance(args[1], tuple) else (args[1],)
                assert not any(isinstance(part, list | np.ndarray) for part in parts), "an index from the host"
            return function(*args, **(kwargs or {}))

    points = torch.rand(1, 478, 2)
    first = corrected(*anchors(points, points + 0.01))
    with Alone():
        again = corrected(*anchors(points, points + 0.01))
    assert torch.equal(first[0], again[0])


def test_tf32_changes_nothing_between_the_landmarks():
    """Products of matrices may take 10 bits of an f32, which is a setting of the whole process: so there are none."""

    class Tf32(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function in (torch.Tensor.__matmul__, torch.Tensor.matmul, torch.matmul, torch.bmm, torch.einsum):
                args = [(a.view(torch.int32) & ~0x1FFF).view(torch.float32) for a in args]
            return function(*args, **(kwargs or {}))

    source, driven = torch.rand(2, 2, 478, 2, generator=torch.Generator().manual_seed(0))
    exact = corrected(*anchors(source, driven))[0]
    with Tf32():
        assert torch.equal(corrected(*anchors(source, driven))[0], exact)


def test_a_contour_is_a_line_of_one_pixel():
    at = np.array([[[0.25, 0.53125], [0.75, 0.53125]]], np.float32)  # through the middles of row 8's pixels
    drawn = contours(at, 16, edges=np.array([[0, 1]], np.int32))[0, 0]
    assert (drawn[8, 4:12] == 1).all() and not drawn[[6, 10]].any() and not drawn[:, [2, 13]].any()
    assert drawn[7, 8] == drawn[9, 8] == 0


def test_contours_of_points_far_away_draw_nothing_and_do_not_hang():
    at = points()
    for value in (1e20, -1e20, np.inf, -np.inf, np.nan):
        assert not contours(np.full_like(at, value), 16).any()
    at[0, ::2] = 1e6
    assert np.isfinite(contours(at, 16)).all()


def test_topology_is_whole():
    assert len(face_mesh.EDGES) == 157 and len(face_mesh.SPACING) == 478
    assert len(face_mesh.LIPS) == 40 and len(face_mesh.EYES) == 32 and len(face_mesh.BROWS) == 20
    assert len(face_mesh.OVAL) == 36 and face_mesh.IRISES == tuple(range(468, 478))
    for part in ("lips", "eyes", "irises", "oval"):
        assert all(chain[0] == chain[-1] and len(set(chain)) == len(chain) - 1 for chain in face_mesh.CHAINS[part])


AT, OUT = points(1, 6), np.empty((1, 2, 8, 8), np.float32)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: first_flow(AT[0], AT[0], 8), r"source_points is float32 \[6, 2\], expected float32 \[B, K, 2\]"),
        (lambda: first_flow(AT, AT[:, :5], 8), r"driven_points is float32 \[1, 5, 2\]"),
        (lambda: first_flow(AT, AT, 8), r"widths is NoneType, expected float32 \[6\]"),
        (lambda: first_flow(AT, AT, 8, widths=np.zeros(6, np.float32)), "above 0"),
        (lambda: first_flow(AT, AT, 9, OUT, np.ones(6, np.float32)), r"out is .*, expected float32 \[1, 2, 9, 9\]"),
        (lambda: contours(AT.astype(np.float64), 8), r"points is float64 \[1, 6, 2\]"),
        (lambda: contours(AT, 8), r"edges name points 0 ... 477, expected 0 ... 5"),
        (lambda: contours(AT, 8, edges=np.zeros((3, 2))), r"edges is float64 \[3, 2\], expected int32 \[E, 2\]"),
        (lambda: contours(points(), 0), "size is 0"),
        (lambda: gaussians(AT, 8, 0), "sigma is 0"),
        (lambda: gaussians(AT, 8, 0.1, [[6]]), r"groups name points outside of 0 ... 5"),
    ],
)
def test_errors(call, message):
    with pytest.raises(BadInput, match=message):
        call()
