"""Every kind of file that a `Writer` makes, decoded again: frames, times, colours, quality, bitrate and mark."""

from fractions import Fraction

import numpy as np
import pytest
from clips import QUARTERS
from PIL import Image

from fetfast.errors import BadInput
from fetfast.image import load
from fetfast.video import Reader, Writer, is_marked
from fetfast.video.animation import playable_frames
from fetfast.video.formats import FORMATS

av = pytest.importorskip("av")

FILMS = [ending for ending, format in FORMATS.items() if not format.tick]


@pytest.fixture(scope="module")
def picture(smile):
    return smile[::4, ::4].copy()


def write(path, frames, rate=25, **options):
    with Writer(path, Fraction(rate), **options) as writer:
        for i, frame in enumerate(frames):
            writer.write(Fraction(i, rate), frame)
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []
    return writer.frames


def shifted(picture, count):
    return [np.ascontiguousarray(np.roll(picture, 3 * i, axis=1)) for i in range(count)]


def animated(path):
    """Frames and durations in milliseconds, as browsers read them."""
    frames, durations = [], []
    with Image.open(path) as opened:
        for i in range(opened.n_frames):
            opened.seek(i)
            frames.append(np.asarray(opened.convert("RGB")))
            durations.append(opened.info["duration"])
        assert opened.info["loop"] == 0, "for ever"
    return frames, durations


@pytest.mark.parametrize("ending", [".gif", ".webp"])
@pytest.mark.parametrize("rate", [10, 25, 30])
def test_animations(tmp_path, picture, ending, rate):
    """All frames in their colours and at their times, of odd sizes too, and marked."""
    path, frames = tmp_path / f"a{ending}", shifted(picture[:127, :125], 15)
    assert write(path, frames, rate) == 15
    made, durations = animated(path)
    assert len(made) == 15 and is_marked(path)
    assert np.mean(durations) == pytest.approx(1000 / rate, rel=0.05)
    for before, after in zip(frames, made, strict=True):
        assert np.abs(after.astype(int) - before).mean() < 4
    assert not _marked_without(tmp_path, picture, ending)


def _marked_without(folder, picture, ending):
    write(folder / f"plain{ending}", [picture] * 2, mark=False)
    return is_marked(folder / f"plain{ending}")


def test_a_gif_of_60_frames_a_second_keeps_its_length(tmp_path, picture):
    """Browsers slow down what is faster than 50: frames are left out, none comes late."""
    assert 45 <= write(tmp_path / "a.gif", shifted(picture, 60), 60) <= 50
    _, durations = animated(tmp_path / "a.gif")
    assert min(durations) >= 20 and sum(durations) == pytest.approx(1000, abs=40)


@pytest.mark.parametrize("ending", [".gif", ".webp", ".webm"])
def test_a_single_frame(tmp_path, picture, ending):
    path = tmp_path / f"a{ending}"
    assert write(path, [picture]) == 1 and is_marked(path)
    if ending == ".webm":
        with Reader(path) as reader:
            assert len(list(reader)) == 1
    else:
        assert np.abs(load(path).astype(int) - picture).mean() < 4 and playable_frames(path) == 1


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_an_animation_that_is_interrupted_plays(tmp_path, picture, ending):
    path = tmp_path / f"a{ending}"
    with pytest.raises(KeyboardInterrupt), Writer(path, Fraction(25)) as writer:
        for i, frame in enumerate(shifted(picture, 9)):
            writer.write(Fraction(i, 25), frame)
        raise KeyboardInterrupt
    assert len(animated(path)[0]) == writer.frames == 9 and is_marked(path)


def test_webm_is_vp9(tmp_path, picture):
    write(tmp_path / "v.webm", shifted(picture, 10))
    with av.open(str(tmp_path / "v.webm")) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == "vp9"
        assert container.format.name == "matroska,webm"
    with Reader(tmp_path / "v.webm") as reader:
        made = [frame for _, frame in reader]
    assert np.abs(made[-1].astype(int) - shifted(picture, 10)[-1]).mean() < 5


@pytest.mark.parametrize("ending", [*FILMS, ".webp"])
def test_quality(tmp_path, picture, ending):
    """More of it is a larger file that is nearer to the frames."""
    sizes, errors = [], []
    for quality in (20, 60, 95):
        path = tmp_path / f"{quality}{ending}"
        write(path, shifted(picture, 8), quality=quality)
        sizes.append(path.stat().st_size)
        frames = animated(path)[0] if ending == ".webp" else [frame for _, frame in Reader(path)]
        errors.append(np.abs(frames[-1].astype(int) - shifted(picture, 8)[-1]).mean())
    assert sizes == sorted(sizes) and sizes[2] > 1.5 * sizes[0]
    assert errors == sorted(errors, reverse=True) and errors[2] < 0.8 * errors[0]


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_bitrate(tmp_path, ending):
    """On average, of noise that no encoder can foresee: VP9's, in one pass, is within half and twice of it."""
    noise = np.random.default_rng(0)
    frames = [noise.integers(80, 176, (128, 128, 3), np.uint8) for _ in range(100)]
    for bitrate in (400_000, 1_500_000):
        path = tmp_path / f"{bitrate}{ending}"
        write(path, frames, bitrate=bitrate)
        assert bitrate / 2 < path.stat().st_size * 8 / 4 < bitrate * 2


def test_what_cannot_be_is_said(tmp_path):
    for options, words in (
        ({"quality": 0}, "quality is 0, expected 1 ... 100"),
        ({"bitrate": 12}, "bitrate is 12, expected at least 10000"),
    ):
        with pytest.raises(BadInput, match=words):
            Writer(tmp_path / "v.mp4", **options)
    with pytest.raises(BadInput, match="a gif has no bitrate; give a quality"):
        Writer(tmp_path / "v.gif", bitrate=10**6)
    assert not list(tmp_path.iterdir())


def test_frames_of_another_size(tmp_path):
    with Writer(tmp_path / "v.gif") as writer:
        writer.write(Fraction(0), QUARTERS)
        with pytest.raises(BadInput, match="as the first"):
            writer.write(Fraction(1), QUARTERS[:33])
