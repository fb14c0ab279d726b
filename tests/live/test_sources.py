"""Where frames come from besides plain files: hardware decoders, RTSP, and a picture that drives a video."""

import time
from fractions import Fraction

import mjpeg
import numpy as np
import pytest
from rtsp import Server

from fetfast import Loop
from fetfast.errors import BadInput, NoFace
from fetfast.live import transfer
from fetfast.live.sources import Clip, Picture
from fetfast.video import Reader, Writer, hwaccel
from fetfast.video.colour import colour_of, rgb

av = pytest.importorskip("av")


def gradient(height, width):
    """Colours that a wrong matrix or range would change; smooth, so that chroma's resolution does not matter."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([40 + 160 * x / width, 200 - 120 * y / height, 60 + 60 * (x + y) / (width + height)], -1).astype(
        "u1"
    )


@pytest.fixture
def large(tmp_path):
    """A clip large enough for a hardware decoder, with uneven times."""
    with Writer(tmp_path / "large.mp4", Fraction(25), Fraction(1, 1000)) as writer:
        for at in (0, 40, 73, 140, 400):
            writer.write(Fraction(at, 1000), gradient(720, 1280))
    return tmp_path / "large.mp4"


def test_which_hardware_is_tried():
    listed, decodable = ["vaapi", "qsv", "cuda"], ["vaapi", "cuda", "vulkan"]
    assert hwaccel.candidates(listed, decodable, 1920 * 1080) == ["cuda", "vaapi"]
    assert hwaccel.candidates(listed, ["vdpau"], 1920 * 1080) == []
    assert hwaccel.candidates(listed, decodable, 640 * 480) == [], "software is as good"


def test_hardware_that_is_listed_and_absent_is_passed_over(large, monkeypatch):
    """The machine's own list, and one whose devices never start."""
    tried = []

    class Absent:
        def __init__(self, kind, **_):
            tried.append(kind)

        def create(self, codec):
            raise av.error.PermissionError(1, "no such device")

    monkeypatch.setattr("av.codec.hwaccel.HWAccel", Absent)
    monkeypatch.setattr(hwaccel, "candidates", lambda *_: ["cuda", "vaapi"])
    with Reader(large) as reader:
        assert len(list(reader)) == 5 and reader.decoder == "h264 in software"
    assert tried == ["cuda", "vaapi"]
    with Reader(large, hwaccel="off") as reader:
        assert len(list(reader)) == 5 and tried == ["cuda", "vaapi"]
    with pytest.raises(BadInput, match="hwaccel is 'maybe', expected auto or off"):
        Reader(large, hwaccel="maybe")


def test_a_device_that_starts_and_then_refuses_leaves_software(large, monkeypatch):
    """It is there, yet the file cannot be opened on it (sessions taken, a profile that it does not know)."""
    opened = av.open

    def refusing(*arguments, hwaccel=None, **options):
        if hwaccel is not None:
            raise av.error.ExternalError(1, "out of sessions")
        return opened(*arguments, **options)

    monkeypatch.setattr(hwaccel, "device", lambda *_: "cuda")
    monkeypatch.setattr(av, "open", refusing)
    with Reader(large) as reader:
        assert len(list(reader)) == 5 and reader.decoder == "h264 in software"


def test_hardware_gives_what_software_gives(large):
    """Times and colours, where this machine has a decoder."""
    with Reader(large) as reader, Reader(large, hwaccel="off") as plain:
        made, expected = list(reader), list(plain)
    assert [at for at, _ in made] == [at for at, _ in expected]
    assert np.abs(made[-1][1].astype(int) - expected[-1][1]).max() <= 2
    if "software" in reader.decoder:
        pytest.skip("no hardware decoder here: software was compared with itself")


@pytest.mark.parametrize("layout", ["nv12", "p010le"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 5])
def test_the_layouts_of_hardware_keep_their_colours(layout, full, matrix):
    """Devices hand frames back as NV12, or P010 for ten bits."""
    picture, range_ = gradient(64, 96), 2 if full else 1
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format=layout, dst_colorspace=matrix, src_color_range=2, dst_color_range=range_
    )
    frame.colorspace, frame.color_range = matrix, range_
    assert np.abs(rgb(frame, colour_of(frame, "a clip")).astype(int) - picture)[4:-4, 4:-4].max() <= 5


@pytest.fixture(scope="module")
def frames(clip):
    with Reader(clip) as reader:
        return [frame[::2, ::2].copy() for _, frame in reader][:40]


def played(engine, url, portrait, out):
    with Loop(engine, url, portrait) as loop:
        assert loop.source.live
        loop.record(str(out))
        try:
            for _ in loop:
                pass
        except BadInput as error:
            return loop, str(error)
    return loop, loop.trouble


@pytest.mark.parametrize("ending", ["bye", "cut"])
def test_a_camera_on_the_network(engine, frames, portrait_file, tmp_path, ending):
    """Shown as it comes, not as late as probing made it; with the connection lost the recording can be played."""
    with Server(frames, ending) as server:
        loop, said = played(engine, server.url, portrait_file, tmp_path / "out.mp4")
        assert time.perf_counter() - server.sent < 1.2
    assert loop.stats.frames + loop.stats.dropped == 40 and loop.stats.decoder == "h264 in software"
    assert "ended after" in said and "connection lost" in said
    with Reader(tmp_path / "out.mp4") as reader:
        read = list(reader)
    assert len(read) == loop.recorded > 1 and reader.trouble is None
    assert 0.3 < read[-1][0] < 1.7, "at the camera's own times"


def test_a_camera_that_falls_silent(engine, frames, portrait_file, tmp_path, monkeypatch):
    monkeypatch.setattr("fetfast.video.reader.TIMEOUT", 1.5)
    with Server(frames, "silence") as server:
        loop, said = played(engine, server.url, portrait_file, tmp_path / "out.mp4")
    assert "has sent nothing for 1.5 s" in said
    with Reader(tmp_path / "out.mp4") as reader:
        assert len(list(reader)) == loop.recorded > 1


@pytest.mark.parametrize("rate", [20, 30])
def test_a_camera_without_time_stamps(rate):
    """FFmpeg makes up 25 a second for it. Its frames have the times of their arrival, and the last ones are no later
    than the first: each picture says which it is, so that its way is timed."""
    pictures = [np.full((48, 64, 3), 2 * i, np.uint8) for i in range(4 * rate)]
    with mjpeg.Server(pictures, rate) as server:
        clip, late, times = Clip(server.url, live=True), [], []
        for at, frame in clip:
            number = round(float(frame.mean()) / 2)
            late.append(time.perf_counter() - server.sent[number])
            times.append(float(at))
    sent = np.array(server.sent)
    assert len(times) == len(pictures) and "ended after" in clip.trouble
    np.testing.assert_allclose(times, sent - sent[0], atol=max(np.ptp(late) + 0.05, 0.2))
    assert times[-1] == pytest.approx(sent[-1] - sent[0], abs=0.3)
    assert np.median(late[-10:]) < np.median(late[:10]) + 0.3


def test_a_recording_of_it_lasts_as_long_as_it_did(engine, astronaut, portrait_file, tmp_path):
    pictures = [astronaut[::2, ::2]] * 120  # four seconds, five by FFmpeg's account
    with mjpeg.Server(pictures, 30) as server:
        loop, said = played(engine, server.url, portrait_file, tmp_path / "out.mp4")
    assert "ended after" in said
    with Reader(tmp_path / "out.mp4") as reader:
        times = [float(at) for at, _ in reader]
    assert len(times) == loop.recorded
    assert times[-1] == pytest.approx(server.sent[-1] - server.sent[0], abs=0.5)


def test_nobody_answers(portrait_file, engine):
    with Server([np.zeros((64, 64, 3), np.uint8)]) as server:
        gone = server.url
    with pytest.raises(BadInput, match="cannot be opened"):
        Loop(engine, gone, portrait_file)


def test_a_picture_drives_a_video(engine, clip, portrait_file, tmp_path):
    """With the video's times and sound; its face takes on one expression and keeps it."""
    from fetfast.face import Landmarker
    from fetfast.spec import BLENDSHAPES

    landmarker, smile = Landmarker(threads=1), BLENDSHAPES.index("mouthSmileLeft")

    def smiles(path):
        with Reader(path) as reader:
            seen = list(reader)
        return [at for at, _ in seen], [landmarker.detect(f)[0].blendshapes[smile] for _, f in seen[::12]]

    times, own = smiles(clip)
    figures = transfer(engine, portrait_file, clip, tmp_path / "out.mp4")
    made, driven = smiles(tmp_path / "out.mp4")
    assert made == times and figures["trouble"] is None and figures["frames"] == 72
    assert np.ptp(driven) < 0.6 * np.ptp(own)
    lengths = []
    for path in (clip, tmp_path / "out.mp4"):
        with av.open(str(path)) as container:
            (sound,) = container.streams.audio
            lengths.append(float(sound.duration * sound.time_base))
    assert lengths[0] == pytest.approx(lengths[1], abs=1 / 25)


def test_a_picture_that_drives_is_read_once(engine, renders, make_clip, tmp_path, monkeypatch):
    """What was read off it at first drives every frame; the loop looks for no face in it."""
    from fetfast.image import save
    from fetfast.live import loop

    read = []
    monkeypatch.setattr(loop.Tracker, "__call__", lambda self, frame: read.append(frame) or {})
    rest, smiling = renders
    save(tmp_path / "photo.png", smiling)
    film = make_clip([rest] * 5, "film.mp4")
    source = Picture(tmp_path / "photo.png", film, paced=True)
    begin = time.perf_counter()
    with Loop(engine, source, rest) as driven:
        made = [frame.copy() for frame, _ in driven]
    assert not read and len(made) == 5 and time.perf_counter() - begin > 4 / 25
    expected = engine.transfer(source.face, rest)
    assert all((frame == expected).all() for frame in made)


def test_a_picture_drives_a_film_in_every_loop(engine, renders, make_clip, tmp_path):
    from fetfast.image import save

    rest, smiling = renders
    save(tmp_path / "photo.png", smiling)
    film = make_clip([rest] * 4 + [smiling] * 2, "film.mp4")
    with Loop(engine, tmp_path / "photo.png", film, smooth=0) as loop:
        made = [frame for frame, _ in loop]
    with Reader(film) as reader:
        plain = [frame for _, frame in reader]
    changes = [np.abs(a.astype(int) - b).mean() for a, b in zip(made, plain, strict=True)]
    assert min(changes[:4]) > 5 * max(changes[4:]), "all along, and where it does not smile already"
    assert transfer(engine, tmp_path / "photo.png", film, tmp_path / "out.mp4")["frames"] == 6


def test_a_picture_that_cannot_drive(engine, clip, portrait_file, tmp_path):
    from fetfast.image import save

    save(tmp_path / "blank.png", np.full((64, 64, 3), 90, np.uint8))
    with pytest.raises(NoFace, match=r"blank\.png"):
        Picture(tmp_path / "blank.png", clip)
    with pytest.raises(BadInput, match="nothing in it changes"):
        transfer(engine, portrait_file, clip, tmp_path / "out.mp4", mode="relative")
    with pytest.raises(BadInput, match="is no video, and what it drives is none either"):
        transfer(engine, portrait_file, portrait_file, tmp_path / "out.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["blank.png"]
