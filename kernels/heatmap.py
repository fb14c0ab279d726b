"""Landmarks drawn as images, into any channels of a network's input: dense first flow, contours, Gaussian maps.

    flow      flow(p) = sum_k w_k(p) v_k / (sum_k w_k(p) + epsilon),   w_k(p) = exp(-|p - q_k|^2 / (2 s_k^2)) / s_k^2
    contours  out(p) = clamp(reach - min over edges of |p - edge|, 0, 1), in pixels
    gaussian  out[g](p) = max over the members k of g of exp(-|p - q_k|^2 / (2 sigma^2))

    points    f32 [B, K, 2] (x, y) in crop sides, contiguous; NaN is drawn as nothing
    out       [B, C, S, S] f32, f16 or bf16, any strides: NCHW, NHWC, a slice of channels

Bytes that must move: 8 B K (flow: 16 B K) read, B C S^2 of out's type written.

A Gaussian is separable, exp(-dx^2) exp(-dy^2). So a flow is three products of rank K, [S, K] x [K, S], for `tl.dot`;
its factors are made on chip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor


@triton.jit
def first_flow_kernel(
    source, driven, widths, out, K, S, epsilon, o_b, o_c, o_y, o_x,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(2)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    y = ((row.to(tl.float32) + 0.5) / S)[:, None]
    x = ((column.to(tl.float32) + 0.5) / S)[None, :]
    total = tl.full([ROWS, COLUMNS], 0.0, tl.float32)
    flow_x = tl.full([ROWS, COLUMNS], 0.0, tl.float32)
    flow_y = tl.full([ROWS, COLUMNS], 0.0, tl.float32)
    for first in range(0, K, DEPTH):
        k = first + tl.arange(0, DEPTH)
        at = 2 * (b * K + k)
        qx = tl.load(driven + at, mask=k < K, other=0.0)
        qy = tl.load(driven + at + 1, mask=k < K, other=0.0)
        vx = tl.load(source + at, mask=k < K, other=0.0) - qx
        vy = tl.load(source + at + 1, mask=k < K, other=0.0) - qy
        s = tl.load(widths + k, mask=k < K, other=1.0)
        known = (k < K) & (vx - vx == 0.0) & (vy - vy == 0.0)  # finite
        vx = tl.where(known, vx, 0.0)
        vy = tl.where(known, vy, 0.0)
        dx = (x - tl.where(known, qx, 0.0)[:, None]) / s[:, None]
        dy = (y - tl.where(known, qy, 0.0)[None, :]) / s[None, :]
        ex = tl.exp(-0.5 * dx * dx)  # [DEPTH, COLUMNS]
        ey = tl.exp(-0.5 * dy * dy) * tl.where(known, 1.0 / (s * s), 0.0)[None, :]  # [ROWS, DEPTH]
        total = tl.dot(ey, ex, total, input_precision="tf32x3")
        flow_x = tl.dot(ey * vx[None, :], ex, flow_x, input_precision="tf32x3")
        flow_y = tl.dot(ey * vy[None, :], ex, flow_y, input_precision="tf32x3")
    total += epsilon
    to = out + b.to(tl.int64) * o_b + row[:, None] * o_y + column[None, :] * o_x
    live = (row < S)[:, None] & (column < S)[None, :]
    tl.store(to, flow_x / total, mask=live)
    tl.store(to + o_c, flow_y / total, mask=live)


@triton.jit
def contours_kernel(
    points, edges, out, K, E, S, reach, o_b, o_y, o_x, PIXELS: tl.constexpr, EDGES: tl.constexpr
):  # fmt: skip
    b = tl.program_id(1)
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    px = ((p % S).to(tl.float32) + 0.5)[:, None]
    py = ((p // S).to(tl.float32) + 0.5)[:, None]
    nearest = tl.full([PIXELS], float("inf"), tl.float32)
    for first in range(0, E, EDGES):
        e = first + tl.arange(0, EDGES)
        begin = points + 2 * (b * K + tl.load(edges + 2 * e, mask=e < E, other=0))
        end = points + 2 * (b * K + tl.load(edges + 2 * e + 1, mask=e < E, other=0))
        ax = tl.load(begin) * S
        ay = tl.load(begin + 1) * S
        ux = tl.load(end) * S - ax
        uy = tl.load(end + 1) * S - ay
        length = ux * ux + uy * uy
        scale = tl.where(length > 0.0, 1.0 / length, 0.0)
        known = (e < E) & (length - length == 0.0)
        dx = px - ax[None, :]
        dy = py - ay[None, :]
        t = (dx * ux[None, :] + dy * uy[None, :]) * scale[None, :]
        t = tl.minimum(tl.maximum(t, 0.0), 1.0)
        dx -= t * ux[None, :]
        dy -= t * uy[None, :]
        square = tl.where(known[None, :], dx * dx + dy * dy, float("inf"))
        nearest = tl.minimum(nearest, tl.min(square, 1))
    v = tl.minimum(tl.maximum(reach - tl.sqrt_rn(nearest), 0.0), 1.0)
    to = out + b.to(tl.int64) * o_b + (p // S) * o_y + (p % S) * o_x
    tl.store(to, v, mask=p < S * S)


@triton.jit
def gaussians_kernel(
    points, members, out, K, G, S, most, factor, o_b, o_c, o_y, o_x,
    GROUPED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, MAPS: tl.constexpr,
):  # fmt: skip
    """members i32 [G, most], filled up with -1: each group's points. factor: -1 / (2 sigma^2)."""
    b = tl.program_id(2)
    tiles = tl.cdiv(S, COLUMNS)
    row = (tl.program_id(0) // tiles) * ROWS + tl.arange(0, ROWS)
    column = (tl.program_id(0) % tiles) * COLUMNS + tl.arange(0, COLUMNS)
    g = tl.program_id(1) * MAPS + tl.arange(0, MAPS)
    y = ((row.to(tl.float32) + 0.5) / S)[:, None]
    x = ((column.to(tl.float32) + 0.5) / S)[:, None]
    v = tl.zeros([ROWS, COLUMNS, MAPS], tl.float32)
    for m in range(most):
        if GROUPED:
            k = tl.load(members + g * most + m, mask=g < G, other=-1)
        else:
            k = tl.where(g < G, g, -1)
        at = points + 2 * (b * K + k)
        qx = tl.load(at, mask=k >= 0, other=0.0)
        qy = tl.load(at + 1, mask=k >= 0, other=0.0)
        known = (k >= 0) & (qx - qx == 0.0) & (qy - qy == 0.0)
        dx = x - qx[None, :]
        dy = y - qy[None, :]
        ex = tl.where(known[None, :], tl.exp(factor * dx * dx), 0.0)  # [COLUMNS, MAPS]
        ey = tl.where(known[None, :], tl.exp(factor * dy * dy), 0.0)
        v = tl.maximum(v, ey[:, None, :] * ex[None, :, :])
    at = row[:, None, None] * o_y + column[None, :, None] * o_x + g[None, None, :] * o_c
    live = (row < S)[:, None, None] & (column < S)[None, :, None] & (g < G)[None, None, :]
    tl.store(out + b.to(tl.int64) * o_b + at, v, mask=live)


def first_flow(
    source: Tensor,  # f32 [B, K, 2]
    driven: Tensor,  # f32 [B, K, 2]
    widths: Tensor,  # f32 [K]
    epsilon: float,
    out: Tensor,  # [B, 2, S, S]
) -> None:
    B, K, _ = driven.shape
    S = out.shape[2]
    rows, columns = (32, 64) if B * S * S >= 1 << 19 else (16, 32)
    first_flow_kernel[triton.cdiv(S, rows), triton.cdiv(S, columns), B](
        source, driven, widths, out, K, S, epsilon, *out.stride(), ROWS=rows, COLUMNS=columns, DEPTH=16, num_stages=1
    )


def contours(
    points: Tensor,  # f32 [B, K, 2]
    edges: Tensor,  # i32 [E, 2], E > 0
    reach: float,
    out: Tensor,  # [B, 1, S, S]
) -> None:
    B, K, _ = points.shape
    S = out.shape[2]
    o_b, _, o_y, o_x = out.stride()
    contours_kernel[triton.cdiv(S * S, 128), B](
        points, edges, out, K, edges.shape[0], S, reach, o_b, o_y, o_x, PIXELS=128, EDGES=16
    )


def gaussians(
    points: Tensor,  # f32 [B, K, 2]
    sigma: float,
    members: Tensor | None,  # i32 [G, most], filled up with -1; None for a map of each point
    out: Tensor,  # [B, K or G, S, S]
) -> None:
    B, K, _ = points.shape
    _, G, S, _ = out.shape
    rows, columns, maps = (4, 8, 64) if out.stride(1) == 1 else (16, 64, 1)
    maps = min(maps, triton.next_power_of_2(G))
    grid = (triton.cdiv(S, rows) * triton.cdiv(S, columns), triton.cdiv(G, maps), B)
    gaussians_kernel[grid](
        points, members, out, K, G, S, 1 if members is None else members.shape[1], -0.5 / sigma**2, *out.stride(),
        GROUPED=members is not None, ROWS=rows, COLUMNS=columns, MAPS=maps,
    )  # fmt: skip
