"""Video in and out: times, rotation, colours and sound survive, and what is written can always be played."""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from clips import QUARTERS, raw

from fetfast.errors import BadInput, Unavailable
from fetfast.video import Part, Reader, Writer, frames, is_marked, is_video

av = pytest.importorskip("av")


def write(path, times, sound=None, picture=QUARTERS, **options):
    with Writer(path, sound=sound, **options) as writer:
        for time in times:
            writer.write(Fraction(time), picture)
    return path


def sound(path):
    """Codec, start and length in seconds of a file's sound."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        heard = [frame for frame in container.decode(stream)]
        start, end = heard[0].time, heard[-1].time + heard[-1].samples / heard[-1].sample_rate
        return stream.codec_context.name, start, end - start


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm"])
def test_uneven_times_survive(tmp_path, ending):
    times = [Fraction(n, 1000) for n in (0, 40, 73, 140, 141, 400, 1033)]
    path = write(tmp_path / f"v.{ending}", times, time_base=Fraction(1, 1000))
    with Reader(path) as reader:
        read = list(reader)
    assert [time for time, _ in read] == times and reader.trouble is None
    assert np.abs(read[-1][1].astype(int) - QUARTERS)[8:24, 8:40].max() <= 6
    assert is_marked(path) and is_video(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "nothing is left aside"


@pytest.mark.parametrize(
    ("codec", "ending", "kept"), [("aac", "mp4", True), ("mp3", "mkv", True), ("pcm_s16le", "avi", False)]
)
def test_sound_comes_along(tmp_path, codec, ending, kept):
    """Copied where MP4 can hold it, encoded as AAC elsewhere; from the same moment on, as long to within a frame."""
    source = raw(tmp_path / f"s.{ending}", frames=25, sound=codec)
    with Reader(source) as reader, Writer(tmp_path / "v.mp4", reader.rate, reader.time_base, sound=source) as writer:
        for time, frame in reader:
            writer.write(time, frame)
    before, after = sound(source), sound(tmp_path / "v.mp4")
    assert (after[0] == before[0]) if kept else (after[0] == "aac")
    assert abs(after[1] - before[1]) < 0.04 and abs(after[2] - before[2]) < 0.04


def test_damaged_sound_is_left_out(tmp_path):
    """The pictures go on; the sound that is whole comes along."""
    content = raw(tmp_path / "s.mkv", frames=50, sound="mp2").read_bytes()
    random, source, out = np.random.default_rng(0), tmp_path / "damaged.mkv", tmp_path / "v.mp4"
    for _ in range(8):
        damaged = np.frombuffer(content, np.uint8).copy()
        where = random.integers(len(content) // 10, len(content), len(content) // 50)
        damaged[where] = random.integers(256, size=len(where))
        source.write_bytes(damaged.tobytes())
        write(out, [Fraction(i, 25) for i in range(50)], sound=source)
        with Reader(out) as reader:
            assert len(list(reader)) == 50
    assert {file.name for file in tmp_path.iterdir()} == {"s.mkv", "damaged.mkv", "v.mp4"}


def test_a_writer_that_cannot_start_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        Writer(tmp_path / "v.mp4", sound=tmp_path / "none.mp4")
    assert not list(tmp_path.iterdir())


def test_sound_stops_where_the_pictures_were_interrupted(tmp_path):
    source = raw(tmp_path / "s.mp4", frames=50, sound="aac")
    writer = Writer(tmp_path / "v.mp4", Fraction(25), sound=source)
    for i in range(10):
        writer.write(Fraction(i, 25), QUARTERS)
    writer.close(whole=False)
    assert abs(sound(tmp_path / "v.mp4")[2] - 0.4) < 0.1


def test_odd_sizes_lose_a_line_and_others_are_refused(tmp_path):
    with Writer(tmp_path / "v.mp4") as writer:
        writer.write(Fraction(0), QUARTERS[:63, :95])
        with pytest.raises(BadInput, match="as the first"):
            writer.write(Fraction(1), QUARTERS[:32])
    with Reader(tmp_path / "v.mp4") as reader:
        assert [frame.shape for _, frame in reader] == [(62, 94, 3)]


def test_without_frames_no_file_remains(tmp_path):
    Writer(tmp_path / "v.mp4").close()
    writer = Writer(tmp_path / "w.mp4")
    writer.write(Fraction(0), QUARTERS)
    writer.discard()
    assert not list(tmp_path.iterdir())


def test_a_killed_writer_leaves_a_playable_file(tmp_path):
    """No farewell at all: what is on the disk by then can be played."""
    code = f"""
import os, numpy as np
from fractions import Fraction
from fetfast.video import Writer
writer = Writer({str(tmp_path / "v.mp4")!r})
noise = np.random.default_rng(0)
for i in range(200):
    writer.write(Fraction(i, 25), noise.integers(0, 255, (64, 96, 3), np.uint8))
os._exit(1)
"""
    subprocess.run([sys.executable, "-c", code], timeout=60)
    (aside,) = tmp_path.iterdir()
    with Reader(aside) as reader:
        assert 100 <= len(list(reader)) <= 200


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize("room", [0, 1000, 400_000])
def test_a_full_disk_leaves_what_plays_and_says_how_much(tmp_path, ending, room):
    """The limit on a file's size stands for the disk's end: the same error on the same call."""
    code = f"""
import resource, numpy as np
from fractions import Fraction
from fetfast.video import Writer
writer = Writer({str(tmp_path / f"v.{ending}")!r})
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
noise = np.random.default_rng(0)
full = False
try:
    for i in range(400):
        writer.write(Fraction(i, 25), noise.integers(0, 255, (64, 96, 3), np.uint8))
except OSError as error:
    full = True
try:
    writer.close(whole=False)
except OSError as error:
    full = True
print(full, writer.frames)
"""
    run = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    full, count = run.stdout.split()
    assert full == "True", run.stderr
    if room < 400_000:
        assert count == "0" and not list(tmp_path.iterdir())
        return
    assert [p.name for p in tmp_path.iterdir()] == [f"v.{ending}"]
    with Reader(tmp_path / f"v.{ending}") as reader:
        assert 25 <= len(list(reader)) == int(count)


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_is_no_video_is_said(tmp_path, content):
    path = tmp_path / "v.mp4"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"v\.mp4 cannot be opened"):
        Reader(path)
    with pytest.raises(BadInput, match="no such file"):
        Reader(tmp_path / "none.mp4")


def test_a_file_without_frames_and_with_one(tmp_path):
    none, one = raw(tmp_path / "none.mkv", frames=0), raw(tmp_path / "one.mkv", frames=1)
    with pytest.raises(BadInput, match=r"no frame that can be decoded|cannot be opened"), Reader(none) as reader:
        list(reader)
    with Reader(one) as reader:
        assert len(list(reader)) == 1 and reader.trouble is None


def test_a_cut_off_file_gives_what_it_has(tmp_path):
    path = write(tmp_path / "v.mkv", [Fraction(i, 25) for i in range(100)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with Reader(path) as reader:
        seen = len(list(reader))
    assert 20 < seen < 100 and reader.trouble and "cut off" in reader.trouble


def test_every_nth_frame(tmp_path):
    """From the first one on, as `Reader` gives them; what is wrong with the file is said once it is read."""
    path = write(tmp_path / "v.mkv", [Fraction(i, 25) for i in range(100)])
    with Reader(path) as reader:
        whole = [frame for _, frame in reader]
    some = list(frames(path, every=40))
    assert len(some) == 3 and all((a == b).all() for a, b in zip(some, whole[::40], strict=True))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.warns(UserWarning, match="cut off"):
        assert len(list(frames(path))) < 100


def test_damage_in_the_middle_is_passed_over(tmp_path):
    path = raw(tmp_path / "v.avi", "mjpeg", frames=40, pix_fmt="yuvj420p")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    with Reader(path) as reader:
        assert len(list(reader)) >= 20


def test_pictures_are_no_videos(tmp_path, data):
    assert not is_video(data / "portraits" / "001.jpg") and is_video(data / "clips" / "single_face.mp4")
    assert not is_video(tmp_path / "missing.mp4")
    with pytest.raises(BadInput, match="ends in"):
        Writer(tmp_path / "v.avi")


def test_pictures_need_no_pyav(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for name, video in (("photo.bmp", False), ("clip.mp4", True)):
        (tmp_path / name).write_bytes(b"x")
        assert is_video(tmp_path / name) == video
    with pytest.raises(Unavailable, match="pip install"):
        Reader(tmp_path / "clip.mp4")


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize(("begin", "end"), [(0.5, 1.5), (3.0, None), (6.02, 7.1), (0, 0.2)])
def test_a_part_of_a_file(tmp_path, ending, begin, end):
    """The frames shown within it, at their distance from its begin; found by seeking where it lies far in."""
    path = tmp_path / f"v.{ending}"
    with Writer(path) as writer:
        for i in range(200):
            writer.write(Fraction(i, 25), np.full((64, 96, 3), i, np.uint8))
    with Reader(Part.of(path, begin, end)) as reader:
        read = list(reader)
        assert reader.seconds == pytest.approx((end or 8) - begin)
    shown = [i for i in range(200) if begin <= i / 25 < (end or 8)]
    assert [round(float(frame.mean())) for _, frame in read] == pytest.approx(shown, abs=1)
    assert [float(time) for time, _ in read] == pytest.approx([i / 25 - begin for i in shown], abs=1e-3)


def test_parts_that_there_are_not(tmp_path):
    path = write(tmp_path / "v.mp4", [Fraction(i, 25) for i in range(50)])
    with pytest.raises(BadInput, match=r"v\.mp4 shows nothing within 5 \.\.\. 9 s, it is 2\.00 s long"):
        list(Reader(Part.of(path, 5, 9)))
    for begin, end in ((-1, None), (2, 1), (1, 1)):
        with pytest.raises(BadInput, match=r"expected a begin from 0 on that lies before the end"):
            Part.of(path, begin, end)
    with pytest.raises(BadInput, match="plays as it comes"):
        Reader(Part.of("http://127.0.0.1:9/v.mp4", 1))
