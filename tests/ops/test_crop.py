"""crop against its reference: any strides, any place, any scale; NaN; threads; errors."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetfast import _native
from fetfast.errors import BadInput
from fetfast.ops.crop import MAX_TAPS, crop, taps, to_picture

RNG = np.random.default_rng(0)


def noise(height, width):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def matrix(side, x, y, turn=0.0):
    c, s = side * np.cos(turn), side * np.sin(turn)
    return np.array([[c, -s, x], [s, c, y]], np.float32)


def wavy(size, amount=0.05):
    return (amount * RNG.standard_normal((2, size, size))).astype(np.float32)


def test_outside_is_the_border():
    frame = noise(10, 10)
    assert np.allclose(crop(frame, matrix(5, -100, -100), 4), (frame[0, 0] / 127.5 - 1)[:, None, None], atol=1e-6)
    assert np.allclose(crop(frame, matrix(5, 100, 100), 4), (frame[-1, -1] / 127.5 - 1)[:, None, None], atol=1e-6)


def test_whole_pixels_are_exact():
    frame = noise(30, 40)
    got = crop(frame, matrix(16, 3, 5), 16)
    assert np.array_equal(to_picture(got), frame[5:21, 3:19])


def test_a_picture_has_every_level_again_and_no_others():
    levels = np.tile(np.arange(256, dtype=np.float32), (3, 2, 1))
    assert np.array_equal(to_picture(levels / np.float32(127.5) - 1), levels.transpose(1, 2, 0))
    assert np.array_equal(to_picture(np.array([-9.0, 9.0, 0.0], np.float32)[:, None, None])[0, 0], [0, 255, 128])


def test_shrinking_is_the_mean():
    frame = noise(64, 64)
    mean = frame.reshape(16, 4, 16, 4, 3).mean((1, 3)).transpose(2, 0, 1) / 127.5 - 1
    assert np.abs(crop(frame, matrix(64, 0, 0), 16) - mean).max() < 1e-6


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[:, ::-1],
        lambda a: a[::-1, ::-1],
        lambda a: a[..., ::-1],
        lambda a: a[5:-3, 4:-7],
        lambda a: a[::2, ::3],
        lambda a: a.transpose(1, 0, 2),
        lambda a: np.asfortranarray(a),
        lambda a: np.broadcast_to(a[:1], a.shape),
        lambda a: np.concatenate([a, a[..., :1]], 2)[..., :3],  # RGBA without A
        lambda a: np.concatenate([a[..., :1], a], 2)[..., 1:],  # ARGB without A: nothing follows the last pixel
    ],
)
def test_any_strides(view):
    frame = view(noise(60, 70))
    for side in (30, 100):
        got = crop(frame, matrix(side, -10, 5, 0.4), 32)
        assert np.array_equal(got, crop(np.ascontiguousarray(frame), matrix(side, -10, 5, 0.4), 32))


def test_out_of_any_strides():
    frame, M, flow = noise(50, 60), matrix(40, 3, 4, 0.2), wavy(16)
    want = crop(frame, M, 16, flow)
    nhwc = np.full((16, 16, 5), np.float32(7))
    out = nhwc[..., 1:4].transpose(2, 0, 1)
    assert crop(frame, M, 16, flow.transpose(0, 2, 1).copy().transpose(0, 2, 1), out) is out
    assert np.array_equal(nhwc[..., 1:4].transpose(2, 0, 1), want)
    assert (nhwc[..., [0, 4]] == 7).all()
    flipped = np.empty((3, 16, 16), np.float32)
    crop(frame, M, 16, flow, flipped[::-1, ::-1, ::-1])
    assert np.array_equal(flipped[::-1, ::-1, ::-1], want)


def test_a_flow_moves_by_crop_sides():
    frame = noise(64, 64)
    flow = np.zeros((2, 8, 8), np.float32)
    flow[0] = 0.25
    moved = crop(frame, matrix(32, 4, 9), 32, flow)
    assert np.allclose(moved, crop(frame, matrix(32, 12, 9), 32), atol=1e-5)


def test_nan_counts_as_no_flow_and_huge_flow_as_the_border():
    frame, M = noise(40, 40), matrix(30, 4, 4)
    flow = wavy(16)
    holes = flow.copy()
    flow[:, 3:6, 2:9] = 0
    holes[:, 3:6, 2:9] = np.nan
    assert np.array_equal(crop(frame, M, 16, holes), crop(frame, M, 16, flow))
    for value in (np.inf, -np.inf, 1e30):
        assert np.isfinite(crop(frame, M, 16, np.full_like(flow, value))).all()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=6, max_size=6),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_any_finite_matrix_stays_in_the_frame(values, height, width):
    got = crop(noise(height, width), np.array(values, np.float32).reshape(2, 3), 3)
    assert (np.abs(got) <= 1 + 1e-6).all()


def test_taps():
    assert [taps(matrix(side, 0, 0, 0.3), 100) for side in (10, 100, 100.01, 130, 200, 201, 1e9)] == [
        1, 1, 1, 2, 2, 3, MAX_TAPS,
    ]  # fmt: skip


def test_threads_do_not_change_bytes():
    frame, M, flow = noise(300, 400), matrix(290, 10, 7, 0.1), wavy(32, 0.01)
    threads = _native.threads()
    try:
        _native.set_threads(1)
        want = crop(frame, M, 128, flow)
        _native.set_threads(3)
        with ThreadPoolExecutor(4) as pool:
            for got in pool.map(lambda _: crop(frame, M, 128, flow), range(40)):
                assert np.array_equal(got, want)
    finally:
        _native.set_threads(threads)


FRAME, M = noise(8, 8), matrix(4, 1, 1)
READ_ONLY = np.zeros((3, 4, 4), np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    "args, message",
    [
        ((FRAME.astype(np.float32), M, 4), r"frame is float32 \[8, 8, 3\], expected uint8 \[H, W, 3\]"),
        ((FRAME[..., 0], M, 4), r"frame is uint8 \[8, 8\]"),
        ((FRAME[:0], M, 4), r"frame is uint8 \[0, 8, 3\], expected 1 \.\.\."),
        ((None, M, 4), "frame is NoneType"),
        ((FRAME, M[:, :2], 4), r"M is float32 \[2, 2\], expected float32 \[2, 3\]"),
        ((FRAME, "no", 4), "M is str"),
        ((FRAME, M * np.nan, 4), "expected finite numbers"),
        ((FRAME, M, 0), "size is 0, expected a whole number in 1 ... 8192"),
        ((FRAME, M, 4.5), "size is 4.5"),
        ((FRAME, M, 4, np.zeros((2, 4, 5), np.float32)), r"flow is float32 \[2, 4, 5\], expected float32 \[2, F, F\]"),
        ((FRAME, M, 4, np.zeros((2, 4, 4))), r"flow is float64 \[2, 4, 4\]"),
        ((FRAME, M, 4, None, np.zeros((3, 4, 5), np.float32)), r"out is .*, expected float32 \[3, 4, 4\]"),
        ((FRAME, M, 4, None, READ_ONLY), "out is read-only"),
    ],
)
def test_errors(args, message):
    with pytest.raises(BadInput, match=r"crop\(\): .*" + message):
        crop(*args)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_longer_side_says_how_many_samples_a_pixel_has(axis):
    """One pixel in four is white, four lie in a pixel of the crop along one axis and one along the other: a quarter."""
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes.swapaxes(0, axis)[::4] = 255
    M = np.diag((64 if axis else 16, 16 if axis else 64)) @ np.eye(2, 3)
    picture = crop(stripes, M.astype(np.float32), 16)
    assert np.abs(picture + 0.5).max() < 0.01
