"""Family `unet`: the published size, what ships, and what a new network does."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fetfast import backends, build  # noqa: E402
from fetfast.models import unet  # noqa: E402
from fetfast.plan import Plan  # noqa: E402
from fetfast.spec import Spec  # noqa: E402


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def macs(spec: Spec) -> dict[str, int]:
    """Multiply-adds of each stage at batch 1, without allocating anything; transposed convolutions by input pixel."""
    totals = {}

    def hook(layer, inputs, output) -> None:
        transposed = isinstance(layer, torch.nn.ConvTranspose2d)
        pixels = prod((inputs[0] if transposed else output).shape[2:])
        totals[name] += layer.weight.numel() * pixels

    with torch.device("meta"):
        for name, module in unet.build(spec).items():
            totals[name] = 0
            for layer in module.modules():
                if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear):
                    layer.register_forward_hook(hook)
            stage = spec.stage(name)
            results = module(**{t.name: torch.empty(1, *t.shape) for t in stage.inputs})
            assert {k: tuple(v.shape[1:]) for k, v in results.items()} == {t.name: t.shape for t in stage.outputs}
    return totals


def test_paper_size() -> None:
    with torch.device("meta"):
        nets = unet.build(unet.paper())
    assert count(nets["unet"]) == pytest.approx(54.41e6, abs=0.01e6)
    assert count(nets["fuse"]) == pytest.approx(6.4e6, rel=0.05)
    work = macs(unet.paper())
    assert work["unet"] == pytest.approx(6.07e9, abs=0.01e9)  # pix2pix's 6.05 for three channels, and one more
    assert work["fuse"] == pytest.approx(1.5e9, rel=0.01)


def test_small_size() -> None:
    assert sum(macs(unet.small(256)).values()) <= 1.5e9
    with torch.device("meta"):
        weights = sum(count(net) * (4 if name == "fuse" else 2) for name, net in unet.build(unet.small()).items())
    assert weights < 8 * 2**20


def small_inputs(batch: int = 1) -> dict[str, torch.Tensor]:
    return {t.name: torch.rand(batch, *t.shape) for t in unet.small().stage("unet").inputs}


def test_a_new_network_gives_the_landmarks_warp() -> None:
    inputs = small_inputs()
    with torch.inference_mode():
        result = unet.build(unet.small())["unet"](**inputs)
    twice = torch.nn.functional.interpolate(inputs["first_flow"], scale_factor=2.0, mode="bilinear")
    assert torch.equal(result["flow"], twice)
    assert result["mask"].max() < 0.2
    assert result["color"].abs().max() <= 1


def test_mask_and_lightness_are_finer_than_the_network() -> None:
    """Each of four sub-pixels has channels of its own; the hue has one for all four."""
    net = unet.build(unet.small())["unet"]
    with torch.inference_mode():
        net.head.weight.zero_()
        net.head.bias[-8:] = torch.tensor([0.1, 0.2, 0.3, 0.4, -1.0, 0.0, 1.0, 2.0])
        result = net(**small_inputs())
    assert {name: tuple(t.shape) for name, t in result.items()} == {
        tensor.name: (1, *tensor.shape) for tensor in unet.small().stage("unet").outputs
    }
    for name, wanted in (
        ("mask", torch.tensor([[-1.0, 0.0], [1.0, 2.0]]).sigmoid()),
        ("color", torch.tensor([[0.1, 0.2], [0.3, 0.4]]).tanh()),
    ):
        assert torch.allclose(result[name], wanted.repeat(128, 128).expand_as(result[name]), atol=1e-6)


def test_every_weight_learns() -> None:
    for name, net in unet.build(unet.small()).items():
        for tensor in net.state_dict().values():
            tensor.add_(0.02 * torch.randn(tensor.shape))
        inputs = {t.name: torch.rand(2, *t.shape) for t in unet.small().stage(name).inputs}
        sum((value.square().mean() for value in net(**inputs).values()), torch.zeros(())).backward()
        still = [key for key, p in net.named_parameters() if p.grad is None or not p.grad.any()]
        assert not still


def test_paper_layers_on_every_backend() -> None:
    """The paper's layers at an eighth of its widths: exported, equal in f32."""
    spec = replace(unet.paper(), args={name: [n // 8 for n in widths] for name, widths in unet.paper().args.items()})
    modules = unet.build(spec)
    plan: Plan = build.plan_of(spec, modules, "fp32")
    runners = {name: backends.load(name, plan, "cpu") for name in ("openvino", "eager")}
    for stage in spec.stages:
        inputs = {t.name: np.random.default_rng(0).random((1, *t.shape), np.float32) for t in stage.inputs}
        fast, slow = (runners[name][stage.name](inputs) for name in ("openvino", "eager"))
        for key in slow:
            np.testing.assert_allclose(fast[key], slow[key], atol=1e-4)
    assert not fast["flow"].any() and (fast["mask"] == 1).all() and fast["color"].std() > 0
