"""Front teeth filled in, between the lines that are drawn already.

    out(p) = (1 - out(p)) max(upper(p), behind lower(p))

    upper, lower   the share of pixel p that lies between a jaw's biting edge and its gums, up and down by the lines
                   from point to point at the pixel's middle, and across from the first to the last tooth
                   and nowhere above or below them all
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
    x, y, half, highest, lowest,
    TEETH: tl.constexpr,
):  # fmt: skip
    """How much of each pixel a jaw's teeth take, in 0 ... 1; none where one of its points is NaN."""
    gums = at + 2 * (TEETH + 1)
    ax = tl.load(at)
    ay = tl.load(at + 1)
    bx = tl.load(gums)
    by = tl.load(gums + 1)
    a = ay + 0.0 * x
    b = by + 0.0 * x
    first = ax
    total = ax + ay + bx + by
    for i in range(1, TEETH + 1):
        next_ax = tl.load(at + 2 * i)
        next_ay = tl.load(at + 2 * i + 1)
        next_bx = tl.load(gums + 2 * i)
        next_by = tl.load(gums + 2 * i + 1)
        a += tl.minimum(tl.maximum((x - ax) / (next_ax - ax + 1e-9), 0.0), 1.0) * (next_ay - ay)
        b += tl.minimum(tl.maximum((x - bx) / (next_bx - bx + 1e-9), 0.0), 1.0) * (next_by - by)
        ax = next_ax
        ay = next_ay
        bx = next_bx
        by = next_by
        total += ax + ay + bx + by
    high = tl.maximum(tl.minimum(a, b), highest)
    low = tl.minimum(tl.maximum(a, b), lowest)
    down = tl.minimum(low, y + half) - tl.maximum(high, y - half)
    across = tl.minimum(tl.maximum(first, ax), x + half) - tl.maximum(tl.minimum(first, ax), x - half)
    covered = tl.maximum(down, 0.0) * tl.maximum(across, 0.0) / (4.0 * half * half)
    return tl.where(total - total == 0.0, covered, 0.0)


@triton.jit
def fill_kernel(
    points, out, S, behind, o_b, o_y, o_x,
    UPPER: tl.constexpr, LOWER: tl.constexpr, ALL: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(1)
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    x = ((p % S).to(tl.float32) + 0.5) / S
    y = ((p // S).to(tl.float32) + 0.5) / S
    upper = points + b * 4 * (UPPER + LOWER + 2)
    half = 0.5 / S
    k = tl.arange(0, ALL)
    heights = tl.load(upper + 2 * k + 1, mask=k < 2 * (UPPER + LOWER + 2), other=float("nan"))
    highest = tl.min(tl.where(heights == heights, heights, float("inf")), 0)  # rows that turn back overshoot
    lowest = tl.max(tl.where(heights == heights, heights, float("-inf")), 0)
    v = share(upper, x, y, half, highest, lowest, UPPER)
    v = tl.maximum(v, behind * share(upper + 4 * (UPPER + 1), x, y, half, highest, lowest, LOWER))
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
        points, out, S, behind, o_b, o_y, o_x, UPPER=upper, LOWER=lower,
        ALL=triton.next_power_of_2(2 * (upper + lower + 2)), PIXELS=256,
    )  # fmt: skip
