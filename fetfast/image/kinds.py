"""Whatever a user has (a path, arrays of any library, PIL images, batches of them) becomes frames, and back."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fetfast.errors import BadInput
from fetfast.image.pictures import Frame, check_size, frame_of, like, load

GiveBack = Callable[[list[Frame]], Any]


def read(images: Any, name: str = "image") -> tuple[list[Frame], bool, GiveBack]:
    """Turns a user's image or batch into frames.

    images: a path; a PIL image; a NumPy array u8 [H, W, 3] RGB; a torch tensor [3, H, W], u8 or float in 0 ... 1,
    on any device; any other object with `__dlpack__`, u8 or float, its channels first or last; a batch of one of
    these: a list (kinds may differ) or one more leading axis.

    Returns the frames, whether it was a batch, and a function that turns as many results (or, for a single image,
    any number of results, stacked) back into the kind, layout, dtype and device of `images`: a PIL image comes back in
    its mode, with its transparency, colour profile and metadata (`like`), a path as a NumPy array. Raises BadInput,
    naming the argument as `name`.
    """
    if isinstance(images, list | tuple):
        if not images:
            raise BadInput(f"{name} is an empty list, expected at least one image")
        parts = [_read_one(image, f"{name}[{i}]") for i, image in enumerate(images)]
        for i, (frames, batched, _) in enumerate(parts):
            if batched:
                raise BadInput(f"{name}[{i}] is itself a batch of {len(frames)}; pass one list or one batch, not both")
        return [p[0][0] for p in parts], True, lambda out: [p[2]([o]) for p, o in zip(parts, out, strict=True)]
    return _read_one(images, name)


def _read_one(image: Any, name: str) -> tuple[list[Frame], bool, GiveBack]:
    if isinstance(image, str | os.PathLike):
        return [load(image)], False, _arrays
    module = type(image).__module__.partition(".")[0]
    if module == "PIL":
        frame = frame_of(image, name)
        return [frame], False, lambda out: _one_or_list([like(image, o, frame) for o in out])
    if isinstance(image, np.ndarray):
        array = _check(image, name, channels=-1, what="HWC RGB uint8")
        if array.dtype != np.uint8:
            raise BadInput(f"{name} is a {array.dtype} array, expected uint8; multiply 0 ... 1 by 255 and convert")
        batched = array.ndim == 4
        return list(array if batched else array[None]), batched, _stacked if batched else _arrays
    if "torch" in sys.modules and isinstance(image, sys.modules["torch"].Tensor):
        return _read_torch(image, name)
    if hasattr(image, "__dlpack__"):
        return _read_dlpack(image, name)
    raise BadInput(
        f"{name} is a {type(image).__name__}, expected a path, a PIL image, a NumPy array, a torch tensor, "
        "an object with __dlpack__, or a list of them"
    )


def _arrays(out: list[Frame]) -> Any:
    return out[0] if len(out) == 1 else _stacked(out)


def _stacked(out: list[Frame]) -> Any:
    return np.stack(out)


def _one_or_list(out: list[Any]) -> Any:
    return out[0] if len(out) == 1 else out


def _read_torch(tensor: Any, name: str) -> tuple[list[Frame], bool, GiveBack]:
    import torch

    _check(tensor, name, channels=-3, what="CHW, float 0 ... 1 or uint8")
    if tensor.layout != torch.strided or tensor.is_meta:
        raise BadInput(f"{name} is a sparse or meta tensor, expected a dense one that holds its pixels")
    if not (tensor.is_floating_point() or tensor.dtype == torch.uint8):
        raise BadInput(f"{name} is a {tensor.dtype} tensor, expected torch.uint8 or a float type in 0 ... 1")
    batched = tensor.ndim == 4
    host = tensor.detach().cpu()
    array = (host.float() if host.is_floating_point() else host).numpy()
    frames = [np.ascontiguousarray(a.transpose(1, 2, 0)) for a in _to_u8(array, name).reshape(-1, *array.shape[-3:])]

    def give_back(out: list[Frame]) -> Any:
        stacked = torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).to(tensor.device)
        result = (stacked.to(tensor.dtype) / 255) if tensor.is_floating_point() else stacked.contiguous()
        return result if batched or len(out) > 1 else result[0]

    return frames, batched, give_back


def _read_dlpack(image: Any, name: str) -> tuple[list[Frame], bool, GiveBack]:
    """Array-API objects (CuPy, JAX, ...): the channel axis is the one that measures 3, the last one if both do."""
    try:
        array = np.from_dlpack(image)
    except (BufferError, RuntimeError, TypeError):  # not in the host's memory: let its own library bring it here
        if not hasattr(image, "get"):
            raise BadInput(
                f"{name} is a {type(image).__name__} whose memory NumPy cannot read; move it to the CPU or to torch"
            ) from None
        array = image.get()
    last = array.ndim >= 3 and array.shape[-1] == 3
    _check(array, name, channels=-1 if last else -3, what="HWC or CHW, float 0 ... 1 or uint8")
    batched, dtype = array.ndim == 4, array.dtype
    hwc = array if last else np.moveaxis(array, -3, -1)
    frames = list(np.ascontiguousarray(_to_u8(hwc, name)).reshape(-1, *hwc.shape[-3:]))

    def give_back(out: list[Frame]) -> Any:
        stacked = np.stack(out)
        if dtype != np.uint8:
            stacked = (stacked / 255).astype(dtype)
        if not last:
            stacked = np.ascontiguousarray(np.moveaxis(stacked, -1, -3))
        result = stacked if batched or len(out) > 1 else stacked[0]
        if not hasattr(image, "__array_namespace__"):
            return result
        return image.__array_namespace__().asarray(result, device=image.device)

    return frames, batched, give_back


def _check(array: Any, name: str, channels: int, what: str) -> Any:
    shape = tuple(array.shape)
    if len(shape) not in (3, 4) or shape[channels] != 3:
        raise BadInput(f"{name} has shape {list(shape)}, expected {what}, alone or with one leading batch axis")
    if 0 in shape:
        raise BadInput(f"{name} has shape {list(shape)}: it is empty")
    height, width = (shape[-3], shape[-2]) if channels == -1 else (shape[-2], shape[-1])
    check_size(width, height, name)
    return array


def _to_u8(array: NDArray[Any], name: str) -> Frame:
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise BadInput(f"{name} is {array.dtype}, expected uint8 or a float type in 0 ... 1")
    low, high = float(array.min()), float(array.max())  # a NaN anywhere makes both NaN
    if not (low >= -0.01 and high <= 1.01):
        raise BadInput(f"{name} has values from {low:g} to {high:g}, expected floats in 0 ... 1 without NaN")
    return (array.clip(0, 1) * 255 + 0.5).astype(np.uint8)
