"""norm_act: instance norm, activation and residual of an image in one op."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fetfast.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor


def norm_act(
    x: Tensor,  # [B, C, H, W]
    weight: Tensor | None = None,  # f32 [C] or [B, C]
    bias: Tensor | None = None,  # as weight
    slope: float = 1.0,
    residual: Tensor | None = None,  # [B, C, H, W]
    eps: float = 1e-5,
    out: Tensor | None = None,  # [B, C, H, W]
) -> Tensor:
    """act((x - mean) / sqrt(var + eps) * weight + bias) + residual, over the pixels of each image and channel.

    x: f32, f16 or bf16, NCHW or channels-last, any sizes, B = 0 too; the arithmetic is f32.
    weight, bias: f32, both or neither; [C] for an affine norm, [B, C] for AdaIN.
    slope: act(v) = v if v > 0 else slope * v. 1 is none, 0 ReLU, 0.2 this house's LeakyReLU.
    residual: of x's dtype. out: of x's dtype; may be x or residual. None for a new tensor laid out as x.
    The same inputs give the same bits. On the CPU this is the reference itself. Raises BadInput.
    """
    check_image("norm_act", "x", x)
    B, C, _, _ = x.shape
    check_affine("norm_act", weight, bias, B, C, x)
    for name, image in (("residual", residual), ("out", out)):
        if image is not None and (image.shape != x.shape or image.dtype != x.dtype or image.device != x.device):
            raise BadInput(f"norm_act(): {name} is {describe(image)}, expected {describe(x)}")
    if out is None:
        import torch

        out = torch.empty_like(x)
    if not x.numel():
        return out
    if not on_gpu(x):
        return out.copy_(norm_act_reference(x, weight, bias, slope, residual, eps))
    from fetfast.kernels import norm_act as kernel

    y = pixels("norm_act", "out", out)
    kernel.launch(
        pixels("norm_act", "x", x), weight, bias,
        None if residual is None else pixels("norm_act", "residual", residual), y, eps, slope,
    )  # fmt: skip
    return out


def norm_act_reference(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    slope: float = 1.0,
    residual: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """The specification of `norm_act` in plain PyTorch: in f64 for f64, else in f32."""
    import torch

    v = x if x.dtype == torch.float64 else x.float()
    v = v - v.mean((2, 3), keepdim=True)
    v = v / (v.square().mean((2, 3), keepdim=True) + eps).sqrt()
    if weight is not None and bias is not None:
        v = v * weight[..., None, None] + bias[..., None, None]
    v = torch.where(v > 0, v, v * slope)
    return (v if residual is None else v + residual).to(x.dtype)


def statistics(
    x: Tensor,  # [B, C, H, W]
    weight: Tensor | None = None,  # f32 [C] or [B, C]
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """The instance norm of x as f32 [3, B, C]: mean, scale, shift of (x - mean) * scale + shift, for whoever reads x
    next. Arguments as in `norm_act`."""
    import torch

    check_image("statistics", "x", x)
    B, C, _, _ = x.shape
    check_affine("statistics", weight, bias, B, C, x)
    norm = torch.empty(3, B, C, dtype=torch.float32, device=x.device)
    if not x.numel():
        return norm
    if not on_gpu(x):
        return statistics_reference(x, weight, bias, eps)
    from fetfast.kernels import norm_act as kernel

    view = pixels("statistics", "x", x)
    pieces = torch.empty(2, B, kernel.piece_count(view), C, dtype=torch.float32, device=x.device)
    kernel.merge(pieces, kernel.moments(view, pieces), weight, bias, norm, eps)
    return norm


def statistics_reference(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    import torch

    v = x if x.dtype == torch.float64 else x.float()
    scale = (v.var((2, 3), correction=0) + eps).rsqrt()
    if weight is None or bias is None:
        return torch.stack((v.mean((2, 3)), scale, torch.zeros_like(scale)))
    return torch.stack((v.mean((2, 3)), scale * weight, bias.expand_as(scale)))


def on_gpu(x: Tensor) -> bool:
    """Whether the Triton form runs for x: on a CUDA device, and on any under Triton's interpreter, which tests use."""
    return x.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"


def pixels(op: str, name: str, x: Tensor) -> Tensor:
    """x [B, C, H, W] seen as [B, H * W, C]."""
    B, C, H, W = x.shape
    check_span(op, name, x[:1])  # images are told apart by 64 bits
    try:
        return x.permute(0, 2, 3, 1).view(B, H * W, C)
    except RuntimeError:
        raise BadInput(
            f"{op}(): {name} has strides {tuple(x.stride())}, expected rows without gaps; give {name}.contiguous()"
        ) from None


def check_span(op: str, name: str, x: Tensor) -> None:
    """That 32 bits reach from the first element to the last one, whatever the strides. Raises BadInput."""
    if sum((n - 1) * stride for n, stride in zip(x.shape, x.stride(), strict=True) if n) >= 1 << 31:
        raise BadInput(
            f"{op}(): {name} is {describe(x)} with strides {tuple(x.stride())}, expected less than 2^31 elements from "
            f"its first to its last; give {name}.contiguous(), or a smaller batch"
        )


def check_image(op: str, name: str, x: Tensor) -> None:
    import torch

    if not (isinstance(x, torch.Tensor) and x.ndim == 4 and x.dtype in (torch.float32, torch.float16, torch.bfloat16)):
        raise BadInput(f"{op}(): {name} is {describe(x)}, expected [B, C, H, W] of float32, float16 or bfloat16")


def check_affine(op: str, weight: Tensor | None, bias: Tensor | None, B: int, C: int, x: Tensor) -> None:
    import torch

    if (weight is None) != (bias is None):
        raise BadInput(f"{op}(): got one of weight and bias, expected both or neither")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is None:
            continue
        if tensor.dtype != torch.float32 or tuple(tensor.shape) not in ((C,), (B, C)) or tensor.device != x.device:
            raise BadInput(f"{op}(): {name} is {describe(tensor)}, expected float32 [{C}] or [{B}, {C}] on {x.device}")
        if not tensor.is_contiguous():
            raise BadInput(f"{op}(): {name} has strides {tuple(tensor.stride())}, expected it contiguous")


def describe(x: object) -> str:
    import torch

    if not isinstance(x, torch.Tensor):
        return type(x).__name__
    return f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)} on {x.device}"
