"""upcat: what a U-Net's decoder reads, x2 upsampled and concatenated with a skip, in one write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fetfast.errors import BadInput
from fetfast.ops.norm_act import check_image, check_span, describe, on_gpu

if TYPE_CHECKING:
    import torch
    from torch import Tensor

UP = ("none", "nearest", "bilinear", "bilinear_corners")


@dataclass(frozen=True, eq=False)
class Part:
    """An image that is yet to be normalised, activated and upsampled by whoever reads it:

        up(act((x - mean) * scale + shift))

    norm: f32 [3, B, C], mean, scale and shift, as `statistics` and `conv` give them, or None.
    slope: act(v) = v if v > 0 else slope * v. up: "none", or x2 by "nearest", "bilinear" (PyTorch's default,
    align_corners=False) or "bilinear_corners" (align_corners=True).
    """

    x: Tensor  # [B, C, H, W]
    norm: Tensor | None = None
    slope: float = 1.0
    up: str = "none"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of what it stands for."""
        B, C, H, W = self.x.shape
        return (B, C, H, W) if self.up == "none" else (B, C, 2 * H, 2 * W)


def upcat(a: Part, b: Part | None = None, out: Tensor | None = None) -> Tensor:
    """concat(a, b) on channels, each normalised, activated and upsampled on the way; a alone if b is None.

    Images f32, f16 or bf16 of one dtype, NCHW or channels-last; the arithmetic is f32.
    out: [B, CA + CB, H, W] of that dtype, apart from a and b; None for a new tensor laid out as a. Raises BadInput.
    """
    check_parts("upcat", [a] if b is None else [a, b])
    B, C, H, W = a.shape
    shape = (B, C + (b.shape[1] if b is not None else 0), H, W)
    if out is None:
        import torch

        out = torch.empty(shape, dtype=a.x.dtype, device=a.x.device, memory_format=layout(a.x))
    if tuple(out.shape) != shape or out.dtype != a.x.dtype or out.device != a.x.device:
        raise BadInput(f"upcat(): out is {describe(out)}, expected {a.x.dtype} {list(shape)} on {a.x.device}")
    if not out.numel():
        return out
    if not on_gpu(a.x):
        return out.copy_(upcat_reference(a, b))
    for name, x in (("a", a.x), ("b", b.x if b is not None else a.x), ("out", out)):
        check_span("upcat", name, x[:1])  # images are told apart by 64 bits
    from fetfast.kernels import upcat as kernel

    second = (b.x, b.norm, b.slope, b.up) if b is not None else (None, None, 1.0, "none")
    kernel.launch(a.x, a.norm, a.slope, a.up, *second, out)
    return out


def upcat_reference(a: Part, b: Part | None = None) -> Tensor:
    """The specification of `upcat` in plain PyTorch: in f64 for f64, else in f32."""
    import torch

    return torch.cat([part_reference(part) for part in (a, b) if part is not None], 1)


def part_reference(part: Part) -> Tensor:
    import torch
    import torch.nn.functional as F

    v = part.x if part.x.dtype == torch.float64 else part.x.float()
    if part.norm is not None:
        mean, scale, shift = part.norm[..., None, None]
        v = (v - mean) * scale + shift
    v = torch.where(v > 0, v, v * part.slope)
    if part.up == "nearest":
        v = F.interpolate(v, scale_factor=2.0, mode="nearest")
    elif part.up != "none":
        v = F.interpolate(v, scale_factor=2.0, mode="bilinear", align_corners=part.up == "bilinear_corners")
    return v.to(part.x.dtype)


def check_parts(op: str, parts: list[Part]) -> None:
    """Images that can be concatenated on channels, each with norms that fit it."""
    import torch

    first = parts[0]
    for part in parts:
        check_image(op, "x", part.x)
        B, C, _, _ = part.x.shape
        if part.up not in UP:
            raise BadInput(f"{op}(): up is {part.up!r}, expected one of {', '.join(UP)}")
        if part.shape[::2] != first.shape[::2] or part.shape[3] != first.shape[3]:
            raise BadInput(f"{op}(): parts of {list(first.shape)} and {list(part.shape)}, expected the same B, H, W")
        if (part.x.dtype, part.x.device) != (first.x.dtype, first.x.device):
            raise BadInput(
                f"{op}(): parts are {describe(first.x)} and {describe(part.x)}, expected one dtype and device"
            )
        n = part.norm
        if n is not None and not (n.dtype == torch.float32 and n.shape == (3, B, C) and n.is_contiguous()):
            raise BadInput(f"{op}(): norm is {describe(n)}, expected contiguous float32 [3, {B}, {C}] or None")


def layout(x: Tensor) -> torch.memory_format:
    """Channels-last if x's channels are next to one another, else NCHW."""
    import torch

    return torch.channels_last if x.stride(1) == 1 and x.shape[1] > 1 else torch.contiguous_format
