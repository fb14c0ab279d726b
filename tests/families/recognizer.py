"""A throw-away family: labels from a network with batch norm that sees the face at 224, and one that sees it at 64."""

import torch
import torch.nn as nn
from torch import Tensor

from fetfast.models.layers import BatchNorm
from fetfast.spec import Output, Spec, Stage, Task, TensorSpec
from fetfast.train import batches
from fetfast.train.recipe import Batch, Networks, Recipe, Terms, Update, outputs

SPECS = {
    "small": Spec(
        family="recognizer",
        size="small",
        resolution=64,
        stages=(
            Stage("coarse", (TensorSpec("target", (3, 64, 64)),), (TensorSpec("features", (4,)),)),
            Stage(
                "net",
                (TensorSpec("target", (3, 224, 224)), TensorSpec("features", (4,))),
                (TensorSpec("probabilities", (3,)),),
            ),
        ),
        tasks={"recognize": Task((Output("labels", {"probabilities": "probabilities"}),))},
        labels=("calm", "happy", "sad"),
    )
}


class Trunk(nn.Module):
    def __init__(self, out: int) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 8, 7, 4, 3), BatchNorm(8), nn.Linear(8, out)

    def features(self, picture: Tensor) -> Tensor:
        x = self.norm(self.conv(picture.to(self.conv.weight.dtype))).relu()
        return self.last(x.mean((2, 3)))


class Coarse(Trunk):
    def forward(self, target: Tensor) -> dict[str, Tensor]:
        return {"features": self.features(target).float()}


class Net(Trunk):
    def __init__(self) -> None:
        super().__init__(4)
        self.sure = nn.Linear(8, 3)

    def forward(self, target: Tensor, features: Tensor) -> dict[str, Tensor]:
        both = torch.cat((self.features(target), features.to(self.sure.weight.dtype)), 1)
        return {"probabilities": self.sure(both).float().softmax(1)}


def build(spec: Spec) -> dict[str, nn.Module]:
    return {"coarse": Coarse(4), "net": Net()}


def labelled(pairs, rows, size, rng) -> Batch:
    """Pictures at both sizes, and who is on them for a label."""
    large, small = (batches.pictures(pairs, rows, side, None)["target"] for side in (224, 64))
    return {"large": large, "target": small, "label": torch.from_numpy(pairs.arrays["person"][rows].astype("i8"))}


def loss(networks: Networks, spec: Spec, batch: Batch) -> tuple[Terms, Batch]:
    features = outputs(networks, spec, "coarse", batch)
    found = outputs(networks, spec, "net", features | {"target": batch["large"]})["probabilities"]
    return {"entropy": nn.functional.nll_loss(found.log(), batch["label"])}, {}


def figures(networks: Networks, spec: Spec, batch: Batch) -> dict[str, Tensor]:
    features = outputs(networks, spec, "coarse", batch)
    found = outputs(networks, spec, "net", features | {"target": batch["large"]})["probabilities"]
    return {"right": (found.argmax(1) == batch["label"]).float()}


BOTH = Recipe("both", ("coarse", "net"), labelled, count=4, steps=6, measure=figures,
              updates=(Update({"coarse": 1e-2, "net": 1e-2}, loss, {"entropy": 1}),))  # fmt: skip
RECIPES = {"small": (BOTH,)}
