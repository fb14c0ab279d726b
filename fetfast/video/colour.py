"""Colours of video: from YCbCr as it is tagged to RGB, upright and with square pixels, and back as it came.

Tags are numbers of ITU-T H.273, as FFmpeg has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fetfast.errors import BadInput
from fetfast.image import Frame

BT709, UNSPECIFIED, BT601 = 1, 2, 5
MATRICES = (1, 4, 5, 6, 7, 9)  # those that FFmpeg's scaler knows
UNKNOWN = {8: "YCgCo", 10: "BT.2020, constant luminance", 11: "Y'D'zD'x", 12: "chromaticity", 14: "ICtCp"}
PQ, HLG = 16, 18  # transfer characteristics of HDR
LIMITED, FULL = 1, 2
# SWS_BICUBIC | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND: without the last two all colours come out 1 to 1.5 levels dark.
EXACT = 0x4 | 0x2000 | 0x40000


@dataclass(frozen=True)
class Colour:
    """What the pixels of a video stand for. matrix: from RGB to YCbCr. full: 0 ... 255 instead of 16 ... 235.
    primaries, transfer: as tagged; nothing here depends on them unless `hdr`."""

    matrix: int = BT709
    full: bool = False
    primaries: int = BT709
    transfer: int = BT709

    @property
    def hdr(self) -> bool:
        return self.transfer in (PQ, HLG)


PLAIN = Colour()  # of what was no video before


def colour_of(video: Any, name: str) -> Colour:
    """Of an `av.VideoCodecContext` or `av.VideoFrame`. A video that does not name its matrix is BT.709 from 720 lines
    or 1280 columns on and BT.601 below, as everywhere. Raises BadInput for a matrix that cannot be undone."""
    format = video.format
    full = video.color_range == FULL or bool(format and format.name.startswith("yuvj"))
    if format is not None and format.is_rgb:
        return Colour(BT709, full, video.color_primaries, video.color_trc)
    matrix = int(video.colorspace)
    if matrix in UNKNOWN:
        raise BadInput(f"{name} stores its colours as {UNKNOWN[matrix]}, expected YCbCr; convert it to BT.709 first")
    if matrix not in MATRICES:
        matrix = BT709 if video.height >= 720 or video.width >= 1280 else BT601
    return Colour(matrix, full, int(video.color_primaries), int(video.color_trc))


def rgb(frame: Any, colour: Colour, size: tuple[int, int] | None = None) -> Frame:
    """An `av.VideoFrame` as u8 [H, W, 3] RGB, scaled to `size` (width, height), then turned and mirrored as its display
    matrix says. HDR comes out as SDR."""
    width, height = size or (None, None)
    converted = frame.reformat(
        width, height, "rgb24",
        src_colorspace=colour.matrix, src_color_range=FULL if colour.full or frame.format.is_rgb else LIMITED,
        dst_color_range=FULL, interpolation=EXACT,
    )  # fmt: skip
    pixels = np.asarray(converted.to_ndarray(), np.uint8)
    if colour.hdr:
        pixels = tone_mapped(pixels, colour.transfer)
    return upright(pixels, frame.side_data.get("DISPLAYMATRIX"))


def yuv(picture: Frame, colour: Colour, format: str, av: Any) -> Any:
    """u8 [H, W, 3] RGB as an `av.VideoFrame`, tagged: what `rgb` undoes, to one level."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(
        format=format, dst_colorspace=colour.matrix, src_color_range=FULL,
        dst_color_range=FULL if colour.full else LIMITED, interpolation=EXACT,
    )  # fmt: skip
    tag(frame, colour)
    return frame


def tag(video: Any, colour: Colour) -> None:
    """Says what an `av.VideoFrame` or encoder holds."""
    video.colorspace, video.color_range = colour.matrix, FULL if colour.full else LIMITED
    video.color_primaries, video.color_trc = colour.primaries, colour.transfer


def upright(pixels: Frame, matrix: Any) -> Frame:
    """As a display matrix (nine int32, those of MP4's tkhd: x' = a x + c y, y' = b x + d y) says, in quarter turns."""
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5]
    if abs(int(b)) > abs(int(a)):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


# ---- HDR. Numbers: ITU-R BT.2100-2 (PQ, HLG and its OOTF), BT.2390-10 5.4 (tone mapping), BT.2408-7 (203 cd/m²),
# BT.2087-0 (primaries), BT.1886 (display).

PEAK = 1000.0  # cd/m² of the display that HDR is graded for: HLG's nominal one; of PQ what is brighter is as bright
WHITE = 203.0  # cd/m² of diffuse white: what SDR shows as white
LUMA = np.array([0.2627, 0.6780, 0.0593])  # of BT.2020
TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
M1, M2, C1, C2, C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128


def tone_mapped(pixels: Frame, transfer: int) -> Frame:
    """HDR u8 [H, W, 3], PQ or HLG of BT.2020, as SDR of BT.709: darker than about 95 cd/m² the light is the same, if
    white is 203 cd/m²; above it is rolled off towards white."""
    from PIL import Image, ImageFilter

    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.Color3DLUT(SIDE, _table(transfer))), np.uint8)


SIDE = 65  # of the table: the most that Pillow takes


@cache
def _table(transfer: int) -> NDArray[np.float32]:
    steps = np.linspace(0, 1, SIDE)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    return sdr(np.stack([red, green, blue], -1), transfer).astype(np.float32).reshape(-1)


def sdr(signal: NDArray[Any], transfer: int) -> NDArray[Any]:
    """HDR signals [..., 3] in 0 ... 1 as SDR's, in 0 ... 1: display light, its brightest channel rolled off with the
    others in proportion, BT.709's primaries, and the inverse of BT.1886's 2.4."""
    light = _pq_light(signal) if transfer == PQ else _hlg_light(signal)
    brightest = np.maximum(light.max(-1, keepdims=True), 1e-6)
    light = light * (_rolled_off(brightest) / brightest)
    return np.clip(light / WHITE @ TO_BT709.T, 0, 1) ** (1 / 2.4)


def _pq_light(signal: NDArray[Any]) -> NDArray[Any]:
    power = signal ** (1 / M2)
    return 1e4 * (np.maximum(power - C1, 0) / (C2 - C3 * power)) ** (1 / M1)


def _pq_signal(light: NDArray[Any] | float) -> NDArray[Any]:
    power = (np.asarray(light) / 1e4) ** M1
    return ((C1 + C2 * power) / (1 + C3 * power)) ** M2


def _hlg_light(signal: NDArray[Any]) -> NDArray[Any]:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return PEAK * np.maximum(scene @ LUMA, 1e-9)[..., None] ** (1.2 - 1) * scene


def _rolled_off(light: NDArray[Any]) -> NDArray[Any]:
    """BT.2390's EETF from a black of 0 and a white of PEAK to one of WHITE: a Hermite spline above its knee, in PQ."""
    whole = _pq_signal(PEAK)
    signal, most = np.minimum(_pq_signal(light) / whole, 1), _pq_signal(WHITE) / whole
    knee = 1.5 * most - 0.5
    t = (signal - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    return _pq_light(np.where(signal < knee, signal, spline) * whole)
