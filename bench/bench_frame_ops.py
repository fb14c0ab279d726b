"""crop and paste against the same steps chained in OpenCV.

    python bench/bench_frame_ops.py [--quick] [--out FILE]
    pytest bench/bench_frame_ops.py --benchmark-enable

A 640 x 480 driver is cropped, a 768 x 768 target warped and pasted into, at S = 128 and 256. The results are compared
before anything is timed: `difference` is the mean one, in levels of 255. OpenCV gets what does not change from frame
to frame (pixel grids, the feather) for nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cases
import cv2
import measure
import numpy as np
import pytest
from cases import FACE, HEAD, smooth_fields
from pictures import picture

from fetfast import _native
from fetfast.ops.crop import taps
from fetfast.ops.paste import FEATHER

REPEATS = 60
BASE = "OpenCV"


@dataclass(frozen=True)
class Case:
    name: str
    ours: Callable[[], np.ndarray]
    opencv: Callable[[], np.ndarray]
    closeness: float  # mean absolute difference allowed, in levels of 255


def frame_cases() -> list[Case]:
    rng = np.random.default_rng(0)
    driver, target = picture(rng, 480, 640), picture(rng, 768, 768)
    found = []
    for S in (128, 256):
        flow, mask, color, light = smooth_fields(rng, S)
        found += [
            crop_case(f"crop driver, S {S}", driver, FACE, S),
            crop_case(f"crop target, S {S}", target, HEAD, S),
            crop_case(f"warp target, S {S}", target, HEAD, S, flow),
            paste_case(f"paste flow, S {S}", target, HEAD, flow),
            paste_case(f"paste flow, mask, color, S {S}", target, HEAD, flow, mask, color),
            paste_case(f"paste flow, mask, color, light, S {S}", target, HEAD, flow, mask, color, light),
        ]
    return found


def ours(case: cases.Case) -> Callable[[], np.ndarray]:
    return partial(case.ours, *case.data, out=case.ours(*case.data))


def crop_case(name: str, frame: np.ndarray, M: np.ndarray, S: int, flow: np.ndarray | None = None) -> Case:
    out = np.empty((3, S, S), np.float32)
    n = taps(M, S)
    fine = n * S  # OpenCV anti-aliases in two steps: n x n samples a pixel, then their mean
    to_frame = M @ np.array([[1 / fine, 0, 0.5 / fine], [0, 1 / fine, 0.5 / fine], [0, 0, 1]]) - [
        [0, 0, 0.5],
        [0, 0, 0.5],
    ]
    grid = ((np.stack(np.meshgrid(np.arange(fine), np.arange(fine)), -1) + 0.5) / fine).astype(np.float32)

    def opencv() -> np.ndarray:
        if flow is None:
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            big = cv2.warpAffine(frame, to_frame, (fine, fine), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        else:
            offset = cv2.resize(flow.transpose(1, 2, 0), (fine, fine), interpolation=cv2.INTER_NEAREST)
            at = cv2.transform(cv2.add(grid, offset), M) - np.float32(0.5)
            big = cv2.remap(frame, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        small = cv2.resize(big, (S, S), interpolation=cv2.INTER_AREA) if n > 1 else big
        values = small.astype(np.float32)
        values *= np.float32(1 / 127.5)
        values -= 1
        np.copyto(out, values.transpose(2, 0, 1))
        return out

    return Case(name, ours(cases.crop_case(name, frame, M, S, flow)), opencv, closeness=0.5)


def paste_case(
    name: str,
    frame: np.ndarray,
    M: np.ndarray,
    flow: np.ndarray,
    mask: np.ndarray | None = None,
    color: np.ndarray | None = None,
    light: np.ndarray | None = None,
) -> Case:
    H, W, _ = frame.shape
    S = flow.shape[1]
    inverse = np.linalg.inv(np.vstack([M, [0, 0, 1]]))[:2]
    corners = M @ np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    x0, y0 = np.floor(corners.min(1)).clip(0).astype(int)
    x1, y1 = np.ceil(corners.max(1)).clip(0, [W, H]).astype(int)
    pixels = (np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), -1)).astype(np.float32)
    c = cv2.transform(pixels + np.float32(0.5), inverse)
    t = (np.minimum(c, 1 - c) / FEATHER).clip(0, 1)
    w = (t * t * (3 - 2 * t)).prod(-1, keepdims=True).astype(np.float32)
    # From a pixel of the box to a pixel of the network's tensors.
    to_tensor = S * inverse @ np.array([[1, 0, x0 + 0.5], [0, 1, y0 + 0.5], [0, 0, 1]]) - [[0, 0, 0.5], [0, 0, 0.5]]
    turn = (M[:, :2]).astype(np.float32)

    def opencv() -> np.ndarray:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (int(x1 - x0), int(y1 - y0))

        def sampled(planes: np.ndarray) -> np.ndarray:
            image = np.ascontiguousarray(planes.transpose(1, 2, 0))
            return cv2.warpAffine(image, to_tensor, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)

        at = cv2.add(cv2.transform(sampled(flow) * w, turn), pixels)
        warped = cv2.remap(frame, at, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        out = frame.copy()
        box = out[y0:y1, x0:x1]
        if light is not None:
            warped = warped * (1 + sampled(light)[..., None] * w)
        if mask is not None and color is not None:
            m = sampled(mask)[..., None] * w
            paint = sampled(color) * np.float32(127.5) + np.float32(127.5)
            warped = warped + m * (paint - warped)
        if warped.dtype != np.uint8:
            warped = np.rint(warped, out=warped).clip(0, 255).astype(np.uint8)
        np.copyto(box, warped, where=w > 0)
        return out

    return Case(name, ours(cases.paste_case(name, frame, M, flow, mask, color, light)), opencv, closeness=1.0)


def difference(case: Case) -> float:
    """Mean absolute difference of the two results, in levels of 255."""
    ours, theirs = case.ours(), case.opencv()
    return float(np.abs(ours.astype(np.float32) - theirs).mean()) * (127.5 if ours.dtype == np.float32 else 1)


def use_threads(n: int) -> None:
    _native.set_threads(n)
    cv2.setNumThreads(n)


def main() -> int:
    options = measure.options("frame_ops", __doc__)
    rows = []
    for case in frame_cases():
        apart = difference(case)
        assert apart < case.closeness, f"{case.name}: results differ by {apart:.2f} levels"
        for threads in (1, 2):
            use_threads(threads)
            ways = {BASE: case.opencv, "ours": case.ours}
            timings = measure.interleaved(ways, 3 if options.quick else REPEATS)
            name = f"{case.name}, {threads} thread{'s' * (threads - 1)}"
            rows += measure.compare(name, timings, BASE, {"ours": {"difference": apart}})
    return measure.finish("frame_ops", rows, [], options)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", frame_cases(), ids=lambda case: case.name)
def test_crop_and_paste(benchmark, case, threads):
    assert difference(case) < case.closeness
    use_threads(threads)
    benchmark(case.ours)


if __name__ == "__main__":
    sys.exit(main())
