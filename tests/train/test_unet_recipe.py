"""What family `unet` minimises and measures: each term, with its weight, on cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from math import log10

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fetfast.models import unet as models  # noqa: E402
from fetfast.ops.face_mesh import CHAINS, LIPS  # noqa: E402
from fetfast.plan import Plan  # noqa: E402
from fetfast.train import batches  # noqa: E402
from fetfast.train.recipe import Update  # noqa: E402
from fetfast.train.recipes import unet  # noqa: E402

S = 32
SPEC = models.small(S)
(PICTURE,) = unet.RECIPES["small"]


class Gives(torch.nn.Module):
    """A network that gives what it is told to."""

    def __init__(self, **results: torch.Tensor) -> None:
        super().__init__()
        self.results = results

    def forward(self, **_: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.results


def loss(update: Update, networks: dict[str, torch.nn.Module], batch: dict[str, torch.Tensor]) -> dict[str, float]:
    """The terms, weighted, and that all of them have a weight."""
    terms, _ = update.loss(networks, SPEC, batch)
    return {name: float(update.weights[name] * term) for name, term in terms.items()}


def test_landmarks_are_those_that_ship():
    """They are solved for, by a command of its own; the picture's recipe takes them as they are, and keeps them."""
    module = models.build(SPEC)["fuse"]
    assert PICTURE.start is not None
    PICTURE.start({"fuse": module})
    for name, weight in Plan.open("unet_fp16").stage_weights("fuse").items():
        assert np.array_equal(module.state_dict()[name].numpy(), weight), name
    assert not any("fuse" in update.rates for update in PICTURE.updates)


# The picture. All is even, so that a term is one number: the face lies far off, where all pixels count alike.

TRUTH, LIT, COLOR, MASK = -0.4, -0.1, 0.5, 0.25  # the result is LIT + MASK (COLOR - LIT)
RESULT = 0.05


def even(value: float, channels: int = 3, side: int = 2 * S) -> torch.Tensor:
    return torch.full((1, channels, side, side), value)


def outputs(**changed: torch.Tensor) -> Gives:
    plain = {"flow": even(0, 2), "light": even(0, 1), "mask": even(MASK, 1), "color": even(COLOR)}
    return Gives(**plain | changed)


def picture_batch(**changed: torch.Tensor) -> dict[str, torch.Tensor]:
    tensors = {t.name: torch.zeros(1, *t.shape) for t in SPEC.stage("unet").inputs}
    return tensors | {
        "picture": even(LIT), "truth": even(TRUTH, side=S), "truth_fine": even(TRUTH),
        "driven_points": torch.full((1, 478, 2), -9.0) + 0.1 * torch.rand(1, 478, 2),
    } | changed  # fmt: skip


def ssim(a: float, b: float) -> float:
    """Of two even pictures (Wang et al. 2004), whose variances are 0."""
    a, b = (a + 1) / 2, (b + 1) / 2
    return (2 * a * b + 0.01**2) / (a * a + b * b + 0.01**2)


def test_each_term_of_the_picture_and_its_weight():
    found = loss(PICTURE.updates[0], {"unet": outputs()}, picture_batch())
    assert found == {
        "l1": pytest.approx(10 * (RESULT - TRUTH), rel=1e-4),
        "ssim": pytest.approx(20 * (1 - ssim(RESULT, TRUTH)), rel=1e-3),
        "gradients": pytest.approx(0, abs=1e-5),
        "patches": pytest.approx(3 * (RESULT - TRUTH), rel=1e-4),
        "patch_gradients": pytest.approx(0, abs=1e-5),
        "beneath": pytest.approx(3 * (LIT - TRUTH), rel=1e-4),
        "above": 0,  # no part of the face is here
        "closed": pytest.approx(8 * MASK, rel=1e-4),
        "smooth": 0,
    }


def test_edges_are_compared_in_the_picture_as_it_is_and_close_up():
    """A step of 0.6 in the middle is one difference among 63, 31, 15 and 7. A slope of 0.5 a crop's side is, in patches
    of 0.3, 0.15 and 0.15 sides at 96 pixels, as much a pixel as they span, and twice that on each coarser scale."""
    step = even(LIT)
    step[..., S:] += 0.6
    found = loss(PICTURE.updates[0], {"unet": outputs(mask=even(0, 1))}, picture_batch(picture=step))
    assert found["gradients"] == pytest.approx(10 * 0.6 * (1 / 63 + 1 / 31 + 1 / 15 + 1 / 7) / 4, rel=1e-3)
    points = torch.full((1, 478, 2), 0.5)
    for part, width, (x, y) in ((LIPS, 0.2, (0.5, 0.7)), *((eye, 0.1, (0.3, 0.3)) for eye in CHAINS["eyes"])):
        points[:, list(part)] = torch.tensor([x, y])
        points[:, part[0]] += torch.tensor([-width / 2, 0.0])
        points[:, part[1]] += torch.tensor([width / 2, 0.0])
    slope = even(LIT) + 0.5 * (torch.arange(2 * S) + 0.5) / (2 * S)
    network = {"unet": outputs(mask=even(0, 1))}
    found = loss(PICTURE.updates[0], network, picture_batch(picture=slope, driven_points=points))
    a_pixel = 0.5 * (0.3 + 0.15 + 0.15) / 3 / 96
    assert found["patch_gradients"] == pytest.approx(6 * a_pixel * (1 + 2 + 4 + 8) / 4, rel=1e-2)


def test_an_open_mask_costs_where_no_part_of_the_face_is_and_a_shut_one_nothing():
    points = torch.full((1, 478, 2), 0.5)
    points[:, list(LIPS)] = torch.tensor([0.5, 0.5]) + 0.6 * (torch.rand(1, len(LIPS), 2) - 0.5)
    batch = picture_batch(driven_points=points)
    for mask, wanted in ((0.0, 0.0), (1.0, 8.0)):
        network = outputs(mask=even(mask, 1))
        assert loss(PICTURE.updates[0], {"unet": network}, picture_batch())["closed"] == pytest.approx(wanted, rel=1e-4)
        assert loss(PICTURE.updates[0], {"unet": network}, batch)["closed"] < 0.8 * wanted + 1e-9, "free on lips"


def test_colours_are_charged_where_they_may_be_seen_whatever_the_mask():
    points = torch.full((1, 478, 2), -9.0)
    points[:, list(LIPS)] = torch.tensor([0.5, 0.5]) + 0.6 * (torch.rand(1, len(LIPS), 2) - 0.5)
    for mask in (0.0, 1.0):
        found = loss(PICTURE.updates[0], {"unet": outputs(mask=even(mask, 1))}, picture_batch(driven_points=points))
        assert found["above"] == pytest.approx(2 * (COLOR - TRUTH), rel=1e-3)


def test_a_flow_is_smooth_where_it_adds_nothing_to_the_landmarks():
    """0.01 more with each pixel at S: of the flow's two channels one, and of the weight 2 half."""
    slope = 0.01 * torch.arange(2 * S).expand(1, 1, 2 * S, 2 * S) / 2
    flow = torch.cat((slope, 0 * slope), 1)
    coarse = torch.nn.functional.avg_pool2d(flow, 2)
    charged = loss(PICTURE.updates[0], {"unet": outputs(flow=flow)}, picture_batch())["smooth"]
    assert charged == pytest.approx(2 * 0.01 / 2, rel=1e-3)
    batch = picture_batch(first_flow=coarse)
    assert loss(PICTURE.updates[0], {"unet": outputs(flow=flow)}, batch)["smooth"] == pytest.approx(0, abs=1e-7)


def test_flow_and_light_are_charged_by_the_true_ones_where_they_are_known():
    truth = torch.tensor([0.02, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, S, S)
    batch = picture_batch(flow=truth, light=even(0.3, 1, S))
    found = loss(PICTURE.updates[0], {"unet": outputs(light=even(0.1, 1))}, batch)
    assert found["motion"] == pytest.approx(10 * (128 * 0.02) ** 2, rel=1e-3)
    assert found["light"] == pytest.approx(1 * (10 * 0.2) ** 2, rel=1e-3)


def test_light_warps_and_lit_pixels_are_seen_beneath_the_mask():
    found = loss(PICTURE.updates[0], {"unet": outputs(light=even(0.2, 1), mask=even(1.0, 1))}, picture_batch())
    lit = (LIT + 1) * 1.2 - 1
    assert found["beneath"] == pytest.approx(3 * (lit - TRUTH), rel=1e-4)
    assert found["l1"] == pytest.approx(10 * (COLOR - TRUTH), rel=1e-4)


def test_what_is_too_dark_between_lips_counts_twice():
    """Wherever a pixel lies between the lips; here all do, and all count 0.3 + 0.7 + parts, that is, alike."""
    dark = picture_batch(truth=even(0.8, side=S), truth_fine=even(0.8))
    points = dark["driven_points"]
    ring = list(CHAINS["lips"][1])[:-1]
    angle = torch.linspace(0, 2 * torch.pi, len(ring) + 1)[:-1]
    points[0, ring] = torch.stack((0.5 + 3 * angle.cos(), 0.5 + 3 * angle.sin()), 1)
    found = loss(PICTURE.updates[0], {"unet": outputs()}, dark)
    middle = slice(2, -2)  # the crop's border is softened
    assert found["l1"] == pytest.approx(2 * 10 * (0.8 - RESULT), rel=0.05), middle
    assert found["above"] == pytest.approx(2 * 2 * (0.8 - COLOR), rel=0.05)
    assert found["beneath"] == pytest.approx(3 * (0.8 - LIT), rel=0.05), "but not beneath"


def test_the_generator_wants_its_discriminator_to_say_real():
    """A discriminator that says by how much a patch is brighter than 0: the generator's term falls with brightness."""
    judge = torch.nn.AvgPool2d(96)
    found = loss(PICTURE.updates[0], {"unet": outputs(), "discriminator": judge}, picture_batch())
    assert found["adversarial"] == pytest.approx(-0.1 * RESULT, rel=1e-3)


def test_the_discriminator_is_given_true_patches_as_real_and_made_ones_as_fake():
    _, made = PICTURE.updates[0].loss({"unet": outputs()}, SPEC, picture_batch())
    assert made["real_patches"].mean().item() == pytest.approx(TRUTH) and made["real_patches"].shape == (3, 3, 96, 96)
    assert made["fake_patches"].mean().item() == pytest.approx(RESULT)
    found = loss(PICTURE.updates[1], {"discriminator": torch.nn.AvgPool2d(96)}, made)
    assert found == {"discriminator": pytest.approx((1 - TRUTH) + (1 + RESULT), rel=1e-4)}


def test_who_learns_how_fast_and_from_when():
    generator, discriminator = PICTURE.updates
    assert generator.rates == {"unet": 2e-3}
    assert discriminator.rates == {"discriminator": 2e-3}
    assert (generator.after, discriminator.after) == (0, 0.6)
    assert [update.betas for update in (generator, discriminator)] == [(0.9, 0.99), (0.5, 0.99)]
    assert [update.weight_decay for update in (generator, discriminator)] == [1e-4, 0]
    assert (PICTURE.count, PICTURE.steps, PICTURE.batch) == (8, 20_000, batches.pictures)


def test_figures_of_even_pictures():
    """PSNR of a difference d in -1 ... 1 is -10 log10(d^2 / 4)."""
    points = torch.tensor([[0.2, 0.2], [0.8, 0.8]]).repeat(239, 1)[None]
    batch = picture_batch(target=even(0.9, side=S), warped=even(0.3, side=S), driven_points=points)
    truth = torch.tensor([0.02, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, S, S)
    found = PICTURE.measure({"unet": outputs()}, SPEC, batch | {"flow": truth})
    for name, value in {"copy": 0.9, "warp": 0.3, "lit": LIT, "net": RESULT}.items():
        assert found[name].item() == pytest.approx(-10 * log10((value - TRUTH) ** 2 / 4), abs=1e-3), name
        assert found[f"{name}_mouth"].item() == pytest.approx(found[name].item(), abs=1e-3)
        assert found[f"{name}_ssim"].item() == pytest.approx(ssim(value, TRUTH), rel=1e-3)
    assert found["net_motion"].item() == found["warp_motion"].item() == pytest.approx(128 * 0.02, rel=1e-3)


def test_a_plain_rgb_network_is_trained_by_the_same_recipe():
    """It has no light, and its flow is 0: nothing of what it lacks is charged."""
    spec = models.rgb(S)
    rgb = Gives(flow=even(0, 2, S), mask=even(1, 1, S), color=even(COLOR, side=S))
    batch = picture_batch() | {t.name: torch.zeros(1, *t.shape) for t in spec.stage("unet").inputs}
    del batch["first_flow"]
    terms, _ = PICTURE.updates[0].loss(
        {"unet": rgb}, replace(SPEC, stages=spec.stages), batch | {"light": even(0, 1, S)}
    )
    assert "light" not in terms and terms["smooth"] == 0
    assert terms["l1"].item() == pytest.approx(COLOR - TRUTH, rel=1e-4)


def test_a_sheet_shows_each_step_of_a_picture():
    drawn = PICTURE.sheet({"unet": outputs(light=even(0.2, 1))}, SPEC, picture_batch())
    assert {name: picture.mean().item() for name, picture in drawn.items()} == pytest.approx({
        "target": 0, "landmarks' warp": 0, "flow and light": 0.9 * 1.2 - 1, "result": 0.08 + 0.25 * (0.5 - 0.08),
        "truth": TRUTH, "light": 0.4, "mask": 2 * MASK - 1, "color": COLOR,
    }, abs=1e-4)  # fmt: skip
    assert all(picture.shape == (1, 3, S, S) for picture in drawn.values())
