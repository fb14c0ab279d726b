"""`unet`: landmark fusion and a U-Net. A re-implementation, our reading, of

    Fan, Jiang, Lan, Lan: "Facial Expression Transfer Based on Conditional Generative Adversarial Networks",
    IEEE Access 11:82276, 2023.

The abstract states: *feature point fusion*, an auto-encoder that takes the landmark image of the source's expression
and that of the target's face and gives the landmark image of the target's face with the source's expression; then
*expression transfer*, a modified U-Net that takes that image and the target's photo and gives the result; a
conditional GAN, trained once for any pair, compared with pix2pix.

Ours is all else. `paper`: two unshared 4x4 encoders and a decoder for the fusion; pix2pix's U-Net-256 (Isola et al.,
CVPR 2017) with instance norms for the transfer, its head plain RGB, said in the house's terms: flow 0, mask 1.
`small`: the fusion works on landmark coordinates, as FReeNet's (Zhang et al., CVPR 2020) does: a linear basis in the
target's pose, and a learned correction to it. The U-Net reads what the landmarks alone achieve (the first flow and the
crop warped by it) and gives a correction of the flow, a mask and a colour, so that the target's own pixels survive;
it upsamples by repetition and convolves 3x3, which leaves no checkerboard.
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from fetfast.models.layers import HeadF32, InstanceNorm, upsample
from fetfast.spec import LANDMARKS, Spec, Stage, TensorSpec

E = 52
FLOW_SCALE = 16.0  # crop sides are tiny numbers: what goes in and out of the U-Net is in sixteenths of the crop
MASK_BIAS = -3.5  # a new net leaves the warped target alone; at -2 it starts below it


def _spec(size: str, S: int, stages: tuple[Stage, ...], args: dict[str, object]) -> Spec:
    paste = {"flow": "flow", "mask": "mask", "color": "color"}
    return Spec("unet", size, S, stages, ("transfer",), paste, args)


def _image(name: str, channels: int, S: int) -> TensorSpec:
    return TensorSpec(name, (channels, S, S))


def _head(S: int) -> tuple[TensorSpec, ...]:
    return _image("flow", 2, S), _image("mask", 1, S), _image("color", 3, S)


def paper(S: int = 256) -> Spec:
    fuse = Stage("fuse", (_image("source_map", 1, S), _image("target_map", 1, S)), (_image("driven_map", 1, S),))
    unet = Stage("unet", (_image("target", 3, S), _image("driven_map", 1, S)), _head(S))
    args = {"fuse": [32, 64, 128, 256, 256], "unet": [64, 128, 256, 512, 512, 512, 512, 512]}
    return _spec("paper", S, (fuse, unet), args)


def small(S: int = 256) -> Spec:
    points = TensorSpec("target_points", (LANDMARKS, 2))
    fuse = Stage(
        "fuse",
        (TensorSpec("source_blendshapes", (E,)), TensorSpec("target_blendshapes", (E,)), points),
        (TensorSpec("fused_points", (LANDMARKS, 2)),),
        precise=True,
    )
    inputs = (
        _image("target", 3, S), _image("warped", 3, S), _image("target_map", 1, S), _image("driven_map", 1, S),
        _image("first_flow", 2, S),
    )  # fmt: skip
    args = {"fuse": 64, "unet": [16, 32, 64, 96, 128]}
    return _spec("small", S, (fuse, Stage("unet", inputs, _head(S))), args)


SPECS = {"paper": paper(), "small": small()}


def build(spec: Spec) -> dict[str, nn.Module]:
    if spec.size == "paper":
        return {"fuse": MapFuse(spec.args["fuse"]), "unet": Pix2Pix(spec.args["unet"])}
    return {"fuse": PointFuse(spec.args["fuse"]), "unet": WarpUNet(spec.args["unet"])}


class PointFuse(nn.Module):
    """The target's landmarks with the source's expression.

    fused = target + ((source - target) @ basis + correction) @ pose: the basis and the correction live in the
    morphable model's frame; pose [3, 2], the least squares fit of its neutral face to the target's points, carries
    them into the crop. The correction is a small net on both expressions and on what the fit leaves of the target's
    points. It starts at 0.
    """

    def __init__(self, hidden: int):
        super().__init__()
        self.neutral = nn.Parameter(torch.zeros(LANDMARKS, 3), requires_grad=False)  # the model's landmarks, centred
        self.fit = nn.Parameter(torch.zeros(3, LANDMARKS), requires_grad=False)  # pseudo-inverse of `neutral`
        self.basis = nn.Parameter(torch.zeros(E, LANDMARKS * 3))
        self.read = nn.Linear(2 * E + LANDMARKS * 2, hidden)
        self.write = nn.Linear(hidden, LANDMARKS * 3)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)

    def forward(
        self, source_blendshapes: Tensor, target_blendshapes: Tensor, target_points: Tensor
    ) -> dict[str, Tensor]:
        pose = self.fit @ target_points  # [B, 3, 2]; centred rows of `fit` make it blind to where the face is
        rest = target_points - target_points.mean(1, keepdim=True) - self.neutral @ pose
        seen = torch.cat((source_blendshapes, target_blendshapes, FLOW_SCALE * rest.flatten(1)), 1)
        moved = (source_blendshapes - target_blendshapes) @ self.basis + self.write(F.leaky_relu(self.read(seen), 0.2))
        return {"fused_points": target_points + moved.unflatten(1, (LANDMARKS, 3)) @ pose}


class Block(nn.Module):
    """Convolution, instance norm, LeakyReLU."""

    def __init__(self, channels: int, out: int, kernel: int = 3, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, 1, bias=False)
        self.norm = InstanceNorm(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), 0.2)


class WarpUNet(nn.Module):
    """What the landmarks' warp leaves to do: a correction of its flow, a mask, and colours where no pixel moves to."""

    def __init__(self, widths: list[int]):  # channels at S/2, S/4, ...
        super().__init__()
        self.down = nn.ModuleList(Block(a, b, 4, 2) for a, b in zip([10, *widths], widths, strict=False))
        ups = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(Block(a + b, b) for a, b in ups)
        self.last = nn.Conv2d(widths[0] + 10, 16, 3, 1, 1)
        self.head = HeadF32(16, 6, 3, 1, 1)
        nn.init.zeros_(self.head.weight[:2])
        nn.init.zeros_(self.head.bias)
        nn.init.constant_(self.head.bias[2:3], MASK_BIAS)

    def forward(
        self, target: Tensor, warped: Tensor, target_map: Tensor, driven_map: Tensor, first_flow: Tensor
    ) -> dict[str, Tensor]:
        x = torch.cat((target, warped, target_map, driven_map, FLOW_SCALE * first_flow), 1)
        x = x.to(self.last.weight.dtype)
        skips = [x]
        for block in self.down:
            x = block(x)
            skips.append(x)
        skips.pop()
        for block in self.up:
            x = block(torch.cat((upsample(x), skips.pop()), 1))
        x = F.leaky_relu(self.last(torch.cat((upsample(x), skips.pop()), 1)), 0.2)
        offset, mask, color = self.head(x).split((2, 1, 3), 1)
        return {"flow": first_flow + offset / FLOW_SCALE, "mask": mask.sigmoid(), "color": color.tanh()}


class MapFuse(nn.Module):
    """Two landmark images [B, 1, S, S] in 0 ... 1 to a third: an encoder for each, one decoder for both."""

    def __init__(self, widths: list[int]):
        super().__init__()
        self.source = self._encoder(widths)
        self.target = self._encoder(widths)
        layers: list[nn.Module] = []
        for a, b in zip([2 * widths[-1], *widths[-2::-1]], widths[-2::-1], strict=False):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), InstanceNorm(b), nn.ReLU()]
        self.decoder = nn.Sequential(*layers, nn.ConvTranspose2d(widths[0], 1, 4, 2, 1), nn.Tanh())

    @staticmethod
    def _encoder(widths: list[int]) -> nn.Sequential:
        return nn.Sequential(*(Block(a, b, 4, 2) for a, b in zip([1, *widths], widths, strict=False)))

    def forward(self, source_map: Tensor, target_map: Tensor) -> dict[str, Tensor]:
        dtype = self.decoder[0].weight.dtype
        codes = self.source(source_map.to(dtype)), self.target(target_map.to(dtype))
        return {"driven_map": self.decoder(torch.cat(codes, 1)).float()}


class Pix2Pix(nn.Module):
    """U-Net-256: 4x4 convolutions by stride 2 down to one pixel, transposed ones back, skips by concatenation."""

    def __init__(self, widths: list[int]):
        super().__init__()
        n = len(widths)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 4, 2, 1, bias=False) for a, b in zip([4, *widths], widths, strict=False)
        )
        self.down_norm = nn.ModuleList(InstanceNorm(b) for b in widths[1:-1])  # none on the first and the innermost
        outs = [*widths[-2::-1], 3]
        ins = [widths[-1], *(2 * b for b in widths[-2::-1])]
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, 2, 1, bias=i == n - 1) for i, (a, b) in enumerate(zip(ins, outs, strict=True))
        )
        self.up_norm = nn.ModuleList(InstanceNorm(b) for b in outs[:-1])

    def forward(self, target: Tensor, driven_map: Tensor) -> dict[str, Tensor]:
        x = torch.cat((target, driven_map), 1).to(self.down[0].weight.dtype)
        x = self.down[0](x)
        skips = [x]
        for i, conv in enumerate(self.down[1:]):
            x = conv(F.leaky_relu(x, 0.2))
            if i < len(self.down_norm):
                x = self.down_norm[i](x)
                skips.append(x)
        for conv, norm in zip(self.up, self.up_norm, strict=False):
            x = torch.cat((skips.pop(), norm(conv(F.relu(x)))), 1)
        color = self.up[-1](F.relu(x)).float().tanh()
        return {"flow": 0 * color[:, :2], "mask": 0 * color[:, :1] + 1, "color": color}
