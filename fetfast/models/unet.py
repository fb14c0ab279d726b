"""`unet`: landmark fusion and a U-Net. A re-implementation, our reading, of

    Fan, Jiang, Lan, Lan 2023, IEEE Access 11:82276 (facial expression transfer by a conditional GAN).

The abstract states: *feature point fusion*, an auto-encoder that takes the landmark image of the source's expression
and that of the target's face and gives the landmark image of the target's face with the source's expression; then
*expression transfer*, a modified U-Net that takes that image and the target's photo and gives the result; a
conditional GAN, trained once for any pair, compared with pix2pix.

All else is our choice. `paper`: two unshared encoders of 4x4 convolutions and a decoder for the fusion; pix2pix's
U-Net-256 (Isola et al., CVPR 2017) with instance norms for the transfer, its head plain RGB, which in the house's
terms is flow 0 and mask 1.
`small`: the fusion works on landmark coordinates, as FReeNet's (Zhang et al., CVPR 2020) does: `retarget.py`. The U-Net
reads what the landmarks alone achieve (the first flow, and the crop warped by it) and gives a correction of the flow, a
light, a mask and a colour, so that the target's own pixels survive: light folds and unfolds skin, colour paints what no
pixel shows. It upsamples by repetition and convolves 3x3, which leaves no checkerboard. What it paints is twice as fine
as what it works on: mask and lightness by sub-pixels (Shi et al., CVPR 2016), hue between pixels, as video has it,
because a tooth is only three pixels wide at S = 128.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from fetfast.models.layers import HeadF32, InstanceNorm, upsample
from fetfast.models.retarget import RETARGET, Retarget
from fetfast.spec import Output, Spec, Stage, Task, TensorSpec

STILL = 1 / 1000  # crop sides: motions are told apart by their pattern, but no less than this is one
MASK_BIAS = -3.5  # a new net leaves the warped target alone; from -2 it starts below it
WIDER = (32, 8)  # parts of the side over which motion is averaged too: it reaches farther than a face's edge
HEAD = [2, 1, 3, 4, 4]  # channels: of the flow, the light, the hue; of lightness and mask for each of four sub-pixels
LIGHT = 0.5  # the most that skin is lit or dimmed


def _images(S: int, **channels: int) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, (count, S, S)) for name, count in channels.items())


def _transfer(*parts: str) -> dict[str, Task]:
    return {"transfer": Task((Output("target", {part: part for part in parts}),))}


def paper(S: int = 256) -> Spec:
    """The published scale. S: a power of two, 256 or more."""
    return Spec(
        family="unet",
        size="paper",
        resolution=S,
        stages=(
            Stage("fuse", _images(S, source_map=1, target_map=1), _images(S, driven_map=1)),
            Stage("unet", _images(S, target=3, driven_map=1), _images(S, flow=2, mask=1, color=3)),
        ),
        tasks=_transfer("flow", "mask", "color"),
        args={"fuse": [32, 64, 128, 256, 256], "unet": [64, 128, 256, 512, 512, 512, 512, 512]},
    )


def small(S: int = 128) -> Spec:
    """What ships. S: a multiple of 32; weights learned at one S serve no other. What it gives has twice that side."""
    inputs = (*_images(S, target=3, warped=3, target_map=1, driven_map=1, first_flow=2), *_images(2 * S, teeth=1))
    return replace(
        paper(S),
        size="small",
        stages=(RETARGET, Stage("unet", inputs, _images(2 * S, flow=2, light=1, mask=1, color=3))),
        tasks=_transfer("flow", "light", "mask", "color"),
        args={"down": [32, 48, 96, 128, 128], "up": [128, 80, 48, 20, 16]},
    )


def rgb(S: int = 128) -> Spec:
    """The baseline that `small` is measured against: pix2pix's plain RGB head, as deep as S allows, on the same points.
    S: 128."""
    pix2pix = Stage("unet", _images(S, target=3, driven_map=1), _images(S, flow=2, mask=1, color=3))
    widths = [32, 64, 128, 192, 256, 256, 256]
    return replace(paper(S), size="rgb", stages=(RETARGET, pix2pix), args={"unet": widths})


SPECS = {"paper": paper(), "small": small(), "rgb": rgb()}


def build(spec: Spec) -> dict[str, nn.Module]:
    """Stage name -> its network, with random weights."""
    if spec.size == "paper":
        return {"fuse": MapFuse(spec.args["fuse"]), "unet": Pix2Pix(spec.args["unet"])}
    unet = Pix2Pix(spec.args["unet"]) if spec.size == "rgb" else WarpUNet(spec.args["down"], spec.args["up"])
    return {"fuse": Retarget(), "unet": unet}


class Block(nn.Module):
    """Convolution, instance norm, LeakyReLU."""

    def __init__(self, channels: int, out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, 1, bias=False)
        self.norm = InstanceNorm(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), 0.2)


def _blurred(x: Tensor, parts: int) -> Tensor:
    """Averaged over squares, so many of which make a side, and linear between."""
    n = max(1, x.shape[-1] // parts)
    return F.interpolate(F.avg_pool2d(x, n), scale_factor=float(n), mode="bilinear", align_corners=False)


def _between(x: Tensor) -> Tensor:
    """Twice as fine, linear between pixels."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _encoder(channels: int, widths: list[int]) -> nn.Sequential:
    return nn.Sequential(*(Block(a, b, 4, 2) for a, b in zip([channels, *widths], widths, strict=False)))


class Tone(nn.Linear):
    """Scale and shift of each channel by the face's own colours, their mean and spread over the middle of the crop.

    Instance norms take away how bright a picture is; without it teeth are painted as grey as the average face's.
    """

    keeps_f32 = True

    def __init__(self, channels: int) -> None:
        super().__init__(2 * 3, 2 * channels)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, target: Tensor) -> Tensor:  # f32 [B, 3, S, S] -> f32 [B, 2 C, 1, 1], the scales first
        S = target.shape[-1]
        face = target[:, :, S // 4 : 3 * S // 4, S // 4 : 3 * S // 4]
        mean = face.mean((2, 3))
        spread = (face * face).mean((2, 3)) - mean * mean
        return super().forward(torch.cat((mean, spread), 1))[:, :, None, None]


class WarpUNet(nn.Module):
    """What the landmarks' warp leaves to do: correct its flow, light the skin, and paint what no pixel shows.

    Norms are f32, and so is the head: a half would round its flow.
    """

    def __init__(self, down: list[int], up: list[int]) -> None:  # channels at S/2, S/4, ...; at ..., S/2, S
        super().__init__()
        self.down = _encoder(10, down)
        below = zip([down[-1], *up], down[-2::-1], up[:-1], strict=False)
        self.up = nn.ModuleList(Block(a + skip, b) for a, skip, b in below)
        self.full = nn.Conv2d(up[-2] + 7 + 2 * len(WIDER) + 4, up[-1], 3, 1, 1)
        self.tone = Tone(up[-1])
        self.head = HeadF32(up[-1], sum(HEAD), 3, 1, 1)
        with torch.no_grad():
            self.head.weight[:3] = 0  # what is the landmarks' stays as it is, and sub-pixels begin alike:
            self.head.weight[-8:-4] = 0  # else a pattern is left where nothing tells them apart (Aitken et al. 2017)
            self.head.weight[-4:] = self.head.weight[-1]
            self.head.get_parameter("bias").copy_(torch.tensor([0] * (sum(HEAD) - 4) + [MASK_BIAS] * 4))

    def forward(
        self,
        target: Tensor,  # f32 [B, 3, S, S]
        warped: Tensor,  # f32 [B, 3, S, S]
        target_map: Tensor,  # f32 [B, 1, S, S]
        driven_map: Tensor,  # f32 [B, 1, S, S]
        first_flow: Tensor,  # f32 [B, 2, S, S]
        teeth: Tensor,  # f32 [B, 1, 2 S, 2 S]
    ) -> dict[str, Tensor]:  # f32 [B, ..., 2 S, 2 S]
        # What landmarks leave to correct grows with how far they go: inside, flow is in units of the farthest.
        farthest = first_flow.abs().amax((1, 2, 3), keepdim=True)
        unit = farthest + STILL
        motion = first_flow / unit
        dtype = self.full.weight.dtype
        x = torch.cat((target, warped, target_map, driven_map, motion), 1).to(dtype)
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = skips.pop()
        for block in self.up:
            x = block(torch.cat((upsample(x), skips.pop()), 1))
        wide = (_blurred(motion, n) for n in WIDER)
        near = torch.cat((warped, target_map, driven_map, motion, *wide, F.pixel_unshuffle(teeth, 2)), 1)
        x = self.full(torch.cat((upsample(x), near.to(dtype)), 1))
        scale, shift = self.tone(target).to(dtype).chunk(2, 1)
        x = F.leaky_relu(x * (1 + scale) + shift, 0.2)
        offset, light, hue, lightness, mask = self.head(x).split(HEAD, 1)
        # A face that no landmark moves stays as it is; from one pixel on the network has its way.
        moved = (first_flow.shape[-1] * farthest).clamp(max=1)
        coarse = first_flow + moved * unit * offset, LIGHT * moved * light.tanh(), hue
        flow, light, hue = _between(torch.cat(coarse, 1)).split(HEAD[:3], 1)
        mask = moved * F.pixel_shuffle(mask, 2).sigmoid()
        color = (hue + F.pixel_shuffle(lightness, 2)).tanh()
        return {"flow": flow, "light": light, "mask": mask, "color": color}


class MapFuse(nn.Module):
    """Two landmark images to a third: an encoder for each, one decoder for both."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.source = _encoder(1, widths)
        self.target = _encoder(1, widths)
        self.up = nn.ModuleList()
        for a, b in zip([2 * widths[-1], *widths[-2::-1]], widths[-2::-1], strict=False):
            self.up.append(nn.Sequential(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), InstanceNorm(b), nn.ReLU()))
        self.last = nn.ConvTranspose2d(widths[0], 1, 4, 2, 1)

    def forward(
        self,
        source_map: Tensor,  # f32 [B, 1, S, S], 0 ... 1
        target_map: Tensor,  # f32 [B, 1, S, S]
    ) -> dict[str, Tensor]:
        dtype = self.last.weight.dtype
        x = torch.cat((self.source(source_map.to(dtype)), self.target(target_map.to(dtype))), 1)
        for block in self.up:
            x = block(x)
        return {"driven_map": self.last(x).float().tanh()}


class Pix2Pix(nn.Module):
    """U-Net-256: 4x4 convolutions by stride 2 down to one pixel, transposed ones back, skips by concatenation."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        down, up = [4, *widths], [*widths[-2::-1], 3]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1, bias=False) for a, b in zip(down, widths, strict=False))
        self.down_norm = nn.ModuleList(InstanceNorm(b) for b in widths[1:-1])  # none on the first and the innermost
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, 2, 1, bias=b == 3)
            for a, b in zip([widths[-1], *(2 * b for b in up)], up, strict=False)
        )
        self.up_norm = nn.ModuleList(InstanceNorm(b) for b in up[:-1])

    def forward(
        self,
        target: Tensor,  # f32 [B, 3, S, S]
        driven_map: Tensor,  # f32 [B, 1, S, S]
    ) -> dict[str, Tensor]:
        dtype = self.down[0].get_parameter("weight").dtype
        skips = [self.down[0](torch.cat((target, driven_map), 1).to(dtype))]
        for conv, norm in zip(self.down[1:-1], self.down_norm, strict=True):
            skips.append(norm(conv(F.leaky_relu(skips[-1], 0.2))))
        x = self.down[-1](F.leaky_relu(skips[-1], 0.2))
        for conv, norm in zip(self.up[:-1], self.up_norm, strict=True):
            x = torch.cat((skips.pop(), norm(conv(F.relu(x)))), 1)
        color = self.up[-1](F.relu(x)).float().tanh()
        return {"flow": 0 * color[:, :2], "mask": 0 * color[:, :1] + 1, "color": color}
