"""Front teeth filled in, between the lines that are drawn already.

    out(p) = (1 - out(p)) max(upper(p), behind lower(p))

    upper, lower   the most that one of a jaw's teeth takes of pixel p: up and down between its biting edge and its gums
                   at the pixel's middle, and across between the ends of its biting edge
    points         f32 [B, 2 (U + 1) + 2 (L + 1), 2] (x, y) in crop sides, contiguous: U + 1 along the upper biting
                   edge, as many along its gums, L + 1 along the lower biting edge, as many along its gums; NaN: none
    out            [B, 1, S, S] f32, f16 or bf16, any strides: the lines, 0 ... 1

Bytes that must move: B S^2 of out's type read and written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor


@triton.jit
def share(
    at,  # of the jaw's first point
    x, y, half,
    TEETH: tl.constexpr,
):  # fmt: skip
    """The most that a tooth of this jaw takes of each pixel, 0 ... 1; none of it where one of the points is NaN."""
    gums = at + 2 * (TEETH + 1)
    ax = tl.load(at)
    ay = tl.load(at + 1)
    bx = tl.load(gums)
    by = tl.load(gums + 1)
    total = ax + ay + bx + by
    most = 0.0 * x
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
        ax = cx
        ay = cy
        bx = dx
        by = dy
        total += ax + ay + bx + by
    return tl.where(total - total == 0.0, most / (4.0 * half * half), 0.0)


@triton.jit
def fill_kernel(
    points, out, S, behind, o_b, o_y, o_x, UPPER: tl.constexpr, LOWER: tl.constexpr, PIXELS: tl.constexpr
):  # fmt: skip
    b = tl.program_id(1)
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    x = ((p % S).to(tl.float32) + 0.5) / S
    y = ((p // S).to(tl.float32) + 0.5) / S
    upper = points + b * 4 * (UPPER + LOWER + 2)
    v = share(upper, x, y, 0.5 / S, UPPER)
    v = tl.maximum(v, behind * share(upper + 4 * (UPPER + 1), x, y, 0.5 / S, LOWER))
    to = out + b.to(tl.int64) * o_b + (p // S) * o_y + (p % S) * o_x
    lines = tl.load(to, mask=p < S * S, other=0.0).to(tl.float32)
    tl.store(to, v * (1.0 - lines), mask=p < S * S)


def fill(
    points: Tensor,  # f32 [B, 2 (upper + lower + 2), 2]
    upper: int,
    lower: int,
    behind: float,
    out: Tensor,  # [B, 1, S, S]
) -> None:
    S = out.shape[2]
    o_b, _, o_y, o_x = out.stride()
    fill_kernel[triton.cdiv(S * S, 256), points.shape[0]](
        points, out, S, behind, o_b, o_y, o_x, UPPER=upper, LOWER=lower, PIXELS=256
    )
