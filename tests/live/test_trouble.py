"""What goes wrong while a loop runs, on the target's side and over time: a clear message, and a playable recording."""

import shutil
import sys
import threading
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from frames import Frames, write
from PIL import Image

from fetfast import Loop
from fetfast.errors import BadInput, NoFace
from fetfast.image import load
from fetfast.live import transfer
from fetfast.live.preview import VirtualCamera
from fetfast.video import Reader


def length(path):
    with Reader(path) as reader:
        return len(list(reader))


class Slow(Frames):
    """Frames of 1 a second, and the last five at 25; none before `begin` is set."""

    def __init__(self, frames):
        super().__init__(frames)
        self.begin = threading.Event()

    def __iter__(self):
        self.begin.wait()
        count = len(self._frames)
        for i, frame in enumerate(self._frames):
            yield Fraction(min(i, count - 5)) + Fraction(max(i - count + 5, 0), 25), frame


@pytest.mark.parametrize("mode", ["absolute", "relative"])
def test_nobody_is_there_for_a_minute(engine, driver, portrait_file, tmp_path, mode):
    """The portrait as it is, recorded at its times; driven within 3 frames of the first face."""
    nobody = np.full((180, 320, 3), 90, np.uint8)
    plain = load(portrait_file)
    source = Slow([nobody] * 61 + driver[68:72])
    with Loop(engine, source, portrait_file, mode=mode) as loop:
        loop.record(str(tmp_path / "out.mp4"))
        source.begin.set()  # else frames pass before they are recorded
        made = [frame.copy() for frame, _ in loop]
    assert all((frame == plain).all() for frame in made[:61])
    if mode == "absolute":  # in the other one their first face is their resting one
        assert (made[63] != plain).any()
    with Reader(tmp_path / "out.mp4") as reader:
        times = [at for at, _ in reader]
    assert len(times) == 65 and times[-1] == 60 + Fraction(4, 25) and reader.trouble is None


def test_what_is_read_is_not_written_over(engine, clip, portrait_file, tmp_path):
    film = tmp_path / "film.mp4"
    shutil.copy(clip, film)
    (tmp_path / "link.mp4").symlink_to(film)
    whole = film.read_bytes()
    with Loop(engine, str(film), portrait_file) as loop, pytest.raises(BadInput, match=r"film\.mp4 is being read"):
        loop.record(str(film))
    with Loop(engine, str(clip), portrait_file) as loop:
        loop.target = str(film)
        with pytest.raises(BadInput, match="is being read"):
            loop.record(str(film))
    with pytest.raises(BadInput, match=r"link\.mp4 is being read, expected another file to write to"):
        transfer(engine, film, portrait_file, tmp_path / "link.mp4")
    assert film.read_bytes() == whole


@pytest.mark.parametrize(("size", "side"), [((2160, 3840), 1800), ((360, 640), 60)])
def test_large_and_small_targets(engine, driver, astronaut, size, side):
    """4K, and a face of 30 pixels (60 with the hair): around the face nothing changes."""
    target = np.full((*size, 3), 120, np.uint8)
    face = Image.fromarray(astronaut).resize((side, side))
    target[100 : 100 + side, 200 : 200 + side] = np.asarray(face)
    with Loop(engine, Frames(driver[68:70]), target) as loop:
        made = [frame.copy() for frame, _ in loop]
    inside = np.zeros(size, bool)
    inside[100 : 100 + side, 200 : 200 + side] = True
    changed = (made[-1] != target).any(-1)
    assert changed[inside].any() and not changed[100 + 2 * side :].any() and not changed[:, 200 + 2 * side :].any()


def test_a_recording_ends_where_the_target_gets_another_size(engine, driver, portrait_file, tmp_path):
    """It cannot hold frames of two sizes: it is closed and said, and the loop goes on with the new target."""
    other = load(portrait_file)[::2, ::2].copy()
    with Loop(engine, Frames(driver[:30]), portrait_file) as loop:
        loop.record(str(tmp_path / "out.mp4"))
        sizes = []
        for frame, _ in loop:
            sizes.append(len(frame))
            if len(sizes) == 8:
                loop.target = other
    assert len(sizes) == 30 and sizes[-1] == len(other) == sizes[0] // 2
    assert "the recording ended after" in loop.trouble and "as the first" in loop.trouble
    assert length(tmp_path / "out.mp4") == loop.recorded >= 8


def test_a_virtual_camera_keeps_its_size(monkeypatch):
    """As pyvirtualcam does, which refuses frames of another size: a new target is fitted into the first one's."""
    sent = []

    class Camera:
        device = "stand-in"

        def __init__(self, width, height, fps):
            self.shape = height, width, 3

        def send(self, frame):
            assert frame.shape == self.shape and frame.dtype == np.uint8
            sent.append(frame)

    monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=Camera))
    camera = VirtualCamera(np.zeros((60, 80, 3), np.uint8), 25)
    camera.send(np.full((60, 80, 3), 7, np.uint8))
    camera.send(np.full((120, 120, 3), 200, np.uint8))
    assert (sent[0] == 7).all() and (sent[1][:, 10:70] == 200).all() and (sent[1][:, :10] == 0).all()


def test_a_loop_that_cannot_start_leaves_no_thread(engine, make_clip, driver):
    target, before = make_clip([driver[0][::2, ::2]] * 12), threading.active_count()
    with pytest.raises(BadInput, match="intensity"):
        Loop(engine, Frames(driver[:1]), target, intensity=7)
    assert threading.active_count() == before


def test_a_target_that_vanishes(engine, driver, make_clip, tmp_path):
    """A film is read again when it ends: gone by then, it is named, and what was recorded can be played."""
    target = make_clip([driver[0][::2, ::2]] * 6, "target.mp4")
    loop = Loop(engine, Frames(driver[:40], live=True), target)
    with pytest.raises(BadInput, match=r"target\.mp4.*no such file"), loop:
        target.unlink()
        loop.record(str(tmp_path / "out.mp4"))
        for _ in loop:
            pass
    assert length(tmp_path / "out.mp4") == loop.recorded >= 1


@pytest.mark.parametrize("count", [0, 1])
def test_tiny_targets(engine, driver, tmp_path, count):
    path, out = tmp_path / "tiny.mkv", tmp_path / "out.mp4"
    write(path, driver[:count])
    if count:
        assert transfer(engine, Frames(driver[:5]), path, out)["frames"] == length(out) == 5
        return
    with pytest.raises((BadInput, NoFace), match=r"tiny\.mkv"):
        transfer(engine, Frames(driver[:5]), path, out)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.mkv"]


def test_a_cut_off_target_is_named(engine, driver, make_clip, tmp_path):
    """Of the film there is what there is, again and again."""
    noise = np.random.default_rng(0)
    target = make_clip(
        [frame[::2, ::2] ^ noise.integers(0, 7, (180, 320, 3), np.uint8) for frame in driver[:40]], "film.mkv"
    )
    content = target.read_bytes()
    target.write_bytes(content[: len(content) // 2])
    figures = transfer(engine, Frames(driver[:1] * 40), target, tmp_path / "out.mp4")
    assert "film.mkv is cut off" in figures["trouble"] and length(tmp_path / "out.mp4") == 40
