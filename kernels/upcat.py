"""One write of what a U-Net's decoder reads:  y = concat(up(act(norm(a))), up(act(norm(b))))

    a, b      [B, C, H, W] f32, f16 or bf16, any strides, or b None; y [B, CA + CB, ...] alike
    norm      f32 [3, B, C] as `norm_act.merge` makes it, (x - mean) * scale + shift, or None
    act       act(v) = v if v > 0 else slope * v
    up        none, or x2: nearest, bilinear, or bilinear with align_corners; each source has its own

Bytes that must move: a, b and y once. Neighbouring outputs read the same inputs, which the caches serve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl
from fetfast.kernels.norm_act import activate, load_norm

if TYPE_CHECKING:
    from torch import Tensor

UP = {"none": 0, "nearest": 1, "bilinear": 2, "bilinear_corners": 3}


@triton.jit
def _read(x, mean, scale, shift, row, column, c, live, H, W, x_y, x_x, slope, NORM: tl.constexpr):
    v = tl.load(x + (row * x_y + column * x_x)[:, None] + c, mask=live, other=0.0).to(tl.float32)
    if NORM:
        v = (v - mean) * scale + shift
    return activate(v, slope)


@triton.jit
def source(
    x, norm, b, row, column, c, live, B, C, H, W, x_b, x_c, x_y, x_x, slope,
    NORM: tl.constexpr, UP: tl.constexpr,
):  # fmt: skip
    """[pixels, channels] f32 of one source at rows and columns of the output."""
    mean, scale, shift = 0.0, 1.0, 0.0
    if NORM:
        mean, scale, shift = load_norm(norm, b, c[None, :], B, C)
    x += b * x_b
    at = (c * x_c)[None, :]
    if UP == 0:
        v = _read(x, mean, scale, shift, row, column, at, live, H, W, x_y, x_x, slope, NORM)
    elif UP == 1:
        v = _read(x, mean, scale, shift, row // 2, column // 2, at, live, H, W, x_y, x_x, slope, NORM)
    else:
        if UP == 2:
            fy = tl.maximum(row * 0.5 - 0.25, 0.0)
            fx = tl.maximum(column * 0.5 - 0.25, 0.0)
        else:
            fy = row * ((H - 1) / (2 * H - 1))
            fx = column * ((W - 1) / (2 * W - 1))
        top = tl.minimum(fy.to(tl.int32), H - 1)
        left = tl.minimum(fx.to(tl.int32), W - 1)
        ty = (fy - top)[:, None]
        tx = (fx - left)[:, None]
        bottom = tl.minimum(top + 1, H - 1)
        right = tl.minimum(left + 1, W - 1)
        upper = (1.0 - tx) * _read(x, mean, scale, shift, top, left, at, live, H, W, x_y, x_x, slope, NORM)
        upper += tx * _read(x, mean, scale, shift, top, right, at, live, H, W, x_y, x_x, slope, NORM)
        lower = (1.0 - tx) * _read(x, mean, scale, shift, bottom, left, at, live, H, W, x_y, x_x, slope, NORM)
        lower += tx * _read(x, mean, scale, shift, bottom, right, at, live, H, W, x_y, x_x, slope, NORM)
        v = (1.0 - ty) * upper + ty * lower
    return v


@triton.jit
def upcat_kernel(
    a, a_norm, b, b_norm, y, B, HO, WO, CA, CB, HA, WA, HB, WB,
    a_b, a_c, a_y, a_x, b_b, b_c, b_y, b_x, y_b, y_c, y_y, y_x, a_slope, b_slope,
    A_NORM: tl.constexpr, A_UP: tl.constexpr, B_NORM: tl.constexpr, B_UP: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(2).to(tl.int64)
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    row = p // WO
    column = p % WO
    inside = p < HO * WO
    to = y + image * y_b + (row * y_y + column * y_x)[:, None]
    blocks = tl.cdiv(CA, BLOCK_C)
    block = tl.program_id(1)
    if block < blocks:
        c = block * BLOCK_C + tl.arange(0, BLOCK_C)
        live = inside[:, None] & (c < CA)[None, :]
        v = source(a, a_norm, image, row, column, c, live, B, CA, HA, WA, a_b, a_c, a_y, a_x, a_slope, A_NORM, A_UP)
        tl.store(to + (c * y_c)[None, :], v, mask=live)
    else:
        c = (block - blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
        live = inside[:, None] & (c < CB)[None, :]
        v = source(b, b_norm, image, row, column, c, live, B, CB, HB, WB, b_b, b_c, b_y, b_x, b_slope, B_NORM, B_UP)
        tl.store(to + ((CA + c) * y_c)[None, :], v, mask=live)


def launch(
    a: Tensor,  # [B, CA, H, W]
    a_norm: Tensor | None,  # f32 [3, B, CA]
    a_slope: float,
    a_up: str,  # a key of UP
    b: Tensor | None,  # [B, CB, H, W]
    b_norm: Tensor | None,
    b_slope: float,
    b_up: str,
    y: Tensor,  # [B, CA + CB, HO, WO]
) -> None:
    B, C, HO, WO = y.shape
    CA = a.shape[1]
    other = a if b is None else b
    if y.stride(1) == 1:
        block_c = min(64, triton.next_power_of_2(max(CA, C - CA)))
    else:
        block_c = 1
    blended = a_up.startswith("bilinear") or b_up.startswith("bilinear")  # four inputs at once fill the registers
    block_p = min((2048 if blended else 4096) // block_c, max(16, triton.next_power_of_2(HO * WO)))
    grid = (triton.cdiv(HO * WO, block_p), triton.cdiv(CA, block_c) + triton.cdiv(C - CA, block_c), B)
    upcat_kernel[grid](
        a, a_norm, other, b_norm, y, B, HO, WO, CA, C - CA,
        *a.shape[2:], *other.shape[2:], *a.stride(), *other.stride(), *y.stride(), a_slope, b_slope,
        A_NORM=a_norm is not None, A_UP=UP[a_up], B_NORM=b_norm is not None, B_UP=UP[b_up] if b is not None else 0,
        BLOCK_P=block_p, BLOCK_C=block_c,
    )  # fmt: skip
