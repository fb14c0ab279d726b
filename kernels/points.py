"""A face's points on their way to a picture: how far they go, and between which of them a flow is spread.

    moved      out_k = target_k + amount_k (fused_k - target_k)
    anchors    source, driven: `ops.anchors.anchors`, and then `ops.anchors.corrected`, for A points out of K landmarks

    points     f32 [B, K, 2] (x, y) in crop sides, contiguous; a point that is NaN stays one, and changes no other
    table      of each anchor: f32 [A, 4] (t of the way from one landmark to another, mass 1 / s^2, 1 within the face's
               oval, 0) and i32 [A, 4] (that landmark, that other one, the first of three of the lid above or -1, 0)

Bytes that must move: 8 B K for each array of points. `anchors` evaluates B A^2 exponentials.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor


ROWS = 8  # anchors of a program: so many programs that they fill a GPU


@triton.jit
def moved_kernel(target, fused, amount, out, N, BLOCK: tl.constexpr):
    """N points in all."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    at = tl.load(target + i, mask=i < 2 * N, other=0.0)
    change = tl.load(fused + i, mask=i < 2 * N, other=0.0) - at
    share = tl.load(amount + i // 2, mask=i < 2 * N, other=0.0)
    tl.store(out + i, at + share * change, mask=i < 2 * N)


@triton.jit
def anchor(
    source, driven, numbers, landmarks, j, live,
    SHUT: tl.constexpr, OPEN: tl.constexpr, COVER: tl.constexpr,
):  # fmt: skip
    """Source and driven point (x, y each) of the anchors j, whatever their shape. source, driven: of one face."""
    t = tl.load(numbers + 4 * j, mask=live, other=0.0)
    upper = 2 * tl.load(landmarks + 4 * j, mask=live, other=0)
    lower = 2 * tl.load(landmarks + 4 * j + 1, mask=live, other=0)
    lid = tl.load(landmarks + 4 * j + 2, mask=live, other=-1)
    ux = tl.load(driven + upper)
    uy = tl.load(driven + upper + 1)
    lx = tl.load(driven + lower)
    ly = tl.load(driven + lower + 1)
    sx = tl.load(source + upper)
    sy = tl.load(source + upper + 1)
    # between two landmarks
    gap = tl.sqrt_rn((lx - ux) * (lx - ux) + (ly - uy) * (ly - uy))
    wide = tl.minimum(tl.maximum((gap - SHUT) / (OPEN - SHUT), 0.0), 1.0)
    nearer = tl.where(t > 0.5, 1.0, 0.0)
    s = nearer + wide * (t - nearer)
    qx = (1.0 - t) * ux + t * lx
    qy = (1.0 - t) * uy + t * ly
    px = qx + (1.0 - s) * (sx - ux) + s * (tl.load(source + lower) - lx)
    py = qy + (1.0 - s) * (sy - uy) + s * (tl.load(source + lower + 1) - ly)
    # a landmark itself; of an iris, what the lid above covers goes with the lid
    rim = tl.zeros_like(t)
    dx = tl.zeros_like(t)
    dy = tl.zeros_like(t)
    of_iris = lid >= 0
    for i in tl.static_range(3):
        at = 2 * (lid + i)
        x = tl.load(driven + at, mask=of_iris, other=0.0)
        y = tl.load(driven + at + 1, mask=of_iris, other=0.0)
        rim += y / 3
        dx += (tl.load(source + at, mask=of_iris, other=0.0) - x) / 3
        dy += (tl.load(source + at + 1, mask=of_iris, other=0.0) - y) / 3
    cover = tl.minimum(tl.maximum((rim - uy) / COVER + 0.5, 0.0), 1.0)
    itself = t == 0.0
    qx = tl.where(itself, ux, qx)
    qy = tl.where(itself, uy, qy)
    px = tl.where(itself, sx, px)
    py = tl.where(itself, sy, py)
    px = tl.where(of_iris, (1.0 - cover) * sx + cover * (ux + dx), px)
    py = tl.where(of_iris, (1.0 - cover) * sy + cover * (uy + dy), py)
    return px, py, qx, qy


@triton.jit
def shift(px, py, qx, qy, FAR: tl.constexpr):
    """Displacement and place, from the face's middle, and whether they are known; 0 where not."""
    dx = px - qx
    dy = py - qy
    x = qx - 0.5
    y = qy - 0.5
    known = (tl.abs(dx) < FAR) & (tl.abs(dy) < FAR) & (tl.abs(x) < FAR) & (tl.abs(y) < FAR)
    zero = tl.zeros_like(dx)
    return (
        tl.where(known, dx, zero),
        tl.where(known, dy, zero),
        tl.where(known, x, zero),
        tl.where(known, y, zero),
        known,
    )


@triton.jit
def anchors_kernel(
    source, driven, numbers, landmarks, out, B, K, A, epsilon,
    SHUT: tl.constexpr, OPEN: tl.constexpr, COVER: tl.constexpr, FAR: tl.constexpr,
    ROWS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(1)
    source += 2 * b * K
    driven += 2 * b * K
    j = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    px, py, qx, qy = anchor(source, driven, numbers, landmarks, j, j < A, SHUT, OPEN, COVER)
    dx, dy, x, y, known = shift(px, py, qx, qy, FAR)
    sum_x = tl.zeros([ROWS], tl.float32)
    sum_y = tl.zeros([ROWS], tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    for first in range(0, A, DEPTH):
        k = first + tl.arange(0, DEPTH)
        other = anchor(source, driven, numbers, landmarks, k, k < A, SHUT, OPEN, COVER)
        ex, ey, ox, oy, there = shift(other[0], other[1], other[2], other[3], FAR)
        mass = tl.load(numbers + 4 * k + 1, mask=k < A, other=0.0)
        across = x[:, None] - ox[None, :]
        down = y[:, None] - oy[None, :]
        weight = tl.exp(-0.5 * mass[None, :] * (across * across + down * down))
        weight *= tl.where(there, mass, 0.0)[None, :]
        sum_x += tl.sum(weight * ex[None, :], 1)
        sum_y += tl.sum(weight * ey[None, :], 1)
        total += tl.sum(weight, 1)
    moves = known & (tl.load(numbers + 4 * j + 2, mask=j < A, other=0.0) > 0.0)
    px += tl.where(moves, dx - sum_x / (total + epsilon), 0.0)
    py += tl.where(moves, dy - sum_y / (total + epsilon), 0.0)
    to = out + 2 * (b * A + j)
    tl.store(to, px, mask=j < A)
    tl.store(to + 1, py, mask=j < A)
    tl.store(to + 2 * B * A, qx, mask=j < A)
    tl.store(to + 2 * B * A + 1, qy, mask=j < A)


def moved(
    target: Tensor,  # f32 [B, K, 2]
    fused: Tensor,  # f32 [B, K, 2]
    amount: Tensor,  # f32 [B, K, 1]
    out: Tensor,  # f32 [B, K, 2]
) -> None:
    N = amount.numel()
    moved_kernel[(triton.cdiv(2 * N, 1024),)](target, fused, amount, out, N, BLOCK=1024)


def anchors(
    source: Tensor,  # f32 [B, K, 2]
    driven: Tensor,  # f32 [B, K, 2]
    numbers: Tensor,  # f32 [A, 4]
    landmarks: Tensor,  # i32 [A, 4]
    shut: float,
    open: float,
    cover: float,
    far: float,
    epsilon: float,
    out: Tensor,  # f32 [2, B, A, 2]: source, driven
) -> None:
    _, B, A, _ = out.shape
    anchors_kernel[triton.cdiv(A, ROWS), B](
        source, driven, numbers, landmarks, out, B, source.shape[1], A, epsilon,
        SHUT=shut, OPEN=open, COVER=cover, FAR=far, ROWS=ROWS, DEPTH=64,
    )  # fmt: skip
