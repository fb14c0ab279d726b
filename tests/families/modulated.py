"""A throw-away family: a plain RGB generator whose weights the driver's expression modulates, as StyleGAN2's are.

y = d * conv(s * x, w)      d = 1 / sqrt(sum over inputs and taps of (w s)^2 + 1e-8)
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from fetfast.models.layers import upsample
from fetfast.spec import BLENDSHAPES, Output, Spec, Stage, Task, TensorSpec
from fetfast.train import batches
from fetfast.train.recipe import Batch, Networks, Recipe, Terms, Update, outputs

S = 64
SPECS = {
    "small": Spec(
        family="modulated",
        size="small",
        resolution=S,
        stages=(
            Stage(
                "net",
                (TensorSpec("target", (3, S, S)), TensorSpec("source_blendshapes", (len(BLENDSHAPES),))),
                (TensorSpec("image", (3, S, S)),),
            ),
        ),
        tasks={"transfer": Task((Output("target", {"image": "image"}),))},
    )
}


class Modulated(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, channels, 3, 3) / 3)
        self.style = nn.Linear(len(BLENDSHAPES), channels)

    def forward(self, x: Tensor, expression: Tensor) -> Tensor:
        s = 1 + self.style(expression.to(self.style.weight.dtype)).float()
        squares = (self.weight.float() * self.weight.float()).sum((2, 3))
        d = (s * s @ squares.T + 1e-8).rsqrt()
        x = F.conv2d(x * s[:, :, None, None].to(x.dtype), self.weight, padding=1)
        return x * d[:, :, None, None].to(x.dtype)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 4, 2, 1)
        self.middle, self.last = Modulated(8, 8), Modulated(8, 3)

    def forward(self, target: Tensor, source_blendshapes: Tensor) -> dict[str, Tensor]:
        x = F.leaky_relu(self.down(target.to(self.down.weight.dtype)), 0.2)
        x = F.leaky_relu(self.middle(x, source_blendshapes), 0.2)
        return {"image": self.last(upsample(x), source_blendshapes).float().tanh()}


def build(spec: Spec) -> dict[str, nn.Module]:
    return {"net": Net()}


def driven(pairs, rows, size, rng) -> Batch:
    """The target, what drives it, and what it should become."""
    made = batches.pictures(pairs, rows, size, rng)
    expression = torch.from_numpy(pairs.arrays["source_blendshapes"][rows])
    return {"target": made["target"], "truth": made["truth"], "source_blendshapes": expression}


def loss(networks: Networks, spec: Spec, batch: Batch) -> tuple[Terms, Batch]:
    return {"l1": (outputs(networks, spec, "net", batch)["image"] - batch["truth"]).abs().mean()}, {}


def figures(networks: Networks, spec: Spec, batch: Batch) -> dict[str, Tensor]:
    return {"l1": (outputs(networks, spec, "net", batch)["image"] - batch["truth"]).abs().mean((1, 2, 3))}


PICTURE = Recipe("picture", ("net",), driven, count=2, steps=6, measure=figures,
                 updates=(Update({"net": 1e-2}, loss, {"l1": 1}),))  # fmt: skip
RECIPES = {"small": (PICTURE,)}
