"""A throw-away family: two pictures in, both redrawn under a mask, for the task `swap` and for `transfer`."""

import torch
import torch.nn as nn
from torch import Tensor

from fetfast.models.layers import InstanceNorm
from fetfast.spec import Output, Spec, Stage, Task, TensorSpec

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
