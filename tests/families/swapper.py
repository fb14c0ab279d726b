"""A throw-away family: two pictures in, both redrawn under a mask, for the task `swap` and for `transfer`."""

import torch
import torch.nn as nn
from torch import Tensor

from fetfast.models.layers import InstanceNorm
from fetfast.spec import Output, Spec, Stage, Task, TensorSpec
from fetfast.train import batches
from fetfast.train.recipe import Batch, Networks, Recipe, Terms, Update, outputs

S = 64
SPECS = {
    "small": Spec(
        family="swapper",
        size="small",
        resolution=S,
        stages=(
            Stage(
                "net",
                (TensorSpec("source", (3, S, S)), TensorSpec("target", (3, S, S))),
                tuple(
                    TensorSpec(f"{who}_{part}", (n, S, S))
                    for who in ("driver", "target")
                    for part, n in (("image", 3), ("mask", 1))
                ),
            ),
        ),
        tasks={
            "swap": Task(
                tuple(Output(who, {"image": f"{who}_image", "mask": f"{who}_mask"}) for who in ("driver", "target"))
            ),
            "transfer": Task((Output("target", {"image": "target_image"}),)),
        },
    )
}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(6, 8, 3, 1, 1, bias=False), InstanceNorm(8), nn.PReLU(8)
        self.head = nn.Conv2d(8, 4, 3, 1, 1)

    def forward(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        out = {}
        for who, pair in (("driver", (source, target)), ("target", (target, source))):
            x = self.act(self.norm(self.conv(torch.cat(pair, 1).to(self.conv.weight.dtype))))
            image, mask = self.head(x).float().split((3, 1), 1)
            out |= {f"{who}_image": image.tanh(), f"{who}_mask": mask.sigmoid()}
        return out


def build(spec: Spec) -> dict[str, nn.Module]:
    return {"net": Net()}


def pairs_of_pictures(pairs, rows, size, rng) -> Batch:
    """Both pictures of a pair: each is what the other should become."""
    made = batches.pictures(pairs, rows, size, rng)
    return {"target": made["target"], "source": made["truth"]}


def loss(networks: Networks, spec: Spec, batch: Batch) -> tuple[Terms, Batch]:
    out = outputs(networks, spec, "net", batch)
    far = (out["target_image"] - batch["source"]).abs().mean() + (out["driver_image"] - batch["target"]).abs().mean()
    return {"l1": far, "closed": (out["target_mask"] + out["driver_mask"]).mean()}, {}


def figures(networks: Networks, spec: Spec, batch: Batch) -> dict[str, Tensor]:
    return {"l1": (outputs(networks, spec, "net", batch)["target_image"] - batch["source"]).abs().mean((1, 2, 3))}


SWAP = Recipe("swap", ("net",), pairs_of_pictures, count=2, steps=6, measure=figures,
              updates=(Update({"net": 1e-2}, loss, {"l1": 1, "closed": 0.1}),))  # fmt: skip
RECIPES = {"small": (SWAP,)}
