"""A video's colours and shape: read as tagged, turned upright, its pixels squared, HDR made SDR, and given back."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from clips import QUARTERS, raw, turn
from PIL import Image

from fetfast.errors import BadInput
from fetfast.face import Landmarker
from fetfast.image import load
from fetfast.video import Reader, Writer
from fetfast.video.colour import HLG, PQ, Colour, colour_of, rgb, sdr, yuv

av = pytest.importorskip("av")

# Kr and Kb of H.273, table 4
WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}


def planes(frame):
    """Y, U and V of an 8-bit frame, without the padding of its lines."""
    return [
        np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].astype(int)
        for plane in frame.planes
    ]


def coded(picture, matrix, full):
    """u8 [H, W, 3] as YCbCr 4:2:0, by the formulas of H.273 in float: what a camera would store."""
    kr, kb = WEIGHTS[matrix]
    red, green, blue = np.moveaxis(picture / 255, -1, 0)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = [(blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)]
    parts = [luma * 255 if full else 16 + luma * 219, *(128 + part * (255 if full else 224) for part in chroma)]
    height, width = luma.shape
    frame = av.VideoFrame(width, height, "yuv420p")
    for i, (plane, part) in enumerate(zip(frame.planes, parts, strict=True)):
        if i:
            part = part.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
        lines = np.zeros((plane.height, plane.line_size), np.uint8)
        lines[:, : plane.width] = np.round(part)
        plane.update(lines)
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    return frame


def smooth(height, width):
    """Every colour within the gamut and no edges: the resolution of chroma does not matter."""
    y, x = np.mgrid[0:height, 0:width]
    parts = 40 + 160 * x / width, 200 - 120 * y / height, 60 + 120 * (x + y) / (width + height)
    return np.stack(parts, -1).round().astype(np.uint8)


@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize("full", [False, True])
def test_colours_are_read_as_the_standard_says(matrix, full):
    """On average to a third of a level: the scaler's usual rounding is 1 to 1.5 levels dark."""
    picture = smooth(96, 128)
    frame = coded(picture, matrix, full)
    difference = rgb(frame, colour_of(frame, "a clip")).astype(int) - picture
    assert np.abs(difference.mean((0, 1))).max() < 0.34 and np.abs(difference).max() <= 4


@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize("full", [False, True])
def test_untouched_pixels_go_back_as_they_came(matrix, full):
    """To a level of each plane, in the same matrix and range."""
    frame = coded(smooth(96, 128), matrix, full)
    colour = colour_of(frame, "a clip")
    back = yuv(rgb(frame, colour), colour, "yuv420p", av)
    assert (back.colorspace, back.color_range) == (matrix, 2 if full else 1)
    for before, after in zip(planes(frame), planes(back), strict=True):
        assert np.abs(after - before).max() <= 1 and abs((after - before).mean()) < 0.6


@pytest.mark.parametrize(("width", "height", "matrix"), [(640, 480, 5), (720, 576, 5), (960, 720, 1), (1280, 534, 1)])
def test_a_video_that_names_no_matrix(width, height, matrix):
    """From 720 lines or 1280 columns on BT.709, below BT.601."""
    picture = smooth(height, width)
    frame = coded(picture, matrix, full=False)
    frame.colorspace = frame.color_range = 0
    for unspecified in (2, 3):
        frame.colorspace = unspecified
        assert colour_of(frame, "a clip").matrix == matrix
    read = rgb(frame, colour_of(frame, "a clip"))
    assert np.abs(read.astype(int) - picture).mean((0, 1)).max() < 1
    wrong = rgb(frame, Colour(6 - matrix))
    assert np.abs(wrong.astype(int) - picture).mean((0, 1)).max() > 3, "what this would miss"


@pytest.mark.parametrize(("width", "height"), [(320, 240), (960, 720)])
def test_an_untagged_file_keeps_its_colours(tmp_path, width, height):
    """Stored without tags, as most files are, and read by its size."""
    matrix, picture = 1 if height >= 720 else 5, smooth(height, width)
    with av.open(str(tmp_path / "v.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.options = {"crf": "4"}
        for i in range(3):
            frame = coded(picture, matrix, full=False)
            frame.colorspace, frame.color_range, frame.pts = 2, 0, i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with Reader(tmp_path / "v.mp4") as reader:
        assert reader.colour.matrix == matrix
        _, read = next(iter(reader))
    assert np.abs((read.astype(int) - picture).mean((0, 1))).max() < 0.5


@pytest.mark.parametrize(("matrix", "range_"), [(1, 1), (1, 2), (5, 1), (5, 2), (9, 1)])
def test_a_films_colours_survive(tmp_path, matrix, range_):
    """Read, written and decoded: the planes' averages over 32 x 32 pixels within a level, the tags as they were."""
    tags = {"colorspace": matrix, "color_range": range_, "color_primaries": 6, "color_trc": 6}
    picture = smooth(128, 192)
    source = raw(tmp_path / "v.mkv", "libx264", picture=picture, options={"crf": "8"}, **tags)
    with Reader(source) as reader, Writer(tmp_path / "w.mp4", reader.rate, colour=reader.colour) as writer:
        for time, frame in reader:
            writer.write(time, frame)
    read = []
    for path in (source, tmp_path / "w.mp4"):
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
            read.append(planes(frame))
            assert {name: getattr(frame, name) for name in tags} == tags
    for before, after in zip(*read, strict=True):
        blocks = (after - before).reshape(before.shape[0] // 32, 32, before.shape[1] // 32, 32).mean((1, 3))
        assert np.abs(blocks).max() <= 1


def test_rgb_and_grey_videos(tmp_path):
    """Which have no matrix at all."""
    grey = np.repeat(smooth(64, 96)[:, :, :1], 3, axis=2)
    for name, layout, picture in (("v", "rgb24", smooth(64, 96)), ("g", "gray", grey)):
        with av.open(str(tmp_path / f"{name}.mov"), "w") as out:
            stream = out.add_stream("png", rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 64, layout
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            out.mux(stream.encode(frame.reformat(format=layout)))
            out.mux(stream.encode(None))
        with Reader(tmp_path / f"{name}.mov") as reader:
            assert np.abs(next(iter(reader))[1].astype(int) - picture).max() <= (0 if layout == "rgb24" else 2)
            assert reader.colour.matrix in (1, 5)


def test_colours_that_cannot_be_undone_are_refused(tmp_path):
    raw(tmp_path / "v.mp4", "libx264", colorspace=8)
    with pytest.raises(BadInput, match=r"v\.mp4 stores its colours as YCgCo, expected YCbCr; convert it"):
        Reader(tmp_path / "v.mp4")


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_turned_and_mirrored_clips_are_shown_as_players_do(tmp_path, quarters, mirror):
    """A phone's upright clip; a front camera's."""
    with Reader(turn(raw(tmp_path / "v.mp4"), quarters, mirror)) as reader:
        _, frame = next(iter(reader))
    expected = np.rot90(QUARTERS, quarters)
    expected = expected[:, ::-1] if mirror else expected
    assert frame.shape == expected.shape
    corners = [(slice(8, 24), slice(8, 24)), (slice(-24, -8), slice(8, 24)), (slice(8, 24), slice(-24, -8))]
    assert max(np.abs(frame.astype(int) - expected)[corner].max() for corner in corners) <= 12


@pytest.mark.parametrize(
    ("aspect", "shape"), [("16/11", (64, 140)), ("8/9", (72, 96)), ("1", (64, 96)), ("99", (64, 96))]
)
def test_pixels_become_square(tmp_path, aspect, shape):
    """Wide ones wider, high ones higher, so that nothing is lost; what no screen ever had is not believed."""
    source = raw(tmp_path / "v.mkv", "libx264", sample_aspect_ratio=Fraction(aspect))
    with Reader(source) as reader:
        _, frame = next(iter(reader))
    assert frame.shape[:2] == shape
    assert np.abs(frame[: shape[0] // 2 - 8, : shape[1] // 2 - 8].astype(int) - QUARTERS[0, 0]).max() <= 8


# Of PQ and HLG signals: light in cd/m², from ITU-R BT.2408-7, tables 1 and 2 (grey card and diffuse white; HLG on a
# display of 1,000).
PUBLISHED = [(PQ, 0.58, 203), (PQ, 0.38, 26), (HLG, 0.75, 203), (HLG, 0.38, 26)]


@pytest.mark.parametrize(("transfer", "signal", "light"), PUBLISHED)
def test_hdr_light_is_that_of_the_standard(transfer, signal, light):
    from fetfast.video.colour import _hlg_light, _pq_light

    grey = np.full((1, 3), signal)
    measured = _pq_light(grey) if transfer == PQ else _hlg_light(grey)
    assert measured == pytest.approx(np.full((1, 3), light), rel=0.03)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_hdr_becomes_sdr(transfer):
    """A grey card looks as in SDR (BT.1886's 42 % are 26 of 203 cd/m²), greys stay grey and rise."""
    greys = sdr(np.repeat(np.linspace(0, 1, 200)[:, None], 3, axis=1), transfer)
    assert np.allclose(greys, greys[:, :1], atol=2e-3)
    assert all(a <= b + 1e-6 for a, b in pairwise(greys[:, 0])) and greys[0, 0] < 0.02 and greys[-1, 0] > 0.99
    assert sdr(np.full((1, 3), 0.38), transfer)[0, 0] == pytest.approx((26 / 203) ** (1 / 2.4), abs=0.01)
    bright = sdr(np.array([[0.9, 0.3, 0.2], [0.3, 0.9, 0.3]]), transfer)
    assert bright[0].argmax() == 0 and bright[1].argmax() == 1


def test_a_phones_hdr_clip(tmp_path):
    """A picture stored as HLG the way BT.2408 maps SDR into it comes back as it was, its highlights a little darker."""
    picture = 64 + smooth(64, 96) // 2
    light = 203 * (picture / 255) ** 2.4 @ np.linalg.inv(TO_709).T  # of BT.2020
    luma = light @ np.array([0.2627, 0.6780, 0.0593])
    scene = light / 1000 * (luma / 1000)[..., None] ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    signal = np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)
    frame = coded((signal * 255), 9, full=False)
    frame.color_trc, frame.color_primaries = HLG, 9
    read = rgb(frame, colour_of(frame, "a clip"))
    dark = picture.max(-1) < 150
    difference = read.astype(int) - picture
    assert np.abs(difference)[dark].max() <= 6 and np.abs(difference[dark].mean(0)).max() < 1
    assert np.abs(difference).max() <= 24


TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])


def test_hdr_and_wide_pixels_of_users(shared, tmp_path):
    """HLG as telephones film: skin of 191, 126, 112 in the picture that it was made from; written again it is tagged as
    the SDR that it is. Pixels 16:11 wide: a face as wide as in the picture."""
    landmarker, cases = Landmarker(), shared / "cases"
    with Reader(cases / "hdr_hlg.mp4") as reader, Writer(tmp_path / "sdr.mp4", colour=reader.colour) as writer:
        for time, frame in reader:
            writer.write(time, frame)
    picture = np.asarray(Image.fromarray(load(cases / "smile_088.jpg")).resize((270, 270), Image.Resampling.LANCZOS))
    skin = (np.abs(picture.astype(int) - (191, 126, 112)) < 7).all(-1)
    assert skin.sum() > 20
    assert frame[:, 105:375][skin].mean(0) == pytest.approx((191, 126, 112), abs=5)
    with av.open(str(tmp_path / "sdr.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_trc, context.color_primaries) == (1, 1, 1)
    with Reader(cases / "anamorphic.mp4") as reader:
        frame = next(iter(reader))[1]
    (x0, y0, x1, y1), (a0, b0, a1, b1) = (
        landmarker.detect(picture)[0].box for picture in (frame, load(shared / "portraits" / "001.jpg"))
    )
    assert (x1 - x0) / (y1 - y0) == pytest.approx((a1 - a0) / (b1 - b0), rel=0.03)
