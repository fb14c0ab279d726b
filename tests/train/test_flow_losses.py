"""Warping, lighting and compositing in training: against ops.paste, ramps and hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fetfast.ops.paste import paste  # noqa: E402
from fetfast.train.losses import flows  # noqa: E402

S = 64
NAN = float("nan")


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, 1, -1)


def test_a_flow_of_whole_pixels_moves_whole_pixels():
    image = torch.rand(1, 3, S, S)
    flow = torch.zeros(1, 2, S, S)
    flow[:, 0] = 2 / S
    assert torch.allclose(flows.warp(image, flow)[..., :-2], image[..., 2:], atol=1e-5)
    assert torch.allclose(flows.warp(image, 0 * flow), image, atol=1e-5)
    assert torch.allclose(flows.warp(image, flow)[..., -2:], image[..., -1:].expand(-1, -1, -1, 2), atol=1e-5), "border"


def test_a_warp_is_linear_between_pixels():
    ramp = (torch.arange(S) + 0.5) / S
    image = torch.stack((ramp.expand(S, S), ramp[:, None].expand(S, S)))[None]
    flow = torch.tensor([0.3, -0.7]).reshape(1, 2, 1, 1).expand(1, 2, S, S) / S
    moved = (flows.warp(image, flow) - image)[..., 1:-1, 1:-1]
    assert torch.allclose(moved, flow[..., 1:-1, 1:-1], atol=1e-6)


def test_training_composites_as_paste_does():
    """Whole pixels, so that cubic and bilinear agree; away from the border, where paste fades in."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (2 * S, 2 * S, 3), dtype=np.uint8)
    smooth = np.linspace(0, 1, S, dtype=np.float32) * np.ones((S, 1), np.float32)
    parts = {
        "flow": np.stack([smooth * 0 + 3 / (2 * S), smooth * 0 - 2 / (2 * S)]),
        "light": 0.4 * smooth[None] - 0.2,
        "mask": 0.8 * smooth.T[None],
        "color": np.stack([smooth - 0.5, 0.5 - smooth, smooth.T - 0.5]),
    }
    wanted = paste(frame, np.array([[2 * S, 0, 0], [0, 2 * S, 0]], np.float32), **parts)
    picture = torch.from_numpy(frame.transpose(2, 0, 1)[None] / np.float32(127.5) - 1)
    lit, result = flows.composite(picture, {name: torch.from_numpy(part[None]) for name, part in parts.items()})
    edge = slice(12, -12)
    got = (result[0].permute(1, 2, 0).numpy() * 127.5 + 127.5).clip(0, 255)[edge, edge]
    assert np.abs(got - wanted[edge, edge]).max() <= 0.51
    del parts["light"]
    bare = flows.composite(picture, {name: torch.from_numpy(part[None]) for name, part in parts.items()})[0]
    assert (lit - bare).abs().max() > 0.1, "the light is seen"


def test_coarse_is_the_mean_of_squares():
    picture = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert flows.coarse(picture, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_smoothness_charges_what_is_added_to_the_first_flow():
    """A shear of x by 0.3 a column and one of y by 0.1 a row, added to any flow: of two channels half each."""
    first = torch.randn(2, 2, S, S)
    columns, rows = torch.arange(S).float(), torch.arange(S).float()[:, None]
    added = torch.stack((0.3 * columns.expand(S, S), 0.1 * rows.expand(S, S)))
    assert flows.smoothness(first, first).item() == 0
    assert flows.smoothness(first + 7, first).item() == pytest.approx(0, abs=1e-5)
    assert flows.smoothness(first + added, first).item() == pytest.approx((0.3 + 0.1) / 2, rel=1e-4)
    assert flows.smoothness(first - added, first).item() == pytest.approx((0.3 + 0.1) / 2, rel=1e-4)


def test_motion_is_a_square_in_pixels_where_it_is_known():
    truth = torch.cat((row(0.1, NAN, 0.0), row(0.0, NAN, 0.2)), 1)  # [1, 2, 1, 3]
    guess = torch.zeros(1, 2, 1, 3, requires_grad=True)
    missed = flows.motion(guess, truth, row(8, 5, 2))
    missed.sum().backward()
    assert missed.tolist() == [pytest.approx((8 * 12.8**2 + 2 * 25.6**2) / 10, rel=1e-4)]
    assert guess.grad is not None and guess.grad.isfinite().all()
    assert guess.grad[..., 0].abs().max() > 0 and not guess.grad[..., 1].any()
    assert flows.motion(guess, truth * NAN, row(1, 1, 1)).tolist() == [0], "known nowhere"


def test_the_light_is_charged_by_its_square_where_it_is_known():
    light = row(0.3, 0.9, -0.1, 0.1).requires_grad_()
    missed = flows.relighting(light, row(0.1, NAN, -0.1, 0.0), row(2, 5, 1, 1))
    missed.backward()
    assert missed.item() == pytest.approx((2 * 2.0**2 + 1 * 1.0**2) / 4, rel=1e-4)  # tenths
    assert light.grad is not None and light.grad.isfinite().all() and light.grad[..., 1] == 0
