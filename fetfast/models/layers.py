"""Layers that the families share, and the one rule of mixed precision: `cast`."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F

from fetfast.errors import BadInput


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm with scale and shift, [B, C, H, W] of any float type; computes in f32."""

    keeps_f32 = True

    def __init__(self, channels: int):
        super().__init__(channels, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.float()).to(x.dtype)


class BatchNorm(nn.BatchNorm2d):
    """Batch norm, [B, C, H, W] of any float type; computes in f32. In use it is a scale and a shift by its running
    statistics, which the runtimes fold into the convolution before it."""

    keeps_f32 = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.float()).to(x.dtype)


class HeadF32(nn.Conv2d):
    """A convolution in f32 whatever the precision of what it reads: for values that a half rounds too coarsely."""

    keeps_f32 = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.float())


def upsample(x: torch.Tensor) -> torch.Tensor:
    """[B, C, H, W] -> [B, C, 2H, 2W], each pixel four times."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def kept_f32(module: nn.Module) -> set[str]:
    """The names of the weights that stay f32 at any precision: those of layers that say `keeps_f32`."""
    layers = (name for name, layer in module.named_modules() if getattr(layer, "keeps_f32", False))
    return {f"{layer}.{key}" for layer in layers for key in module.get_submodule(layer).state_dict()}


def cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Give `module` the precision `dtype` in place: all its layers, but those that say `keeps_f32`. Raises BadInput at
    a plain batch norm, whose variances a half holds too coarsely."""
    for name, layer in module.named_modules():
        if getattr(layer, "keeps_f32", False):
            continue
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and dtype.itemsize < 4:
            raise BadInput(f"cast(): {name} is a {type(layer).__name__}, which computes in {dtype}; "
                           "take BatchNorm of models/layers.py, which computes in f32")  # fmt: skip
        for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(dtype)
    return module
