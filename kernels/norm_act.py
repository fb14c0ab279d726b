"""Instance norm, activation, residual:  y = act((x - mean) / sqrt(var + eps) * weight + bias) + residual

mean and var (biased) are those of the pixels of one [b, c]; act(v) = v if v > 0 else slope * v, so that slope 1 is no
activation and slope 0 is ReLU.

    x, residual, y   [B, P, C] views of images, f32, f16 or bf16, any strides; P = H * W pixels. y may be x.
    weight, bias     f32 [C] or [B, C] (AdaIN)
    norm             f32 [3, B, C]: mean, scale, shift of (x - mean) * scale + shift, for whoever reads x next
    pieces           f32 [2, B, S, C]: mean and sum of squared deviations of each of S pieces of a plane

Bytes that must move: x once, residual once and y once where a plane fits on chip (`one_pass`), else x twice.
All arithmetic is f32. A plane that does not fit is split over programs (`moments`), whose pieces `merge` joins in a
fixed order (Chan, Golub, LeVeque 1979): no atomics, no cancellation of large means, the same bits at every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor

ON_CHIP = 1 << 14  # elements that one program keeps in registers
PIECE = 1 << 13


@triton.jit
def activate(v, slope):
    return tl.where(v > 0, v, v * slope)


@triton.jit
def piece_moments(v, live, count):
    """Mean [C] and sum of squared deviations [C] of the live rows of v [P, C] f32. The first mean has the rounding of a
    long sum; the mean of what is left over corrects it."""
    mean = tl.sum(tl.where(live, v, 0.0), 0) / count
    deviation = tl.where(live, v - mean[None, :], 0.0)
    left = tl.sum(deviation, 0) / count
    return mean + left, tl.sum(deviation * deviation, 0) - count * left * left


@triton.jit
def scale_shift(squares, count, weight, bias, row, c, live, C, eps, AFFINE: tl.constexpr):
    """Of the norm (x - mean) * scale + shift; `row` is b for AdaIN's [B, C] and 0 for [C]."""
    scale = 1.0 / tl.sqrt_rn(squares / count + eps)
    shift = tl.zeros_like(scale)
    if AFFINE:
        scale *= tl.load(weight + row * C + c, mask=live, other=0.0).to(tl.float32)
        shift = tl.load(bias + row * C + c, mask=live, other=0.0).to(tl.float32)
    return scale, shift


@triton.jit
def one_pass_kernel(
    x, weight, bias, residual, y, P, C, eps, slope,
    x_b, x_p, x_c, r_b, r_p, r_c, y_b, y_p, y_c, rows,
    AFFINE: tl.constexpr, RESIDUAL: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(1).to(tl.int64)
    p = tl.arange(0, BLOCK_P)[:, None]
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    live = (p < P) & (c < C)[None, :]
    v = tl.load(x + b * x_b + p * x_p + c[None, :] * x_c, mask=live, other=0.0).to(tl.float32)
    mean, squares = piece_moments(v, live, P)
    scale, shift = scale_shift(squares, P, weight, bias, b * rows, c, c < C, C, eps, AFFINE)
    v = activate((v - mean[None, :]) * scale[None, :] + shift[None, :], slope)
    if RESIDUAL:
        v += tl.load(residual + b * r_b + p * r_p + c[None, :] * r_c, mask=live, other=0.0).to(tl.float32)
    tl.store(y + b * y_b + p * y_p + c[None, :] * y_c, v, mask=live)


@triton.jit
def moments_kernel(x, pieces, P, C, B, x_b, x_p, x_c, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    s, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    p = s * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    live = (p < P) & (c < C)[None, :]
    v = tl.load(x + b * x_b + p * x_p + c[None, :] * x_c, mask=live, other=0.0).to(tl.float32)
    mean, squares = piece_moments(v, live, tl.minimum(P - s * BLOCK_P, BLOCK_P))
    splits = tl.num_programs(0)
    to = pieces + (b * splits + s) * C + c
    tl.store(to, mean, mask=c < C)
    tl.store(to + B * splits * C, squares, mask=c < C)


@triton.jit
def merge_kernel(
    pieces, weight, bias, norm, S, C, B, tiles, per_tile, per_plane, eps, rows,
    AFFINE: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Piece s holds min(per_tile, per_plane - (s % tiles) * per_tile) pixels."""
    b = tl.program_id(1).to(tl.int64)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    means = pieces + b * S * C + c[None, :]
    total = tl.zeros([BLOCK_S, BLOCK_C], tl.float32)
    for first in range(0, S, BLOCK_S):
        s = first + tl.arange(0, BLOCK_S)[:, None]
        live = (s < S) & (c < C)[None, :]
        n = tl.minimum(per_tile, per_plane - (s % tiles) * per_tile).to(tl.float32)
        total += n * tl.load(means + s * C, mask=live, other=0.0)
    count = (S // tiles) * per_plane
    mean = tl.sum(total, 0) / count
    squares = tl.zeros([BLOCK_S, BLOCK_C], tl.float32)
    for first in range(0, S, BLOCK_S):
        s = first + tl.arange(0, BLOCK_S)[:, None]
        live = (s < S) & (c < C)[None, :]
        n = tl.minimum(per_tile, per_plane - (s % tiles) * per_tile).to(tl.float32)
        off = tl.load(means + s * C, mask=live, other=0.0) - mean[None, :]
        within = tl.load(means + B * S * C + s * C, mask=live, other=0.0)
        squares += tl.where(live, within + n * off * off, 0.0)
    scale, shift = scale_shift(tl.sum(squares, 0), count, weight, bias, b * rows, c, c < C, C, eps, AFFINE)
    store_norm(norm, mean, scale, shift, b, c, B, C)


@triton.jit
def store_norm(norm, mean, scale, shift, b, c, B, C):
    to = norm + b * C + c
    tl.store(to, mean, mask=c < C)
    tl.store(to + B * C, scale, mask=c < C)
    tl.store(to + 2 * B * C, shift, mask=c < C)


@triton.jit
def load_norm(norm, b, c, B, C):
    """mean, scale, shift at b and c, which broadcast."""
    at = norm + b * C + c
    live = c < C
    mean = tl.load(at, mask=live, other=0.0)
    return mean, tl.load(at + B * C, mask=live, other=0.0), tl.load(at + 2 * B * C, mask=live, other=0.0)


@triton.jit
def apply_kernel(
    x, norm, residual, y, P, C, B, slope, x_b, x_p, x_c, r_b, r_p, r_c, y_b, y_p, y_c,
    RESIDUAL: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2).to(tl.int64)
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    live = (p < P) & (c < C)[None, :]
    v = tl.load(x + b * x_b + p * x_p + c[None, :] * x_c, mask=live, other=0.0).to(tl.float32)
    mean, scale, shift = load_norm(norm, b, c[None, :], B, C)
    v = activate((v - mean) * scale + shift, slope)
    if RESIDUAL:
        v += tl.load(residual + b * r_b + p * r_p + c[None, :] * r_c, mask=live, other=0.0).to(tl.float32)
    tl.store(y + b * y_b + p * y_p + c[None, :] * y_c, v, mask=live)


def tile(x: Tensor, budget: int) -> tuple[int, int]:
    """(BLOCK_P, BLOCK_C) for x [B, P, C]: whole runs of what is contiguous, `budget` elements in all."""
    _, P, C = x.shape
    widest = triton.next_power_of_2(C)
    channels = min(64, widest) if x.stride(2) == 1 else 1
    pixels = min(triton.next_power_of_2(P), budget // channels)
    return pixels, min(widest, max(channels, 1024 // pixels)) if channels == 1 else channels


def fits_on_chip(x: Tensor) -> bool:
    """Whether a program can hold the whole planes of as many channels as make full memory transactions."""
    width = min(triton.next_power_of_2(x.shape[2]), 32 // x.element_size()) if x.stride(2) == 1 else 1
    return triton.next_power_of_2(x.shape[1]) * width <= ON_CHIP


def one_pass(
    x: Tensor,  # [B, P, C], planes that fit
    weight: Tensor | None,  # f32 [C] or [B, C]
    bias: Tensor | None,
    residual: Tensor | None,  # [B, P, C]
    y: Tensor,  # [B, P, C]
    eps: float,
    slope: float,
) -> None:
    B, P, C = x.shape
    block_p = triton.next_power_of_2(P)
    width = max(1, ON_CHIP // 2 // block_p)
    if x.stride(2) == 1:
        width = max(width, 32 // x.element_size())
    block_c = min(triton.next_power_of_2(C), width, 64)
    r = residual if residual is not None else x
    one_pass_kernel[triton.cdiv(C, block_c), B](
        x, weight, bias, r, y, P, C, eps, slope, *x.stride(), *r.stride(), *y.stride(), _rows(weight),
        AFFINE=weight is not None, RESIDUAL=residual is not None, BLOCK_P=block_p, BLOCK_C=block_c,
        num_warps=max(1, min(16, block_p * block_c // 1024)),
    )  # fmt: skip


def piece_count(x: Tensor) -> int:
    """S of the pieces that `moments` makes of x [B, P, C]."""
    return triton.cdiv(x.shape[1], tile(x, PIECE)[0])


def moments(
    x: Tensor,  # [B, P, C]
    pieces: Tensor,  # f32 [2, B, S, C]
) -> tuple[int, int, int]:
    """Returns what `merge` must know of the pieces: tiles, per_tile, per_plane."""
    B, P, C = x.shape
    block_p, block_c = tile(x, PIECE)
    grid = (triton.cdiv(P, block_p), triton.cdiv(C, block_c), B)
    moments_kernel[grid](x, pieces, P, C, B, *x.stride(), BLOCK_P=block_p, BLOCK_C=block_c, num_warps=8)
    return grid[0], block_p, P


def merge(
    pieces: Tensor,  # f32 [2, B, S, C]
    counts: tuple[int, int, int],  # tiles, per_tile, per_plane
    weight: Tensor | None,  # f32 [C] or [B, C]
    bias: Tensor | None,
    norm: Tensor,  # f32 [3, B, C]
    eps: float,
) -> None:
    _, B, S, C = pieces.shape
    block_c = min(16, triton.next_power_of_2(C))
    block_s = min(256, triton.next_power_of_2(S))
    merge_kernel[triton.cdiv(C, block_c), B](
        pieces, weight, bias, norm, S, C, B, *counts, eps, _rows(weight),
        AFFINE=weight is not None, BLOCK_S=block_s, BLOCK_C=block_c, num_warps=8 if block_s * block_c > 2048 else 4,
    )  # fmt: skip


def apply(
    x: Tensor,  # [B, P, C]
    norm: Tensor,  # f32 [3, B, C]
    residual: Tensor | None,  # [B, P, C]
    y: Tensor,  # [B, P, C]
    slope: float,
) -> None:
    B, P, C = x.shape
    block_p, block_c = tile(x, PIECE // 2)
    r = residual if residual is not None else x
    apply_kernel[triton.cdiv(P, block_p), triton.cdiv(C, block_c), B](
        x, norm, r, y, P, C, B, slope, *x.stride(), *r.stride(), *y.stride(),
        RESIDUAL=residual is not None, BLOCK_P=block_p, BLOCK_C=block_c,
    )  # fmt: skip


def launch(
    x: Tensor,  # [B, P, C]
    weight: Tensor | None,  # f32 [C] or [B, C]
    bias: Tensor | None,
    residual: Tensor | None,
    y: Tensor,
    eps: float,
    slope: float,
) -> None:
    """y = act(norm(x)) + residual, by the way that moves fewest bytes."""
    B, _, C = x.shape
    if fits_on_chip(x):
        one_pass(x, weight, bias, residual, y, eps, slope)
        return
    import torch

    pieces = torch.empty(2, B, piece_count(x), C, dtype=torch.float32, device=x.device)
    norm = torch.empty(3, B, C, dtype=torch.float32, device=x.device)
    merge(pieces, moments(x, pieces), weight, bias, norm, eps)
    apply(x, norm, residual, y, slope)


def _rows(weight: Tensor | None) -> int:
    return int(weight is not None and weight.ndim == 2)
