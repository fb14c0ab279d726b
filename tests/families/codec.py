"""A throw-away family: two encoders and a decoder, for `encode`, `decode`, `transfer` and `edit` by labels."""

import torch
import torch.nn as nn
from torch import Tensor

from fetfast.spec import Output, Spec, Stage, Task, TensorSpec
from fetfast.train import batches
from fetfast.train.losses import adversarial
from fetfast.train.recipe import Batch, Networks, Recipe, Terms, Update, outputs

S, N = 32, 6
CODES = {"identity": "identity_code", "expression": "driver_code"}
PICTURE = Output("target", {"image": "image"})


def code(name: str) -> TensorSpec:
    return TensorSpec(name, (N,))


SPECS = {
    "small": Spec(
        family="codec",
        size="small",
        resolution=S,
        stages=(
            Stage("identity", (TensorSpec("target", (3, S, S)),), (code("identity_code"),)),
            Stage("expression", (TensorSpec("source", (3, S, S)),), (code("driver_code"),)),
            Stage("change", (code("driver_code"), TensorSpec("wanted_labels", (2,))), (code("changed_code"),)),
            Stage("decoder", (code("kept_code"), code("wanted_code")), (TensorSpec("image", (3, S, S)),)),
        ),
        tasks={
            "transfer": Task((PICTURE,), {"kept_code": "identity_code", "wanted_code": "driver_code"}),
            "edit": Task((PICTURE,), {"kept_code": "identity_code", "wanted_code": "changed_code"}),
            "encode": Task((Output("codes", CODES),)),
            "decode": Task(
                (Output("image", {"image": "image"}),), {"kept_code": "identity", "wanted_code": "expression"}
            ),
        },
        labels=("happy", "sad"),
    )
}


class Encoder(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.net = name, nn.Sequential(nn.Conv2d(3, N, 4, 4), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten())

    def encode(self, picture: Tensor) -> dict[str, Tensor]:
        return {self.name: self.net(picture.to(next(self.parameters()).dtype)).float()}


class Identity(Encoder):
    def forward(self, target: Tensor) -> dict[str, Tensor]:
        return self.encode(target)


class Expression(Encoder):
    def forward(self, source: Tensor) -> dict[str, Tensor]:
        return self.encode(source)


class Change(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.directions = nn.Linear(2, N, bias=False)

    def forward(self, driver_code: Tensor, wanted_labels: Tensor) -> dict[str, Tensor]:
        moved = self.directions(wanted_labels.to(self.directions.weight.dtype)).float()
        return {"changed_code": driver_code + moved}


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2 * N, 8 * 16), nn.ConvTranspose2d(8, 3, 8, 8)

    def forward(self, kept_code: Tensor, wanted_code: Tensor) -> dict[str, Tensor]:
        x = torch.cat((kept_code, wanted_code), 1).to(self.first.weight.dtype)
        return {"image": self.last(self.first(x).relu().unflatten(1, (8, 4, 4))).float().tanh()}


def build(spec: Spec) -> dict[str, nn.Module]:
    return {
        "identity": Identity("identity_code"), "expression": Expression("driver_code"), "change": Change(),
        "decoder": Decoder(),
    }  # fmt: skip


def loss(networks: Networks, spec: Spec, batch: Batch) -> tuple[Terms, Batch]:
    codes = outputs(networks, spec, "identity", batch) | outputs(
        networks, spec, "expression", {"source": batch["truth"]}
    )
    given = {"kept_code": codes["identity_code"], "wanted_code": codes["driver_code"]}
    drawn = outputs(networks, spec, "decoder", given)["image"]
    terms = {"l1": (drawn - batch["truth"]).abs().mean()}
    if "discriminator" in networks:
        terms["adversarial"] = adversarial.non_saturating_generator(networks["discriminator"](drawn))
    return terms, {"drawn": drawn}


def tell(networks: Networks, spec: Spec, batch: Batch) -> tuple[Terms, Batch]:
    real, fake = (networks["discriminator"](batch[name]) for name in ("truth", "drawn"))
    return {"discriminator": adversarial.non_saturating_discriminator(real, fake)}, {}


def figures(networks: Networks, spec: Spec, batch: Batch) -> dict[str, Tensor]:
    return {"code": outputs(networks, spec, "identity", batch)["identity_code"].square().mean(1)}


CODES_RECIPE = Recipe(
    "codes", ("identity", "expression", "decoder"), batches.pictures, count=2, steps=6, measure=figures,
    updates=(
        Update({"identity": 1e-2, "expression": 1e-2, "decoder": 2e-2}, loss, {"l1": 1, "adversarial": 0.1}),
        Update({"discriminator": 1e-2}, tell, {"discriminator": 1}),
    ),
    helpers={"discriminator": lambda: nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 8))},
)  # fmt: skip
RECIPES = {"small": (CODES_RECIPE,)}
