"""The GPU form of `crop` and `paste`: the same arguments, with the frame, the fields and out as CUDA tensors.

`fetfast.ops.crop` and `fetfast.ops.paste` come here when the frame is a tensor. M stays on the host: a CUDA graph that
captures a call keeps the M it was given.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fetfast
from fetfast.errors import BadInput
from fetfast.ops.norm_act import describe

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE = Path(fetfast.__file__).parent


def crop(frame: Any, M: np.ndarray, size: int, taps: int, flow: Any, out: Any) -> Any:
    import torch

    from fetfast.kernels import frame as kernel

    _check_frame("crop", frame)
    if flow is not None:
        _check_field("crop", "flow", flow, 2, None, frame)
    if out is None:
        out = torch.empty(3, size, size, device=frame.device)
    _check_field("crop", "out", out, 3, size, frame)
    kernel.launch("crop", headers(), (size, size), kernel.crop_arguments(frame, M, taps, flow, out), _index(frame))
    return out


def paste(
    frame: Any, M: np.ndarray, to_crop: np.ndarray, feather: float, flow: Any, mask: Any, color: Any,
    light: Any, out: Any, box: tuple[int, int, int, int],
) -> Any:  # fmt: skip
    import torch

    from fetfast.kernels import frame as kernel

    _check_frame("paste", frame)
    _check_field("paste", "flow", flow, 2, None, frame)
    if (mask is None) != (color is None):
        raise BadInput("paste(): got one of mask and color, expected both or neither")
    if mask is not None:
        _check_field("paste", "mask", mask, 1, flow.shape[1], frame)
        _check_field("paste", "color", color, 3, flow.shape[1], frame)
    if light is not None:
        _check_field("paste", "light", light, 1, flow.shape[1], frame)
    if out is None:
        out = torch.empty_like(frame)
    if out.dtype != torch.uint8 or out.shape != frame.shape or out.device != frame.device:
        raise BadInput(f"paste(): out is {describe(out)}, expected {describe(frame)}")
    if out.untyped_storage().data_ptr() == frame.untyped_storage().data_ptr():
        raise BadInput("paste(): out shares the frame's memory, expected memory of its own")
    out.copy_(frame)
    x0, x1, y0, y1 = box
    if x0 < x1 and y0 < y1:
        arguments = kernel.paste_arguments(frame, M, to_crop, feather, flow, mask, color, light, out, box)
        kernel.launch("paste", headers(), (x1 - x0, y1 - y0), arguments, _index(frame))
    return out


def headers() -> str:
    """The folder of csrc's headers: in the package as installed, beside it in a checkout."""
    return str(next(folder for folder in (PACKAGE / "csrc", PACKAGE.parent / "csrc") if (folder / "crop.h").exists()))


def is_tensor(frame: Any) -> bool:
    return type(frame).__module__.startswith("torch")


def _index(frame: Tensor) -> int:
    return frame.device.index or 0


def _check_frame(op: str, frame: Tensor) -> None:
    import torch

    if frame.dtype != torch.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.numel():
        raise BadInput(f"{op}(): frame is {describe(frame)}, expected uint8 [H, W, 3]")
    if max(frame.shape) >= 1 << 24:
        raise BadInput(f"{op}(): frame is {describe(frame)}, expected 1 ... 16777215 pixels a side")
    if not frame.is_cuda:
        raise BadInput(f"{op}(): frame is a tensor on {frame.device}, expected one on cuda, or a NumPy array")


def _check_field(op: str, name: str, field: Any, channels: int, size: int | None, frame: Tensor) -> None:
    import torch

    fits = isinstance(field, torch.Tensor) and field.dtype == torch.float32 and field.device == frame.device
    if not (fits and field.ndim == 3 and field.numel() and field.shape == (channels, *[size or field.shape[2]] * 2)):
        wanted = f"float32 [{channels}, {size or 'F'}, {size or 'F'}] on {frame.device}"
        raise BadInput(f"{op}(): {name} is {describe(field)}, expected {wanted}")
