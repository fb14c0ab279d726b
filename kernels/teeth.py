"""A mouth's front teeth: where they stand, and a map of them.

    stand   t = W driven + V target, moved between the lips' edges                                  `ops.teeth.teeth`
    draw    out(p) = (1 - line(p)) max(upper(p), behind lower(p))                               `ops.teeth.teeth_map`

    line    clamp(reach - min over edges of |p - edge|, 0, 1), in pixels: as `heatmap.contours` draws them
    upper, lower   the most that one of a jaw's teeth takes of pixel p: up and down between its biting edge and its gums
                   at the pixel's middle, and across between the ends of its biting edge
    points         f32 [B, N, 2] (x, y) in crop sides, contiguous, N = 2 (U + 1) + 2 (L + 1): U + 1 along the upper
                   biting edge, as many along its gums, L + 1 along the lower biting edge, as many along its gums; NaN:
                   none
    out            [B, 1, S, S] f32, f16 or bf16, any strides

Bytes that must move: 8 N K of W and V for each face; B S^2 of out's type written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor

PIXELS = 256  # of a program
ROWS = 8  # teeth's points of a program


@triton.jit
def line_at(driven, nodes, x, y, COUNT: tl.constexpr):
    """The height at x of the line through the landmarks `nodes`; level beyond both ends. y: something of x's shape."""
    before = tl.load(nodes)
    height = tl.load(driven + 2 * before + 1) + 0.0 * x
    for i in range(1, COUNT):
        after = tl.load(nodes + i)
        begin = tl.load(driven + 2 * before)
        run = tl.load(driven + 2 * after) - begin + 1e-9
        rise = tl.load(driven + 2 * after + 1) - tl.load(driven + 2 * before + 1)
        height += tl.minimum(tl.maximum((x - begin) / run, 0.0), 1.0) * rise
        before = after
    return height


@triton.jit
def stand_kernel(
    target, driven, weight, lips, out, K, N,
    LIPS: tl.constexpr, ROWS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """lips: i32 [2, LIPS], the landmarks along the lower and the upper lip's inner edge."""
    b = tl.program_id(1)
    target += 2 * b * K
    driven += 2 * b * K
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    x = tl.zeros([ROWS], tl.float32)
    y = tl.zeros([ROWS], tl.float32)
    for first in range(0, K, DEPTH):
        k = first + tl.arange(0, DEPTH)
        live = k < K
        for half in tl.static_range(2):
            points = driven if half == 0 else target
            at = weight + row[:, None] * (2 * K) + half * K + k[None, :]
            w = tl.load(at, mask=(row < N)[:, None] & live[None, :], other=0.0)
            x += tl.sum(w * tl.load(points + 2 * k, mask=live, other=0.0)[None, :], 1)
            y += tl.sum(w * tl.load(points + 2 * k + 1, mask=live, other=0.0)[None, :], 1)
    a = tl.load(driven + 2 * tl.load(lips))
    z = tl.load(driven + 2 * tl.load(lips + LIPS - 1))
    lost = x + y + a + z  # NaN where one of the landmarks is: then there is no tooth
    x = tl.minimum(tl.maximum(x, tl.minimum(a, z)), tl.maximum(a, z))
    low = line_at(driven, lips, x, y, LIPS)
    high = line_at(driven, lips + LIPS, x, y, LIPS)
    y = tl.minimum(tl.maximum(y, high), low)
    lost += low + high
    none = lost - lost
    to = out + 2 * (b * N + row)
    tl.store(to, x + none, mask=row < N)
    tl.store(to + 1, y + none, mask=row < N)


@triton.jit
def nearer(least, px, py, ax, ay, bx, by):
    """The square of the distance from each pixel to the line from a to b, where that is less than `least`; pixels."""
    ux = bx - ax
    uy = by - ay
    length = ux * ux + uy * uy
    scale = tl.where(length > 0.0, 1.0 / length, 0.0)
    dx = px - ax
    dy = py - ay
    t = tl.minimum(tl.maximum((dx * ux + dy * uy) * scale, 0.0), 1.0)
    dx -= t * ux
    dy -= t * uy
    square = dx * dx + dy * dy
    return tl.where(length - length == 0.0, tl.minimum(least, square), least)


@triton.jit
def jaw(
    at,  # of the jaw's first point
    x, y, half, S, least,
    TEETH: tl.constexpr,
):  # fmt: skip
    """The most that a tooth of this jaw takes of each pixel, 0 ... 1, none of it where one of the points is NaN; and
    `least`, lessened by the squares of the distances to the jaw's lines, between teeth and along their biting edges."""
    gums = at + 2 * (TEETH + 1)
    ax = tl.load(at)
    ay = tl.load(at + 1)
    bx = tl.load(gums)
    by = tl.load(gums + 1)
    total = ax + ay + bx + by
    most = 0.0 * x
    least = nearer(least, S * x, S * y, S * ax, S * ay, S * bx, S * by)
    for i in range(1, TEETH + 1):
        cx = tl.load(at + 2 * i)
        cy = tl.load(at + 2 * i + 1)
        dx = tl.load(gums + 2 * i)
        dy = tl.load(gums + 2 * i + 1)
        a = ay + tl.minimum(tl.maximum((x - ax) / (cx - ax + 1e-9), 0.0), 1.0) * (cy - ay)
        b = by + tl.minimum(tl.maximum((x - bx) / (dx - bx + 1e-9), 0.0), 1.0) * (dy - by)
        down = tl.minimum(tl.maximum(a, b), y + half) - tl.maximum(tl.minimum(a, b), y - half)
        across = tl.minimum(tl.maximum(ax, cx), x + half) - tl.maximum(tl.minimum(ax, cx), x - half)
        most = tl.maximum(most, tl.maximum(down, 0.0) * tl.maximum(across, 0.0))
        least = nearer(least, S * x, S * y, S * ax, S * ay, S * cx, S * cy)
        least = nearer(least, S * x, S * y, S * cx, S * cy, S * dx, S * dy)
        ax = cx
        ay = cy
        bx = dx
        by = dy
        total += ax + ay + bx + by
    return tl.where(total - total == 0.0, most / (4.0 * half * half), 0.0), least


@triton.jit
def draw_kernel(
    points, out, S, behind, reach, o_b, o_y, o_x, UPPER: tl.constexpr, LOWER: tl.constexpr, PIXELS: tl.constexpr
):  # fmt: skip
    b = tl.program_id(1)
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    x = ((p % S).to(tl.float32) + 0.5) / S
    y = ((p // S).to(tl.float32) + 0.5) / S
    least = tl.full([PIXELS], float("inf"), tl.float32)
    upper = points + b * 4 * (UPPER + LOWER + 2)
    v, least = jaw(upper, x, y, 0.5 / S, S, least, UPPER)
    lower, least = jaw(upper + 4 * (UPPER + 1), x, y, 0.5 / S, S, least, LOWER)
    v = tl.maximum(v, behind * lower)
    lines = tl.minimum(tl.maximum(reach - tl.sqrt_rn(least), 0.0), 1.0)
    to = out + b.to(tl.int64) * o_b + (p // S) * o_y + (p % S) * o_x
    tl.store(to, v * (1.0 - lines), mask=p < S * S)


def stand(
    target: Tensor,  # f32 [B, K, 2]
    driven: Tensor,  # f32 [B, K, 2]
    weight: Tensor,  # f32 [N, 2 K]: W, V
    lips: Tensor,  # i32 [2, 11]
    out: Tensor,  # f32 [B, N, 2]
) -> None:
    B, N, _ = out.shape
    stand_kernel[triton.cdiv(N, ROWS), B](
        target, driven, weight, lips, out, driven.shape[1], N, LIPS=lips.shape[1], ROWS=ROWS, DEPTH=256
    )


def draw(
    points: Tensor,  # f32 [B, 2 (upper + lower + 2), 2]
    upper: int,
    lower: int,
    behind: float,
    reach: float,
    out: Tensor,  # [B, 1, S, S]
) -> None:
    S = out.shape[2]
    o_b, _, o_y, o_x = out.stride()
    draw_kernel[triton.cdiv(S * S, PIXELS), points.shape[0]](
        points, out, S, behind, reach, o_b, o_y, o_x, UPPER=upper, LOWER=lower, PIXELS=PIXELS
    )
