"""Small and odd cases of each op, for both of its forms: nobody, one pixel, NaN, scales out of measure."""

from collections.abc import Iterator
from itertools import product

import numpy as np
from cases import Case, contours_case, crop_case, faces, flow_case, gaussians_case, paste_case
from pictures import matrix


def noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def fields(rng: np.random.Generator, S: int, amount: float = 0.03) -> tuple[np.ndarray, ...]:
    """flow, mask, color and light, f32 [., S, S]."""
    light, flow = rng.uniform(-0.5, 0.5, (1, S, S)), amount * rng.standard_normal((2, S, S))
    found = flow, rng.random((1, S, S)), rng.uniform(-1, 1, (3, S, S)), light
    return tuple(field.astype(np.float32) for field in found)


def crops() -> Iterator[Case]:
    rng = np.random.default_rng(0)
    for side, turn in product((3.0, 20.0, 64.0, 150.0, 5000.0), (0.0, 0.3, np.pi, -2.0)):
        yield crop_case(f"{side:.0f} pixels turned by {turn:.1f}", noise(rng, 61, 83), matrix(side, 30, 20, turn), 24)
    for height, width in ((1, 1), (1, 7), (5, 1), (2, 2), (97, 3)):
        yield crop_case(f"of {width} x {height}", noise(rng, height, width), matrix(9, -2, -1, 0.2), 17)
    for size in (1, 2, 63, 64, 65, 130):
        yield crop_case(f"to {size} with a flow", noise(rng, 40, 50), matrix(37, 5, 1), size, fields(rng, 9, 0.05)[0])


def pastes() -> Iterator[Case]:
    rng = np.random.default_rng(1)
    for side, turn in product((2.0, 30.0, 90.0, 1000.0), (0.0, 0.4, 3.0)):
        frame, M, (flow, mask, color, light) = noise(rng, 60, 70), matrix(side, 20, 15, turn), fields(rng, 16)
        where = f"{side:.0f} pixels turned by {turn:.1f}"
        yield paste_case(f"flow, {where}", frame, M, flow)
        yield paste_case(f"flow, mask, color, {where}", frame, M, flow, mask, color)
        if (side, turn) in ((30.0, 0.4), (90.0, 0.0), (1000.0, 3.0)):
            yield paste_case(f"flow, light, {where}", frame, M, flow, None, None, light)
            yield paste_case(f"all, {where}", frame, M, flow, mask, color, light)
    for height, width in ((1, 1), (1, 9), (7, 1), (3, 131)):
        yield paste_case(f"{width} x {height}", noise(rng, height, width), matrix(11, -2, -3), *fields(rng, 16)[:3])
    for S in (1, 2, 65):
        yield paste_case(f"fields of {S}", noise(rng, 50, 40), matrix(44, -2, 3), *fields(rng, S)[:3])


def points(rng: np.random.Generator, B: int, K: int) -> np.ndarray:
    """f32 [B, K, 2], some of them off the crop, some NaN."""
    found = rng.uniform(-0.1, 1.1, (B, K, 2)).astype(np.float32)
    if B and K > 5:
        found[0, 3, 1] = found[-1, 5] = np.nan
    return found


def flows() -> Iterator[Case]:
    rng = np.random.default_rng(2)
    for B, K, S in ((0, 5, 8), (1, 1, 1), (1, 1, 17), (2, 40, 33), (1, 70, 50), (2, 9, 1)):
        source, driven, widths = points(rng, B, K), points(rng, B, K), rng.uniform(0.01, 0.2, K).astype(np.float32)
        if B and K > 5:
            source[0, 2, 1] = np.inf
        yield flow_case(source, driven, S, widths)
    source, driven = faces()
    driven[0, 30] = np.nan
    # a thousandth of a pixel of a crop at 128: for speed the array form of `corrected` lets exponents cancel
    yield flow_case(source, driven, 48, unseen=0.001 / 128)


def lines() -> Iterator[Case]:
    rng = np.random.default_rng(3)
    edges = np.array([[0, 1], [1, 2], [2, 0], [4, 4], [3, 6], [5, 6]] * 4, np.int32)  # [4, 4]: of no length
    for B, S in ((0, 29), (2, 29), (1, 1), (1, 40)):
        yield contours_case(points(rng, B, 7), S, edges)
    for B, S in ((0, 33), (1, 1), (2, 30)):
        yield contours_case(points(rng, B, 478), S)


def maps() -> Iterator[Case]:
    rng = np.random.default_rng(4)
    for (B, S), groups in product(((0, 8), (2, 19), (1, 1), (2, 37)), (None, [[0, 3, 5], [1], [], [2, 4, 6, 7]])):
        yield gaussians_case(points(rng, B, 8), S, 0.05, groups)
