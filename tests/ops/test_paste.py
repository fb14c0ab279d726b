"""paste against its reference, and what it promises bit for bit."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetfast import _native
from fetfast.errors import BadInput
from fetfast.ops.paste import paste

RNG = np.random.default_rng(1)
S = 16


def noise(height, width):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def matrix(side, x, y, turn=0.0):
    c, s = side * np.cos(turn), side * np.sin(turn)
    return np.array([[c, -s, x], [s, c, y]], np.float32)


def tensors(size=S, amount=0.03):
    flow = (amount * RNG.standard_normal((2, size, size))).astype(np.float32)
    mask = RNG.random((1, size, size), np.float32)
    color = RNG.uniform(-1, 1, (3, size, size)).astype(np.float32)
    return flow, mask, color


FLOW, MASK, COLOR = tensors()
LIGHT = RNG.uniform(-0.5, 0.5, (1, S, S)).astype(np.float32)
ZERO = np.zeros_like(FLOW)
INSIDE = matrix(40, 10, 12, 0.2)  # of a frame of 70 x 60


@pytest.mark.parametrize("turn", [0.0, 0.7])
def test_zero_flow_gives_the_frame_back_bit_for_bit(turn):
    frame = noise(60, 70)
    M = matrix(40.3, 10.7, 12.1, turn)
    assert np.array_equal(paste(frame, M, ZERO), frame)
    assert np.array_equal(paste(frame, M, ZERO, np.zeros_like(MASK), COLOR), frame)
    assert np.array_equal(paste(frame, M, ZERO, np.zeros_like(MASK), COLOR, light=np.zeros_like(LIGHT)), frame)


@pytest.mark.parametrize("parts", [(FLOW,), (FLOW, MASK, COLOR)])
def test_a_light_of_zero_changes_no_bit(parts):
    frame = noise(60, 70)
    assert np.array_equal(paste(frame, INSIDE, *parts, light=np.zeros_like(LIGHT)), paste(frame, INSIDE, *parts))


def test_pixels_out_of_the_crop_are_the_frames_bit_for_bit():
    frame = noise(60, 70)
    got = paste(frame, INSIDE, 10 * FLOW, np.ones_like(MASK), COLOR, light=np.ones_like(LIGHT))
    y, x = np.mgrid[:60, :70] + 0.5
    c = np.linalg.inv(INSIDE[:, :2].astype(np.float64)) @ np.stack([x - INSIDE[0, 2], y - INSIDE[1, 2]]).reshape(2, -1)
    outside = ((c <= 0) | (c >= 1)).any(0).reshape(60, 70)
    assert outside.any() and np.array_equal(got[outside], frame[outside])
    assert (got[~outside] != frame[~outside]).mean() > 0.5
    for far in (matrix(20, 500, 0), matrix(20, -500, -500)):
        assert np.array_equal(paste(frame, far, FLOW), frame)


@pytest.mark.parametrize("light", [None, LIGHT], ids=["", "light"])
def test_full_mask_shows_the_colour_inside(light):
    color = np.full_like(COLOR, 0.5)
    got = paste(noise(60, 70), matrix(60, 5, 0), ZERO, np.ones_like(MASK), color, light=light)
    assert (got[10:50, 15:55] == 191).all()  # 0.5 * 127.5 + 127.5 = 191.25


@pytest.mark.parametrize("light, level", [(0.5, 150), (-0.25, 75), (-1, 0), (-3, 0), (9, 255)])
def test_light_is_a_gain_on_the_frames_own_pixels(light, level):
    frame = np.full((60, 70, 3), 100, np.uint8)
    got = paste(frame, matrix(60, 5, 0), ZERO, light=np.full_like(LIGHT, light))
    assert (got[10:50, 15:55] == level).all()


def test_a_flow_moves_by_crop_sides():
    frame = noise(80, 80)
    flow = ZERO.copy()
    flow[0] = 0.125
    got = paste(frame, matrix(64, 8, 8), flow)
    assert np.array_equal(got[20:60, 20:60], frame[20:60, 28:68])


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[:, ::-1],
        lambda a: a[::-1],
        lambda a: a[..., ::-1],
        lambda a: a[3:-2, 4:-5],
        lambda a: a.transpose(1, 0, 2),
        lambda a: np.concatenate([a, a[..., :1]], 2)[..., :3],
        lambda a: np.concatenate([a[..., :1], a], 2)[..., 1:],
    ],
)
def test_any_strides(view):
    frame = view(noise(60, 70))
    want = paste(np.ascontiguousarray(frame), INSIDE, FLOW, MASK, COLOR, light=LIGHT)
    assert np.array_equal(paste(frame, INSIDE, FLOW, MASK, COLOR, light=LIGHT), want)
    *strided, light = (np.repeat(a, 2, 2)[:, :, ::2] for a in (FLOW, MASK, COLOR, LIGHT))
    out = view(np.zeros((60, 70, 3), np.uint8))
    assert paste(frame, INSIDE, *strided, out=out, light=light) is out
    assert np.array_equal(out, want)


def test_nan_counts_as_zero_and_infinity_stays_in_the_frame():
    frame = noise(60, 70)
    parts = {"flow": FLOW, "mask": MASK, "color": COLOR, "light": LIGHT}
    clean, holes = ({name: a.copy() for name, a in parts.items()} for _ in range(2))
    for name in parts:
        clean[name][:, 2:7, 3:9] = 0
        holes[name][:, 2:7, 3:9] = np.nan
    assert np.array_equal(paste(frame, INSIDE, **holes), paste(frame, INSIDE, **clean))
    for value in (np.inf, -np.inf, 1e38):
        paste(frame, INSIDE, **{name: np.full_like(a, value) for name, a in parts.items()})


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=6, max_size=6),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_any_matrix_pastes_or_is_refused(values, height, width):
    frame = noise(height, width)
    try:
        got = paste(frame, np.array(values, np.float32).reshape(2, 3), np.zeros((2, 2, 2), np.float32))
    except BadInput:
        return
    assert np.array_equal(got, frame)


def test_threads_do_not_change_bytes():
    frame, M = noise(300, 320), matrix(280, 10, 20, 0.1)
    threads = _native.threads()
    try:
        _native.set_threads(1)
        want = paste(frame, M, FLOW, MASK, COLOR, light=LIGHT)
        _native.set_threads(3)
        with ThreadPoolExecutor(4) as pool:
            for got in pool.map(lambda _: paste(frame, M, FLOW, MASK, COLOR, light=LIGHT), range(24)):
                assert np.array_equal(got, want)
    finally:
        _native.set_threads(threads)


FRAME = noise(60, 70)


@pytest.mark.parametrize(
    "args, message",
    [
        ((FRAME[..., :2], INSIDE, FLOW), r"frame is uint8 \[60, 70, 2\]"),
        ((FRAME, INSIDE * np.inf, FLOW), "expected finite numbers"),
        ((FRAME, INSIDE * [[1, 1, 1], [0, 0, 1]], FLOW), "expected an invertible matrix"),
        ((FRAME, INSIDE * 0, FLOW), "expected an invertible matrix"),
        ((FRAME, INSIDE, FLOW.astype(np.float16)), r"flow is float16 \[2, 16, 16\], expected float32 \[2, F, F\]"),
        ((FRAME, INSIDE, FLOW, MASK), "one of mask and color"),
        ((FRAME, INSIDE, FLOW, MASK[:, :8, :8], COLOR), r"mask is float32 \[1, 8, 8\], expected float32 \[1, 16, 16\]"),
        ((FRAME, INSIDE, FLOW, MASK, COLOR[:1]), r"color is float32 \[1, 16, 16\], expected float32 \[3, 16, 16\]"),
        (
            (FRAME, INSIDE, FLOW, None, None, None, MASK[0]),
            r"light is float32 \[16, 16\], expected float32 \[1, 16, 16\]",
        ),
        ((FRAME, INSIDE, FLOW, None, None, None, COLOR), r"light is float32 \[3, 16, 16\]"),
        ((FRAME, INSIDE, FLOW, None, None, FRAME[:-1]), r"out is uint8 \[59, 70, 3\], expected uint8 \[60, 70, 3\]"),
        ((FRAME, INSIDE, FLOW, None, None, FRAME), "out overlaps the frame"),
        ((FRAME, INSIDE, FLOW, None, None, FRAME[::-1]), "out overlaps the frame"),
    ],
)
def test_errors(args, message):
    with pytest.raises(BadInput, match=r"paste\(\): .*" + message):
        paste(*args)


@pytest.mark.parametrize("away, share", [(0.0, 0.0), (0.015, 0.15625), (0.03, 0.5), (0.045, 0.84375), (0.06, 1.0)])
def test_a_change_fades_in_over_six_hundredths_of_the_crop(away, share):
    """By smoothstep, 3 t^2 - 2 t^3: white into black, this far from the crop's left edge."""
    side = 1000
    M = np.array([[side, 0, 0.5 - away * side + 20], [0, side, -side / 2]], np.float32)  # pixel 20 is `away` inside
    field = lambda channels, value: np.full((channels, 4, 4), value, np.float32)  # noqa: E731
    out = paste(np.zeros((8, 40, 3), np.uint8), M, field(2, 0), field(1, 1), field(3, 1))
    assert np.abs(out[4, 20].astype(int) - 255 * share).max() <= 1
