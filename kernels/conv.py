"""Convolution as a matrix product that reads its inputs unnormalised and leaves behind what the next norm needs.

    y[b, o, p] = act(bias[o] + sum over taps t and channels c of weight[t, c, o] * x[b, c, stride * p + t - padding])
    x = concat(up(act(norm(a))), up(act(norm(b)))), which is never written

    a, b     [B, H, W, C] f16, bf16 or f32, channels next to one another; b may be None. Outside an image is 0.
    norm     f32 [3, B, C] as `norm_act.merge` makes it, or None; act(v) = v if v > 0 else slope * v; up x2 nearest
    weight   [Q, T, CA + CB, N]: T taps; Q = 1, or 4 for a transposed 4x4 convolution of stride 2, of which each of the
             4 parities (row, column) of output pixels is a 2x2 convolution: row 2i + q reads rows i + q - t by tap
             1 - q + 2t
    y        [B, HO, WO, N] of weight's type; sums are f32

Bytes that must move: a, b and weight once (at batch 1 and small maps the weights are all of it), y once.

Rows of the product are output pixels, columns are output channels. Two ways:
    direct   a program's rows lie in one image; it writes y, and its rows' mean and squared deviations for `merge`.
    joined   for small maps: rows run over the images, and the sum over taps and channels is split over programs, so
             that all SMs read weights; `join` adds the parts in order, writes y and the norm itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl
from fetfast.kernels.configs import Config
from fetfast.kernels.norm_act import activate, load_norm, merge, piece_moments, scale_shift, store_norm

if TYPE_CHECKING:
    from torch import Tensor


@triton.jit
def add_source(
    acc, x, norm, weight, image, oy, ox, live, qy, qx, n, begin, end, B, H, W, pitch, N, slope,
    C: tl.constexpr, FIRST: tl.constexpr, ALL: tl.constexpr, TAPS: tl.constexpr, STRIDE: tl.constexpr,
    TRANSPOSED: tl.constexpr, READ: tl.constexpr, UP: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """acc [rows, columns] plus steps begin ... end of one source, whose channels are FIRST ... FIRST + C of ALL.
    `image` is the rows' image, or that of each of them [rows, 1]. READ: 0 as it is, 1 activated, 2 normalised too."""
    blocks: tl.constexpr = (C + DEPTH - 1) // DEPTH
    for k in range(begin, end):
        tap = k // blocks
        c = (k % blocks) * DEPTH + tl.arange(0, DEPTH)
        if TRANSPOSED:
            y = oy + qy - tap // TAPS
            x_ = ox + qx - tap % TAPS
        else:
            y = oy * STRIDE + tap // TAPS - (TAPS - 1) // 2
            x_ = ox * STRIDE + tap % TAPS - (TAPS - 1) // 2
        inside = live & (y >= 0) & (y < H * (UP + 1)) & (x_ >= 0) & (x_ < W * (UP + 1))
        at = (image * H + (y >> UP)) * W + (x_ >> UP)
        v = tl.load(x + at * pitch + c[None, :], mask=inside & (c < C)[None, :], other=0.0)
        w_row = (tap * ALL + FIRST + c)[:, None]
        w = tl.load(weight + w_row * N + n[None, :], mask=(c < C)[:, None] & (n < N)[None, :], other=0.0)
        if READ == 1:
            v = activate(v.to(tl.float32), slope)
        elif READ == 2:
            mean, scale, shift = load_norm(norm, image, c[None, :], B, C)
            v = activate((v.to(tl.float32) - mean) * scale + shift, slope)
            v = tl.where(inside, v, 0.0)
        acc = tl.dot(v.to(w.dtype), w, acc, input_precision=PRECISION)
    return acc


@triton.jit
def conv_kernel(
    a, a_norm, b, b_norm, weight, bias, y, pieces, B, HO, WO, HA, WA, HB, WB, a_pitch, b_pitch, N,
    a_slope, b_slope, slope,
    CA: tl.constexpr, CB: tl.constexpr, TAPS: tl.constexpr, STRIDE: tl.constexpr, TRANSPOSED: tl.constexpr,
    A_READ: tl.constexpr, A_UP: tl.constexpr, B_READ: tl.constexpr, B_UP: tl.constexpr,
    BIAS: tl.constexpr, STATISTICS: tl.constexpr, JOINED: tl.constexpr, ALONE: tl.constexpr, SPLIT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """HO, WO: the output of one parity. JOINED: y is f32 [SPLIT, B, pixels, N], sums that `join` adds up.
    ALONE: all rows of a program lie in one image."""
    columns = tl.cdiv(N, COLUMNS)
    tile = tl.program_id(0) // columns
    n = (tl.program_id(0) % columns) * COLUMNS + tl.arange(0, COLUMNS)
    parity = tl.program_id(1) // SPLIT
    split = tl.program_id(1) % SPLIT
    qy = parity // 2
    qx = parity % 2
    row = tile * ROWS + tl.arange(0, ROWS)[:, None]
    if JOINED:
        image = tl.minimum((tile * ROWS if ALONE else row) // (HO * WO), B - 1)
        p = row - image * (HO * WO)
        live = row < B * HO * WO
    else:
        image = tl.program_id(2)
        p = row
        live = row < HO * WO
    oy = p // WO
    ox = p % WO

    a_blocks: tl.constexpr = TAPS * TAPS * ((CA + DEPTH - 1) // DEPTH)
    b_blocks: tl.constexpr = TAPS * TAPS * ((CB + DEPTH - 1) // DEPTH)
    share: tl.constexpr = (a_blocks + b_blocks + SPLIT - 1) // SPLIT
    begin = split * share
    end = tl.minimum(begin + share, a_blocks + b_blocks)
    weight += parity * TAPS * TAPS * (CA + CB) * N
    acc = tl.zeros([ROWS, COLUMNS], tl.float32)
    acc = add_source(
        acc, a, a_norm, weight, image, oy, ox, live, qy, qx, n, begin, tl.minimum(end, a_blocks),
        B, HA, WA, a_pitch, N, a_slope, CA, 0, CA + CB, TAPS, STRIDE, TRANSPOSED, A_READ, A_UP, DEPTH, PRECISION,
    )  # fmt: skip
    if CB > 0:
        acc = add_source(
            acc, b, b_norm, weight, image, oy, ox, live, qy, qx, n, tl.maximum(begin - a_blocks, 0), end - a_blocks,
            B, HB, WB, b_pitch, N, b_slope, CB, CA, CA + CB, TAPS, STRIDE, TRANSPOSED, B_READ, B_UP, DEPTH, PRECISION,
        )  # fmt: skip

    if TRANSPOSED:
        p = (2 * oy + qy) * (2 * WO) + 2 * ox + qx
        pixels = 4 * HO * WO
    else:
        pixels = HO * WO
    live_n = (n < N)[None, :]
    to = (image * pixels + p) * N + n[None, :]
    if JOINED:
        tl.store(y + split * B * pixels * N + to, acc, mask=live & live_n)
    else:
        if BIAS:
            acc += tl.load(bias + n, mask=n < N, other=0.0)[None, :]
        v = activate(acc, slope).to(y.dtype.element_ty)
        tl.store(y + to, v, mask=live & live_n)
        if STATISTICS:
            tiles = tl.cdiv(HO * WO, ROWS)
            count = tl.minimum(HO * WO - tile * ROWS, ROWS)
            mean, squares = piece_moments(v.to(tl.float32), live, count)
            S = tl.num_programs(1) * tiles
            at = (image * S + parity * tiles + tile) * N + n
            tl.store(pieces + at, mean, mask=n < N)
            tl.store(pieces + B * S * N + at, squares, mask=n < N)


@triton.jit
def join_kernel(
    parts, bias, y, norm_weight, norm_bias, norm, B, P, N, slope, eps,
    BIAS: tl.constexpr, STATISTICS: tl.constexpr, AFFINE: tl.constexpr, SPLIT: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(1)
    p = tl.arange(0, BLOCK_P)[:, None]
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    live = (p < P) & (n < N)[None, :]
    at = (b * P + p) * N + n[None, :]
    v = tl.zeros([BLOCK_P, BLOCK_N], tl.float32)
    for split in range(SPLIT):
        v += tl.load(parts + split * B * P * N + at, mask=live, other=0.0)
    if BIAS:
        v += tl.load(bias + n, mask=n < N, other=0.0)[None, :]
    v = activate(v, slope).to(y.dtype.element_ty)
    tl.store(y + at, v, mask=live)
    if STATISTICS:
        mean, squares = piece_moments(v.to(tl.float32), live, P)
        scale, shift = scale_shift(squares, P, norm_weight, norm_bias, 0, n, n < N, N, eps, AFFINE)
        store_norm(norm, mean, scale, shift, b, n, B, N)


def workspace(config: Config, y: Tensor, transposed: bool) -> tuple[int, ...]:
    """The shape of the f32 buffer that `launch` needs: sums to join, or pieces of statistics."""
    B, HO, WO, N = y.shape
    if config.joined:
        return config.split, B, HO * WO, N
    Q = 4 if transposed else 1
    return 2, B, Q * triton.cdiv(HO * WO // Q, config.rows), N


def launch(
    a: Tensor,  # [B, H, W, CA]
    a_norm: Tensor | None,  # f32 [3, B, CA]
    a_slope: float,
    a_up: bool,
    b: Tensor | None,  # [B, H, W, CB]
    b_norm: Tensor | None,
    b_slope: float,
    b_up: bool,
    weight: Tensor,  # [Q, T, CA + CB, N]
    bias: Tensor | None,  # f32 [N]
    y: Tensor,  # [B, HO, WO, N], contiguous
    norm: Tensor | None,  # f32 [3, B, N]: where y's statistics go, as the norm to come
    norm_weight: Tensor | None,  # f32 [N], of that norm
    norm_bias: Tensor | None,
    work: Tensor,  # f32, of the shape that `workspace` says
    stride: int,
    slope: float,
    eps: float,
    config: Config,
) -> None:
    B, HO, WO, N = y.shape
    Q, T, _, _ = weight.shape
    CA, CB = a.shape[3], 0 if b is None else b.shape[3]
    other = a if b is None else b
    if Q == 4:
        HO, WO = HO // 2, WO // 2
    rows = (B if config.joined else 1) * HO * WO
    grid = (
        triton.cdiv(rows, config.rows) * triton.cdiv(N, config.columns), Q * config.split, 1 if config.joined else B
    )  # fmt: skip
    conv_kernel[grid](
        a, a_norm, other, b_norm, weight, bias, work if config.joined else y, work, B, HO, WO,
        a.shape[1], a.shape[2], other.shape[1], other.shape[2], a.stride(2), other.stride(2), N,
        a_slope, b_slope, slope, CA=CA, CB=CB, TAPS=round(T**0.5), STRIDE=stride, TRANSPOSED=Q == 4,
        A_READ=_read(a_norm, a_slope), A_UP=int(a_up), B_READ=_read(b_norm, b_slope), B_UP=int(b_up),
        BIAS=bias is not None,
        STATISTICS=norm is not None, JOINED=config.joined, SPLIT=config.split,
        ALONE=not config.joined or B == 1 or HO * WO % config.rows == 0,
        ROWS=config.rows, COLUMNS=config.columns, DEPTH=config.depth,
        PRECISION="tf32x3" if weight.element_size() == 4 else "tf32", num_warps=config.warps, num_stages=config.stages,
    )  # fmt: skip
    if config.joined:
        P = y.shape[1] * y.shape[2]
        block_p = triton.next_power_of_2(P)
        block_n = min(triton.next_power_of_2(N), max(8, min(32, 1024 // block_p)))
        join_kernel[triton.cdiv(N, block_n), B](
            work, bias, y, norm_weight, norm_bias, norm, B, P, N, slope, eps, BIAS=bias is not None,
            STATISTICS=norm is not None, AFFINE=norm_weight is not None, SPLIT=config.split,
            BLOCK_P=block_p, BLOCK_N=block_n, num_warps=max(1, min(8, block_p * block_n // 512)),
        )  # fmt: skip
    elif norm is not None:
        merge(work, (triton.cdiv(HO * WO, config.rows), config.rows, HO * WO), norm_weight, norm_bias, norm, eps)


def _read(norm: Tensor | None, slope: float) -> int:
    return 2 if norm is not None else int(slope != 1)
