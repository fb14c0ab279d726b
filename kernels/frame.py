"""The CUDA form of `csrc/crop.h` and `csrc/paste.h`: the functors that the CPU runs too, a thread for each pixel.

CuPy compiles them (NVRTC) for the GPU that is there when they are first asked for, and keeps the binary in its cache,
by the text of the source: so the headers are put into it. A CUDA graph can be captured after that. They run on
PyTorch's current stream.

    crop    bytes that must move: the crop's part of the frame once, 8 F^2 of flow, 12 S^2 written
    paste   3 H W read and written by a copy of the frame; of the crop's pixels, again 3 read and 3 written, and 4 S^2
            for each channel of flow, mask, color and light
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = (32, 8)
SOURCE = """
#include "crop.h"
#include "paste.h"
using namespace fetfast;

#define FRAME(name) const unsigned char* name, long long name##_row, long long name##_column, \\
    long long name##_channel, int name##_height, int name##_width
#define FRAME_OF(name) Frame{name, name##_row, name##_column, name##_channel, name##_height, name##_width}
#define FIELD(name) const char* name, long long name##_channel, long long name##_row, long long name##_column
#define FIELD_OF(name) Field{name, name##_channel, name##_row, name##_column}
#define AFFINE(name) float name##0, float name##1, float name##2, float name##3, float name##4, float name##5
#define AFFINE_OF(name) Affine{name##0, name##1, name##2, name##3, name##4, name##5}

extern "C" __global__ void __launch_bounds__(256) crop(
    FRAME(frame), AFFINE(m), int taps, FIELD(flow), int flow_size, int size,
    char* out, long long out_channel, long long out_row, long long out_column) {
  int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
  if (column >= size || row >= size) return;
  Crop{FRAME_OF(frame), AFFINE_OF(m), taps, FIELD_OF(flow), flow_size, size, out, out_channel, out_row, out_column}(
      column, row);
}

extern "C" __global__ void __launch_bounds__(256) paste(
    FRAME(frame), AFFINE(m), AFFINE(to_crop), float feather, int size,
    FIELD(flow), FIELD(mask), FIELD(color), FIELD(light),
    unsigned char* out, long long out_row, long long out_column, long long out_channel,
    int x0, int x1, int y0, int y1) {
  int column = x0 + blockIdx.x * blockDim.x + threadIdx.x, row = y0 + blockIdx.y * blockDim.y + threadIdx.y;
  if (column >= x1 || row >= y1) return;
  Paste{FRAME_OF(frame), AFFINE_OF(m), AFFINE_OF(to_crop), feather, size, FIELD_OF(flow), FIELD_OF(mask),
        FIELD_OF(color), FIELD_OF(light), out, out_row, out_column, out_channel}(column, row);
}
"""


@cache
def source(headers: str) -> str:
    """SOURCE with each of csrc's headers in place of its first include. `headers`: their folder."""
    seen: set[str] = set()

    def text(include: re.Match[str]) -> str:
        name = include[1]
        if name in seen:
            return ""
        seen.add(name)
        return whole((Path(headers) / name).read_text())

    def whole(code: str) -> str:
        return re.sub(r'^#include "(\w+\.h)"$', text, code.replace("#pragma once", ""), flags=re.MULTILINE)

    return whole(SOURCE)


@cache
def compiled(name: str, headers: str, device: int) -> Any:
    """A kernel of SOURCE for a GPU. `headers`: the folder of crop.h."""
    import cupy

    with cupy.cuda.Device(device):
        return cupy.RawModule(code=source(headers), options=("-std=c++17",)).get_function(name)


def launch(name: str, headers: str, size: tuple[int, int], arguments: tuple[Any, ...], device: int) -> None:
    """Runs a kernel for size[0] columns x size[1] rows on PyTorch's current stream of that device."""
    import cupy
    import torch

    kernel = compiled(name, headers, device)
    grid = tuple(-(-n // block) for n, block in zip(size, BLOCK, strict=True))
    with cupy.cuda.Device(device), cupy.cuda.Stream.from_external(torch.cuda.current_stream(device)):
        kernel(grid, BLOCK, arguments)


def crop_arguments(
    frame: Tensor,  # u8 [H, W, 3]
    M: np.ndarray,  # f32 [2, 3]
    taps: int,
    flow: Tensor | None,  # f32 [2, F, F]
    out: Tensor,  # f32 [3, S, S]
) -> tuple[Any, ...]:
    flow_size = 0 if flow is None else flow.shape[1]
    return (
        *_frame(frame), *_affine(M), np.int32(taps), *_pointer(flow), np.int32(flow_size), np.int32(out.shape[1]),
        *_pointer(out),
    )  # fmt: skip


def paste_arguments(
    frame: Tensor,  # u8 [H, W, 3]
    M: np.ndarray,  # f32 [2, 3]
    to_crop: np.ndarray,  # f32 [2, 3], its inverse
    feather: float,
    flow: Tensor,  # f32 [2, S, S]
    mask: Tensor | None,  # f32 [1, S, S]
    color: Tensor | None,  # f32 [3, S, S]
    light: Tensor | None,  # f32 [1, S, S]
    out: Tensor,  # u8 [H, W, 3]
    box: tuple[int, int, int, int],  # columns x0 ... x1 and rows y0 ... y1 of the frame that may change
) -> tuple[Any, ...]:
    return (
        *_frame(frame), *_affine(M), *_affine(to_crop), np.float32(feather), np.int32(flow.shape[1]),
        *_pointer(flow), *_pointer(mask), *_pointer(color), *_pointer(light), *_pointer(out), *map(np.int32, box),
    )  # fmt: skip


def _pointer(x: Tensor | None) -> tuple[np.int64, ...]:
    """Address, and strides in bytes."""
    if x is None:
        return (np.int64(0),) * 4
    return np.int64(x.data_ptr()), *(np.int64(stride * x.element_size()) for stride in x.stride())


def _frame(x: Tensor) -> tuple[Any, ...]:
    return *_pointer(x), np.int32(x.shape[0]), np.int32(x.shape[1])


def _affine(M: np.ndarray) -> tuple[np.float32, ...]:
    return tuple(np.float32(m) for m in M.flat)
