"""The CUDA form of `csrc/crop.h` and `csrc/paste.h`: the functors that the CPU runs too, a thread for each pixel.

All that changes from frame to frame lies in device memory, so that a CUDA graph of these launches serves any frame:

    frame    i64 [6]: a frame u8 [H, W, 3] by its address, its strides in bytes (row, column, channel), H and W
    places   f32 [B, 16], as `ops.placement` makes them: M (6), its inverse (6), the scale of M

    crop    bytes that must move: the crop's part of the frame once, 8 F^2 of flow, 12 S^2 written, for each face
    paste   3 H W read and written; of the crop's pixels, 4 S^2 for each channel of flow, mask, color and light

CuPy compiles them (NVRTC) for the GPU that is there when they are first asked for, and keeps the binary in its cache,
by the text of the source: so the headers are put into it. A CUDA graph can be captured after that. They run on
PyTorch's current stream.
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
PASTING = 1024  # blocks of `paste`, which go on to the next pixels until the frame ends, however large it is
SOURCE = """
#include "crop.h"
#include "paste.h"
using namespace fetfast;

constexpr float MAX_TAPS = 8.0f;  // as in ops/crop.py
constexpr int TOGETHER = 4;       // pixels that are three words of 4 bytes

#define FIELD(name) const char* name, long long name##_face, long long name##_channel, long long name##_row, \\
    long long name##_column
#define FIELD_OF(name, face) Field{name ? name + (face) * name##_face : name, name##_channel, name##_row, name##_column}

static FETFAST_HD Frame frame_at(const long long* f) {
  return Frame{(const unsigned char*)f[0], f[1], f[2], f[3], int(f[4]), int(f[5])};
}
static FETFAST_HD Affine affine_at(const float* m) { return Affine{m[0], m[1], m[2], m[3], m[4], m[5]}; }

// Bilinear samples along each side of an output pixel: `ops.crop.taps`.
static FETFAST_HD int taps_of(float scale, int size) {
  float n = clamp(scale / float(size) - 1e-3f, 1.0f, MAX_TAPS);
  return int(n) + (n > float(int(n)));
}

// Whether a frame's pixels lie together, in words.
static FETFAST_HD bool packed(const Frame& f) {
  return f.channel == 1 && f.column == 3 && f.row == 3ll * f.width && !((unsigned long long)f.data & 3);
}

extern "C" __global__ void __launch_bounds__(256) crop(
    const long long* frame, const float* places, FIELD(flow), int flow_size, int size,
    char* out, long long out_face, long long out_channel, long long out_row, long long out_column) {
  int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
  if (column >= size || row >= size) return;
  const int face = blockIdx.z;
  const float* place = places + 16 * face;
  Crop{frame_at(frame), affine_at(place), taps_of(place[12], size), FIELD_OF(flow, face), flow_size, size,
       out + face * out_face, out_channel, out_row, out_column}(column, row);
}

// One face, into a frame of the same size; what does not change is copied.
extern "C" __global__ void __launch_bounds__(256) paste(
    const long long* frame, const long long* to, const float* place, float feather, int size,
    FIELD(flow), FIELD(mask), FIELD(color), FIELD(light)) {
  const Frame from = frame_at(frame), into = frame_at(to);
  unsigned char* out = (unsigned char*)into.data;
  const Paste change{from, affine_at(place), affine_at(place + 6), feather, size, FIELD_OF(flow, 0),
                     FIELD_OF(mask, 0), FIELD_OF(color, 0), FIELD_OF(light, 0), out, into.row, into.column,
                     into.channel};
  const long long pixels = (long long)from.height * from.width;
  const long long step = TOGETHER * (long long)gridDim.x * blockDim.x;
  for (long long p = TOGETHER * ((long long)blockIdx.x * blockDim.x + threadIdx.x); p < pixels; p += step) {
    const bool near = pixels >> 32 == 0;  // a division of 64 bits takes as long as all else
    int row = near ? int((unsigned int)p / (unsigned int)from.width) : int(p / from.width);
    int column = int(p - (long long)row * from.width), count = 0;
    const bool words = packed(from) && packed(into) && p + TOGETHER <= pixels;
    if (words)
      for (int k = 0; k < 3; k++) ((unsigned int*)(out + 3 * p))[k] = ((const unsigned int*)(from.data + 3 * p))[k];
    for (; count < TOGETHER && p + count < pixels; count++) {
      if (!words) {
        const unsigned char* pixel = from.data + row * from.row + column * from.column;
        for (int k = 0; k < 3; k++)
          out[row * into.row + column * into.column + k * into.channel] = pixel[k * from.channel];
      }
      change(column, row);
      if (++column == from.width) column = 0, row++;
    }
  }
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


def launch(name: str, headers: str, grid: tuple[int, ...], arguments: tuple[Any, ...], device: int) -> None:
    """Runs so many blocks of a kernel on PyTorch's current stream of that device."""
    import cupy
    import torch

    kernel = compiled(name, headers, device)
    with cupy.cuda.Device(device), cupy.cuda.Stream.from_external(torch.cuda.current_stream(device)):
        kernel(grid, BLOCK if name == "crop" else (BLOCK[0] * BLOCK[1],), arguments)


def crops(
    frame: Tensor,  # i64 [6]
    places: Tensor,  # f32 [B, 16]
    flow: Tensor | None,  # f32 [B, 2, F, F]
    out: Tensor,  # f32 [B, 3, S, S]
    headers: str,
) -> None:
    B, _, S, _ = out.shape
    grid = (-(-S // BLOCK[0]), -(-S // BLOCK[1]), B)
    arguments = (
        _address(frame), _address(places), *_field(flow), np.int32(0 if flow is None else flow.shape[3]), np.int32(S),
        *_field(out),
    )  # fmt: skip
    launch("crop", headers, grid, arguments, out.device.index or 0)


def paste(
    frame: Tensor,  # i64 [6]
    out: Tensor,  # i64 [6], of the same size and apart from it
    place: Tensor,  # f32 [16]
    feather: float,
    flow: Tensor,  # f32 [2, S, S]
    mask: Tensor | None,  # f32 [1, S, S]
    color: Tensor | None,  # f32 [3, S, S]
    light: Tensor | None,  # f32 [1, S, S]
    headers: str,
) -> None:
    fields = (flow, mask, color, light)
    arguments = (
        _address(frame), _address(out), _address(place), np.float32(feather), np.int32(flow.shape[2]),
        *(word for field in fields for word in _field(None if field is None else field[None])),
    )  # fmt: skip
    launch("paste", headers, (PASTING,), arguments, flow.device.index or 0)


def _address(x: Tensor) -> np.int64:
    return np.int64(x.data_ptr())


def _field(x: Tensor | None) -> tuple[np.int64, ...]:
    """Address, and strides in bytes, of [B, C, S, S]."""
    if x is None:
        return (np.int64(0),) * 5
    return _address(x), *(np.int64(stride * x.element_size()) for stride in x.stride())
