"""Every family's networks, few layers and small maps, through the fused ops: equal to eager."""

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from tolerance import ROUNDING, error
from torch import nn

from fetfast.backends.fuse import Network
from fetfast.models import FAMILIES, family
from fetfast.models.layers import HeadF32, cast
from fetfast.spec import Stage, TensorSpec

SIDE = 8
FEW = {"fuse": [16, 20], "unet": [16, 20, 24], "down": [16, 20], "up": [24, 16]}  # layers


def short(spec):
    """The spec with few layers: lists of widths are replaced, other arguments stay."""
    return replace(spec, args={key: FEW[key] if isinstance(arg, list) else arg for key, arg in spec.args.items()})


def shrunk(stage, resolution):
    """The stage with pictures of SIDE instead of that resolution."""

    def smaller(tensor):
        channels, *sides = tensor.shape
        return replace(tensor, shape=(channels, *(SIDE * n // resolution for n in sides))) if sides[1:] else tensor

    return replace(stage, inputs=tuple(map(smaller, stage.inputs)), outputs=tuple(map(smaller, stage.outputs)))


def stages():
    for name in FAMILIES:
        for size, spec in family(name).SPECS.items():
            spec = short(spec)
            for stage in spec.stages:
                yield pytest.param(name, spec, shrunk(stage, spec.resolution), id=f"{name}-{size}-{stage.name}")


def random_inputs(stage, batch, device, dtype=torch.float32):
    generator = torch.Generator().manual_seed(batch)
    return {t.name: torch.randn(batch, *t.shape, generator=generator, dtype=dtype).to(device) / 2 for t in stage.inputs}


def scrambled(module):
    """Weights as a trained network has them: no zeros, no ones."""
    generator = torch.Generator().manual_seed(3)
    for tensor in module.state_dict().values():
        spread = tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.3
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread + (tensor.ndim == 1))
    return module.eval()


def assert_network(module, stage, precision, device):
    """Ours at `precision` against the plain module in f64, by the rule for kernels."""
    plain = cast(deepcopy(module), torch.float32 if stage.precise else precision).to(device)
    exact = deepcopy(plain).double()
    network = Network(plain, stage)
    for batch in (2,) if precision == torch.float32 else (1, 2):
        inputs = random_inputs(stage, batch, device)
        with torch.no_grad():
            got, eager = network(**inputs), plain(**inputs)
            wanted = in_f64(exact, inputs)
        assert list(got) == [t.name for t in stage.outputs]
        for tensor in stage.outputs:
            assert got[tensor.name].dtype == torch.float32 and got[tensor.name].shape == (batch, *tensor.shape)
            allowed = max(2 * error(eager[tensor.name], wanted[tensor.name]), 16 * ROUNDING[torch.float32])
            assert error(got[tensor.name], wanted[tensor.name]) <= allowed, tensor.name


def in_f64(module, inputs):
    """`module` in f64, whatever casts to f32 it makes."""
    with patch.object(torch.Tensor, "float", torch.Tensor.double):
        return module(**{name: x.double() for name, x in inputs.items()})


@pytest.mark.parametrize("precision", [torch.float16, torch.float32], ids=["f16", "f32"])
@pytest.mark.parametrize("name, spec, stage", list(stages()))
def test_every_family(name, spec, stage, precision, device):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = scrambled(family(name).build(spec)[stage.name])
    assert_network(module, stage, precision, device)


class Anything(nn.Module):
    """What the fused ops cannot do, between what they can."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 1, 1)
        self.grouped = nn.Conv2d(16, 16, 3, 1, 1, groups=4)
        self.norm = nn.InstanceNorm2d(16)
        self.batch_norm = nn.BatchNorm2d(16)
        self.prelu = nn.PReLU(16)
        self.unpadded = nn.Conv2d(16, 16, 3)
        self.last = nn.Conv2d(48, 2, 1)
        self.linear = nn.Linear(2, 3)

    def forward(self, image):
        x = self.norm(self.first(image)).relu()
        skip = nn.functional.leaky_relu(nn.functional.leaky_relu(self.norm(self.first(image)), 0.5), 0.3)
        x = self.prelu(self.batch_norm(self.grouped(x)))
        x = nn.functional.pad(self.unpadded(x), (1, 1, 1, 1), mode="reflect")
        x = nn.functional.avg_pool2d(nn.functional.leaky_relu(self.norm(x) + skip, 0.1), 2)
        x = nn.functional.interpolate(self.norm(x), scale_factor=2.0, mode="bilinear")
        x = torch.cat((x.relu(), skip, self.norm(self.first(image))), 1)
        x = self.last(x)
        return {"code": self.linear(x.mean((2, 3))), "map": x}


def test_what_cannot_be_fused_runs_as_it_is(device):
    outputs = TensorSpec("code", (3,)), TensorSpec("map", (2, 8, 8))
    stage = Stage("any", (TensorSpec("image", (3, 8, 8)),), outputs)
    assert_network(scrambled(Anything()), stage, torch.float32, device)


class Mixed(nn.Module):
    """Halves, then f32, then halves again."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(32, 4, 3, 1, 1)
        self.middle, self.narrow = HeadF32(16, 16, 3, 1, 1), nn.Conv2d(16, 16, 1)

    def forward(self, image):
        x = self.first(image.to(self.first.weight.dtype))
        y = nn.functional.leaky_relu(self.middle(x), 0.2)
        return {"map": self.last(torch.cat((self.narrow(y.to(x.dtype)), y.to(x.dtype)), 1)).float()}


def test_precisions_mix(device):
    stage = Stage("any", (TensorSpec("image", (3, 8, 8)),), (TensorSpec("map", (4, 8, 8)),))
    assert_network(scrambled(Mixed()), stage, torch.float16, device)


class Computed(nn.Module):
    """Weights that the graph computes: of the parameters alone, of an input, and one tensor after another's place."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1)

    def forward(self, image, style):
        weight = self.first.weight
        x = nn.functional.conv2d(image, weight - weight.mean((1, 2, 3), keepdim=True), self.first.bias, padding=1)
        for i in range(3):
            x = nn.functional.conv2d(x, self.second.weight * style[:, i].mean(), padding=1)
        return {"map": x}


def test_weights_may_be_computed(device):
    stage = Stage("any", (TensorSpec("image", (3, 8, 8)), TensorSpec("style", (3,))), (TensorSpec("map", (16, 8, 8)),))
    module = scrambled(Computed()).to(device)
    network, exact = Network(module, stage), deepcopy(module).double()
    for batch in (1, 2, 1):  # a second call finds what a first one has kept
        inputs = random_inputs(stage, batch, device)
        inputs["style"] += batch
        wanted = exact(**{name: x.double() for name, x in inputs.items()})["map"]
        assert error(network(**inputs)["map"], wanted) < 1e-5


class TwoNorms(nn.Module):
    """Two norms of one convolution's result, and one whose weights come late."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, 1, 1)
        self.one, self.other = nn.InstanceNorm2d(16, affine=True), nn.InstanceNorm2d(16, affine=True, eps=0.5)

    def forward(self, image):
        x = self.conv(image)
        late = nn.functional.instance_norm(x, weight=x.mean((0, 2, 3)), bias=x.amax((0, 2, 3)))
        return {"map": self.one(x).relu() + 2 * self.other(x).relu() + late}


def test_each_norm_has_its_own_weights(device):
    outputs = (TensorSpec("map", (16, 8, 8)),)
    stage = Stage("any", (TensorSpec("image", (3, 8, 8)),), outputs)
    assert_network(scrambled(TwoNorms()), stage, torch.float32, device)


def test_a_unet_writes_no_image_that_is_only_read_by_convolutions(device, monkeypatch):
    from fetfast.backends import fuse

    spec = short(family("unet").SPECS["paper"])
    stage = shrunk(spec.stage("unet"), spec.resolution)
    network = Network(cast(family("unet").build(spec)["unet"].eval(), torch.float16).to(device), stage)
    monkeypatch.setattr(fuse, "upcat", lambda *parts: pytest.fail("an image was written"))
    monkeypatch.setattr(fuse, "statistics", lambda *parts: pytest.fail("statistics were read off a written image"))
    assert network(**random_inputs(stage, 1, device))["color"].isfinite().all()


def test_networks_are_traced_in_two_threads(device):
    stage = Stage("any", (TensorSpec("x", (4,)),), (TensorSpec("y", (3,)),))

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            return {"y": self.layer(x)}

    modules = [Named().eval().to(device) for _ in range(4)]
    with ThreadPoolExecutor(2) as pool:
        networks = list(pool.map(lambda module: Network(module, stage), modules))
    inputs = random_inputs(stage, 3, device)
    for network, module in zip(networks, modules, strict=True):
        assert torch.equal(network(**inputs)["y"], module(**inputs)["y"])
