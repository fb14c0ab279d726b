"""Adversarial losses against their definitions, and discriminators by what they see."""

from __future__ import annotations

from math import exp, log

import pytest

torch = pytest.importorskip("torch")

from fetfast.train import discriminators  # noqa: E402
from fetfast.train.losses import adversarial  # noqa: E402

REAL, FAKE = torch.tensor([2.0, 0.5, -1.0, 0.0]), torch.tensor([-3.0, -0.5, 1.5, 0.25])


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_hinge():
    discriminator = (0 + 0.5 + 2 + 1) / 4 + (0 + 0.5 + 2.5 + 1.25) / 4
    assert adversarial.hinge_discriminator(REAL, FAKE).item() == pytest.approx(discriminator)
    assert adversarial.hinge_generator(FAKE).item() == pytest.approx((3 + 0.5 - 1.5 - 0.25) / 4)


def test_least_squares():
    discriminator = 0.5 * (1 + 0.25 + 4 + 1) / 4 + 0.5 * (9 + 0.25 + 2.25 + 0.0625) / 4
    assert adversarial.least_squares_discriminator(REAL, FAKE).item() == pytest.approx(discriminator)
    generator = 0.5 * (16 + 2.25 + 0.25 + 0.5625) / 4
    assert adversarial.least_squares_generator(FAKE).item() == pytest.approx(generator)


def test_non_saturating():
    real = sum(-log(sigmoid(x)) for x in REAL.tolist()) / 4
    fake = sum(-log(1 - sigmoid(x)) for x in FAKE.tolist()) / 4
    assert adversarial.non_saturating_discriminator(REAL, FAKE).item() == pytest.approx(real + fake, rel=1e-5)
    generator = sum(-log(sigmoid(x)) for x in FAKE.tolist()) / 4
    assert adversarial.non_saturating_generator(FAKE).item() == pytest.approx(generator, rel=1e-5)
    sure = torch.tensor([-200.0]).requires_grad_()
    adversarial.non_saturating_generator(sure).backward()
    assert sure.grad is not None and sure.grad.item() == pytest.approx(-1), "no saturation where it is sure of a fake"


@pytest.mark.parametrize("kind", ["hinge", "least_squares", "non_saturating"])
def test_a_discriminator_wants_real_above_fake_and_a_generator_the_reverse(kind):
    real, fake = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    vars(adversarial)[f"{kind}_discriminator"](real, fake).backward()
    assert (real.grad < 0).all() and (kind == "least_squares" or (fake.grad > 0).all())
    fake.grad = None
    vars(adversarial)[f"{kind}_generator"](fake).backward()
    assert (fake.grad < 0).all()


class Square(torch.nn.Module):
    """Gives a * sum(x^2) for each picture, whose gradient is 2 a x."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = torch.nn.Parameter(torch.tensor(a))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a * x.square().flatten(1).sum(1)


def test_r1_is_the_squared_gradient_by_real_pictures():
    real = torch.tensor([[1.0, 2.0], [0.0, -3.0]]).reshape(2, 1, 1, 2)
    square = Square(0.7)
    penalty = adversarial.r1(square, real)
    assert penalty.item() == pytest.approx((4 * 0.49 * 5 + 4 * 0.49 * 9) / 2, rel=1e-5)
    penalty.backward()
    assert square.a.grad is not None and square.a.grad.item() == pytest.approx(8 * 0.7 * (5 + 9) / 2, rel=1e-5)
    assert not real.requires_grad


def test_r1_is_in_f32_whatever_is_around_it():
    plane = torch.nn.Linear(2, 1)
    with torch.no_grad():
        plane.weight.copy_(torch.tensor([[1.003, -2.007]]))  # bf16 has no such numbers
    with torch.autocast("cpu", torch.bfloat16):
        penalty = adversarial.r1(plane, torch.rand(3, 2))
    assert penalty.item() == pytest.approx(1.003**2 + 2.007**2, rel=1e-5)


def test_r1_goes_through_a_patch_discriminator():
    torch.manual_seed(0)
    net = discriminators.PatchGAN(discriminators.CLOSE_UP)
    adversarial.r1(net, torch.rand(2, 3, 32, 32)).backward()
    assert all(weight.grad is not None for name, weight in net.named_parameters() if "original" in name)


@pytest.mark.parametrize(("layers", "size", "out", "patch"), [("PIX2PIX", 128, 14, 70), ("CLOSE_UP", 96, 22, 26)])
def test_a_logit_sees_one_patch(layers, size, out, patch):
    torch.manual_seed(0)
    net = discriminators.PatchGAN(vars(discriminators)[layers]).eval()
    picture = torch.rand(1, 3, size, size, requires_grad=True)
    logits = net(picture)
    assert logits.shape == (1, 1, out, out)
    logits[0, 0, out // 2, out // 2].backward()
    seen = picture.grad[0].abs().amax(0) > 0
    assert [int(seen.any(axis).sum()) for axis in (0, 1)] == [patch, patch]


def test_spectral_norms_hold_a_discriminators_slope():
    torch.manual_seed(0)
    net = discriminators.PatchGAN(discriminators.CLOSE_UP)
    for _ in range(40):
        net(torch.rand(1, 3, 32, 32))  # each forward in training brings the norm's estimate nearer
    for layer in net:
        if isinstance(layer, torch.nn.Conv2d):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)
