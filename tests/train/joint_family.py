"""A family for tests, in one file: two stages trained together, with all that a checkpoint can lose.

`encode` has a batch norm and a dropout; `decode` draws its code anew. Two helpers learn beside them and do not ship: a
discriminator of pictures, and one that reads a code and is told apart from noise.
"""

from __future__ import annotations

import torch
import torch.nn as nn
from torch import Tensor

from fetfast.models.layers import BatchNorm
from fetfast.spec import Output, Spec, Stage, Task, TensorSpec
from fetfast.train import batches
from fetfast.train.losses import adversarial
from fetfast.train.recipe import Batch, Networks, Recipe, Terms, Update, outputs

S, CODE = 32, 8

SPECS = {
    "small": Spec(
        family="joint", size="small", resolution=S,
        stages=(
            Stage("encode", (TensorSpec("target", (3, S, S)),), (TensorSpec("code", (CODE,)),)),
            Stage("decode", (TensorSpec("code", (CODE,)),), (TensorSpec("drawn", (3, S, S)),)),
        ),
        tasks={"encode": Task((Output("codes", {"code": "code"}),))},
    )
}  # fmt: skip


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 4, 4, bias=False), BatchNorm(8)
        self.drop, self.code = nn.Dropout(0.3), nn.Linear(8, CODE)

    def forward(self, target: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.norm(self.conv(target.to(self.conv.weight.dtype))))
        return {"code": self.code(self.drop(x.mean((2, 3)))).float()}


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.up = nn.Linear(CODE, 8 * 8 * 8), nn.ConvTranspose2d(8, 3, 4, 4)

    def forward(self, code: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.first(code.to(self.first.weight.dtype))).unflatten(1, (8, 8, 8))
        return {"drawn": self.up(x).float().tanh()}


def build(spec: Spec) -> dict[str, nn.Module]:
    return {"encode": Encoder(), "decode": Decoder()}


def generate(networks: Networks, spec: Spec, batch: Batch) -> tuple[Terms, Batch]:
    code = outputs(networks, spec, "encode", batch)["code"]
    drawn = outputs(networks, spec, "decode", {"code": code})["drawn"]
    terms = {"l1": (drawn - batch["target"]).abs().mean()}
    if "pictures" in networks:
        terms["real"] = adversarial.non_saturating_generator(networks["pictures"](drawn))
    if "codes" in networks:
        terms["noise"] = adversarial.hinge_generator(networks["codes"](code))
    return terms, {"drawn": drawn, "code": code}


def tell_pictures(networks: Networks, spec: Spec, batch: Batch) -> tuple[Terms, Batch]:
    real, fake = (networks["pictures"](batch[name]) for name in ("target", "drawn"))
    penalty = adversarial.r1(networks["pictures"], batch["target"])
    return {"pictures": adversarial.non_saturating_discriminator(real, fake), "r1": penalty}, {}


def tell_codes(networks: Networks, spec: Spec, batch: Batch) -> tuple[Terms, Batch]:
    noise = torch.randn_like(batch["code"])
    real, fake = (networks["codes"](code) for code in (noise, batch["code"]))
    return {"codes": adversarial.hinge_discriminator(real, fake)}, {}


def figures(networks: Networks, spec: Spec, batch: Batch) -> dict[str, Tensor]:
    drawn = outputs(networks, spec, "decode", outputs(networks, spec, "encode", batch))["drawn"]
    return {"l1": (drawn - batch["target"]).abs().mean((1, 2, 3))}


JOINT = Recipe(
    "both", ("encode", "decode"), batches.pictures, count=4, steps=6, measure=figures,
    updates=(
        Update({"encode": 2e-3, "decode": 5e-3}, generate, {"l1": 10, "real": 1, "noise": 0.5}, weight_decay=1e-3),
        Update({"pictures": 1e-3}, tell_pictures, {"pictures": 1, "r1": 5}, betas=(0.0, 0.99), after=0.2),
        Update({"codes": 4e-3}, tell_codes, {"codes": 1}, betas=(0.5, 0.9), after=0.4),
    ),
    helpers={
        "pictures": lambda: nn.Sequential(
            nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 8)
        ),
        "codes": lambda: nn.Sequential(nn.Linear(CODE, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1)),
    },
)  # fmt: skip
RECIPES = {"small": (JOINT,)}
