"""The GPU form of `crop` and `paste`: the same arguments, with the frame, the fields and out as CUDA tensors.

`fetfast.ops.crop` and `fetfast.ops.paste` come here when the frame is a tensor: u8 [H, W, 3], or what tells of one,
i64 [6] (`reference`). With that, and places in device memory, a CUDA graph that captures a call serves any frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fetfast
from fetfast.errors import BadInput
from fetfast.ops.norm_act import describe, on_gpu
from fetfast.ops.placement import SIZE, placements

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE = Path(fetfast.__file__).parent


def crop(frame: Any, M: np.ndarray, size: int, flow: Any, out: Any) -> Any:
    places = _there(placements(M[None]), frame)
    if flow is not None:
        _check_field("crop", "flow", flow[None], 1, 2, None, frame)
    if out is not None:
        _check_field("crop", "out", out[None], 1, 3, size, frame)
    return crops(frame, places, size, *(x if x is None else x[None] for x in (flow, out)))[0]


def crops(frame: Any, places: Any, size: int, flow: Any, out: Any) -> Any:
    import torch

    from fetfast.kernels import frame as kernel

    _check_frame("crop", frame)
    B = _check_places("crop", places, frame)
    if flow is not None:
        _check_field("crop", "flow", flow, B, 2, None, frame)
    if out is None:
        out = torch.empty(B, 3, size, size, device=frame.device)
    _check_field("crop", "out", out, B, 3, size, frame)
    if B:
        kernel.crops(reference(frame), places, flow, out, headers())
    return out


def paste(frame: Any, M: np.ndarray, feather: float, flow: Any, mask: Any, color: Any, light: Any, out: Any) -> Any:
    parts = {"flow": flow, "mask": mask, "color": color, "light": light}
    parts = {name: part[None] for name, part in parts.items() if part is not None}
    return composite(frame, _there(placements(M[None]), frame), feather, parts, out)


def composite(frame: Any, places: Any, feather: float, parts: dict[str, Any], out: Any) -> Any:
    import torch

    from fetfast.kernels import frame as kernel

    _check_frame("paste", frame)
    B = _check_places("paste", places, frame)
    _check_field("paste", "flow", parts["flow"], B, 2, None, frame)
    if ("mask" in parts) != ("color" in parts):
        raise BadInput("paste(): got one of mask and color, expected both or neither")
    for name, channels in (("mask", 1), ("color", 3), ("light", 1)):
        if name in parts:
            _check_field("paste", name, parts[name], B, channels, parts["flow"].shape[3], frame)
    if frame.dtype == torch.int64:
        turns = list(out)
    else:
        out = torch.empty_like(frame) if out is None else out
        _check_out(out, frame)
        if not B:
            return out.copy_(frame)
        frames = (out, torch.empty_like(frame) if B > 1 else out)
        turns = [reference(frames[(B - 1 - i) % 2]) for i in range(2)]  # the last one is out's
    before = reference(frame)
    for i in range(B):
        fields = (parts[name][i] if name in parts else None for name in ("flow", "mask", "color", "light"))
        kernel.paste(before, turns[i % 2], places[i], feather, *fields, headers())
        before = turns[i % 2]
    return out


def reference(frame: Any) -> Any:
    """i64 [6] on the frame's GPU: its address, its strides in bytes (row, column, channel), H and W."""
    import torch

    if frame.dtype == torch.int64:
        return frame
    return torch.tensor(words(frame), dtype=torch.int64).to(frame.device)


def words(frame: Any) -> list[int]:
    """The numbers of a `reference`."""
    return [frame.data_ptr(), *frame.stride(), *frame.shape[:2]]


def headers() -> str:
    """The folder of csrc's headers: in the package as installed, beside it in a checkout."""
    return str(next(folder for folder in (PACKAGE / "csrc", PACKAGE.parent / "csrc") if (folder / "crop.h").exists()))


def is_tensor(frame: Any) -> bool:
    return type(frame).__module__.startswith("torch")


def _there(rows: np.ndarray, frame: Tensor) -> Tensor:
    import torch

    return torch.from_numpy(rows).to(frame.device)


def _check_frame(op: str, frame: Tensor) -> None:
    import torch

    if frame.dtype == torch.int64 and tuple(frame.shape) == (6,):
        pass
    elif frame.dtype != torch.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.numel():
        raise BadInput(f"{op}(): frame is {describe(frame)}, expected uint8 [H, W, 3]")
    elif max(frame.shape) >= 1 << 24:
        raise BadInput(f"{op}(): frame is {describe(frame)}, expected 1 ... 16777215 pixels a side")
    if not on_gpu(frame):
        raise BadInput(f"{op}(): frame is a tensor on {frame.device}, expected one on cuda, or a NumPy array")


def _check_places(op: str, places: Any, frame: Tensor) -> int:
    import torch

    fits = isinstance(places, torch.Tensor) and places.dtype == torch.float32 and places.device == frame.device
    if not (fits and places.ndim == 2 and places.shape[1] == SIZE and places.is_contiguous()):
        raise BadInput(f"{op}(): places is {describe(places)}, expected contiguous float32 [B, 16] on {frame.device}")
    return len(places)


def _check_field(op: str, name: str, field: Any, B: int, channels: int, size: int | None, frame: Tensor) -> None:
    import torch

    fits = isinstance(field, torch.Tensor) and field.dtype == torch.float32 and field.device == frame.device
    if not (fits and field.ndim == 4 and field.shape == (B, channels, *[size or field.shape[3]] * 2)):
        wanted = f"float32 [{channels}, {size or 'F'}, {size or 'F'}] on {frame.device}"
        raise BadInput(f"{op}(): {name} is {describe(field[0] if len(field) == 1 else field)}, expected {wanted}")


def _check_out(out: Any, frame: Tensor) -> None:
    if out.dtype != frame.dtype or out.shape != frame.shape or out.device != frame.device:
        raise BadInput(f"paste(): out is {describe(out)}, expected {describe(frame)}")
    if out.untyped_storage().data_ptr() == frame.untyped_storage().data_ptr():
        raise BadInput("paste(): out shares the frame's memory, expected memory of its own")
