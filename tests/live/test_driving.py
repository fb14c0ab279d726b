"""The loop with real faces: who drives, who is driven, what is shown while nobody does."""

import http.server
import threading
import time
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from frames import Frames, write
from PIL import Image

from fetfast import Loop
from fetfast.errors import BadInput, NoFace, Unavailable
from fetfast.face import Landmarker, crop_matrix
from fetfast.image import load
from fetfast.live import transfer
from fetfast.live.motion import FADE, HOLD
from fetfast.live.sources import Camera, Clip, open_source
from fetfast.place import Host
from fetfast.spec import BLENDSHAPES
from fetfast.video import Reader

SMILE = BLENDSHAPES.index("mouthSmileLeft")


@pytest.fixture(scope="module")
def landmarker():
    return Landmarker(threads=1)


def blank(frame):
    return np.full_like(frame, 90)


def change(frame, plain):
    return float(np.abs(frame.astype(np.int16) - plain).mean())


def shown(engine, source, target, **options):
    with Loop(engine, source, target, **options) as loop:
        return [frame.copy() for frame, _ in loop], loop


def test_a_clip_drives_a_portrait(engine, clip, portrait_file, landmarker, driver, tmp_path):
    """Every frame at its own time, the sound as long, the expression follows."""
    figures = transfer(engine, clip, portrait_file, tmp_path / "out.mp4")
    assert figures["frames"] == 72 and figures["dropped"] == 0 and figures["trouble"] is None
    with Reader(clip) as reader:
        times = [at for at, _ in reader]
    with Reader(tmp_path / "out.mp4") as reader:
        made = list(reader)
    assert [at for at, _ in made] == times
    picked = range(0, 72, 8)

    def smiles(frames):
        return [landmarker.detect(frame)[0].blendshapes[SMILE] for frame in frames]

    wanted, got = smiles(driver[i] for i in picked), smiles(made[i][1] for i in picked)
    assert np.ptp(wanted) > 0.3 and np.corrcoef(wanted, got)[0, 1] > 0.9


def test_nobody_is_there_at_first(engine, driver, portrait_file):
    """The portrait as it is, bit for bit, until a face comes; driven within 3 frames of that."""
    frames = [blank(driver[0])] * 10 + driver[60:64]
    made, _ = shown(engine, Frames(frames), portrait_file)
    plain = load(portrait_file)
    assert all((frame == plain).all() for frame in made[:10])
    assert change(made[12], plain) > 0.3


def test_a_lost_face_is_held_then_the_portrait_fades_in(engine, driver, portrait_file):
    held, fading = int(HOLD * 25), int(FADE * 25)
    frames = [driver[70]] * 5 + [blank(driver[0])] * (held + fading + 4) + [driver[70]] * 5
    made, _ = shown(engine, Frames(frames), portrait_file, smooth=0)
    plain = load(portrait_file)
    changes = [change(frame, plain) for frame in made]
    assert changes[4] > 0.3
    assert np.allclose(changes[5 : 4 + held], changes[4])
    assert 0 < changes[5 + held + fading // 2] < changes[4]
    assert changes[5 + held + fading + 2] == 0
    assert changes[-3] > 0.8 * changes[4], "found again within 3 frames"


def test_whoever_iterates_waits_for_the_frame(engine, driver, portrait_file, monkeypatch):
    """Where results come down from a GPU, whether driven or faded: the frames are the same."""

    takers = []

    class Later(Host):
        def download(self, array):
            def take():
                takers.append(threading.current_thread())
                return array.copy()

            return take

    frames = driver[60:63] + [blank(driver[0])] * (int(HOLD * 25) + 3)
    wanted, _ = shown(engine, Frames(frames), portrait_file)
    monkeypatch.setattr(engine, "place", Later())
    made, loop = shown(engine, Frames(frames), portrait_file)
    assert all(np.array_equal(a, b) for a, b in zip(made, wanted, strict=True))
    assert takers == [threading.main_thread()] * len(frames)
    assert "download" in loop.stats.summary()["stages_ms"]


def test_relative_mode_at_rest_leaves_the_target_alone(engine, driver, portrait_file):
    """Where the driver's face never leaves its rest, so does the target's; a smile moves it."""
    plain = load(portrait_file)
    resting, _ = shown(engine, Frames([driver[0]] * 30), portrait_file, mode="relative")
    moved, _ = shown(engine, Frames([driver[0]] * 25 + [driver[70]] * 10), portrait_file, mode="relative")
    assert change(moved[-1], plain) > 0.3
    assert max(change(frame, plain) for frame in resting) < 0.1 * change(moved[-1], plain)


@pytest.mark.parametrize("moving", [False, True])
def test_relative_mode_adds_the_drivers_change_to_the_targets_rest(
    engine, driver, clip, portrait_file, landmarker, monkeypatch, moving
):
    """What the network is asked for. A picture rests as it is; a video as its calmest face of the first second, so that
    its own smile, which comes later, is replaced by the driver's."""
    asked, step = [], engine.step

    def spy(task, sources, target, *rest, **options):
        asked.append((sources[0].blendshapes[SMILE], target.faces[0].blendshapes[SMILE]))
        return step(task, sources, target, *rest, **options)

    monkeypatch.setattr(engine, "step", spy)
    at_rest, smiling = driver[0], driver[70]
    frames = [at_rest] * 60 + [smiling] * 12
    shown(engine, Frames(frames), clip if moving else portrait_file, mode="relative", smooth=0)
    own = np.array([theirs for _, theirs in asked])
    wanted = np.array([ours for ours, _ in asked])
    assert np.ptp(own) > 0.3 if moving else np.ptp(own) == 0
    rest, change = wanted[30], smile_of(landmarker, smiling) - smile_of(landmarker, at_rest)
    np.testing.assert_allclose(wanted[30:60], rest, atol=0.02)
    np.testing.assert_allclose(wanted[65:], min(rest + change, 1), atol=0.05)
    assert rest < own[:25].min() + 0.05 if moving else rest == pytest.approx(own[0], abs=0.02)


def smile_of(landmarker, frame):
    return landmarker.detect(frame)[0].blendshapes[SMILE]


def test_recalibrating_makes_the_face_of_now_the_resting_one(engine, driver, portrait_file):
    plain = load(portrait_file)
    with Loop(engine, Frames([driver[0]] * 26 + [driver[70]] * 60), portrait_file, mode="relative") as loop:
        changes = []
        for i, (frame, _) in enumerate(loop):
            changes.append(change(frame, plain))
            if i == 50:
                loop.recalibrate()
    assert changes[50] > 0.3 and changes[-1] < 0.1 * changes[50]


def test_a_video_target_moves_on(engine, driver, other_file, make_clip, landmarker):
    """A head that wanders over the picture keeps wandering; the picture around it is the video's own."""
    small = np.asarray(Image.open(other_file).resize((240, 240)))

    def at(x):
        frame = np.full((320, 480, 3), 60, np.uint8)
        frame[40:280, x : x + 240] = small
        return frame

    target = make_clip([at(20 + 8 * i) for i in range(20)], "target.mp4")
    made, _ = shown(engine, Frames([driver[70]] * 50), target)
    with Reader(target) as reader:
        plain = [frame for _, frame in reader]
    assert len(made) == 50
    for i in (0, 10, 19, 30):  # the 30th is the 10th of its second round
        frame, original = made[i], plain[i % 20]
        assert change(frame, original) > 0.1
        there, face = landmarker.detect(original)[0], landmarker.detect(frame)[0]
        assert abs(there.box[0] - face.box[0]) < 6
        assert face.blendshapes[SMILE] > there.blendshapes[SMILE] + 0.15
        M = crop_matrix(there.landmarks)
        outside = int(M[0, 2]) - 4
        if outside > 0:
            assert (frame[:, :outside] == original[:, :outside]).all()


def test_all_faces_of_a_target(engine, driver, renders):
    """Two people side by side, each driven from its own expression."""
    pair = np.concatenate([picture.repeat(2, 0).repeat(2, 1)[64:448, 64:448] for picture in renders], axis=1)
    frames = [driver[0]] * 25 + [driver[70]] * 6
    for mode in ("absolute", "relative"):
        made, _ = shown(engine, Frames(frames), pair, face="all", mode=mode)
        assert change(made[-1][:, :384], pair[:, :384]) > 0.2 and change(made[-1][:, 384:], pair[:, 384:]) > 0.2
    made, _ = shown(engine, Frames(frames[-3:]), pair, face=1)
    assert change(made[-1][:, :380], pair[:, :380]) == 0 < change(made[-1][:, 384:], pair[:, 384:])


def test_a_slow_viewer_of_a_live_source_loses_old_frames_and_all_are_counted(engine, driver, portrait_file):
    with Loop(engine, Frames(driver[:40], live=True), portrait_file) as loop:
        for _ in loop:
            time.sleep(0.12)
    assert loop.stats.dropped > 5 and loop.stats.frames + loop.stats.dropped == 40


def test_the_target_can_be_replaced(engine, driver, portrait_file, other_file):
    other = other_file
    with Loop(engine, Frames(driver[:20]), portrait_file) as loop:
        made = []
        for frame, _ in loop:
            made.append(frame)
            if len(made) == 3:
                loop.target = other
            if len(made) == 5:
                with pytest.raises(NoFace):
                    loop.target = np.zeros((64, 64, 3), np.uint8)
    assert change(made[-1], load(other)) < 10 < change(made[-1], load(portrait_file))


def test_an_address_on_the_network(engine, driver, portrait_file, make_clip):
    """A clip from a web server on this machine comes at its own rate, and as a live source."""
    clip = make_clip(driver[:40], "clip.mkv")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(clip.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        begin = time.perf_counter()
        with Loop(engine, f"http://127.0.0.1:{server.server_port}/{clip.name}", portrait_file) as loop:
            assert loop.source.live
            for _ in loop:
                pass
        assert time.perf_counter() - begin > 1.5 and loop.stats.frames + loop.stats.dropped == 40
        with pytest.raises(BadInput, match="cannot be opened"):
            Loop(engine, f"http://127.0.0.1:{server.server_port}/none.mp4", portrait_file)
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_a_camera_that_is_unplugged(engine, driver, portrait_file, tmp_path):
    """OpenCV reads a file of pictures as it would a camera; its end is the plug. What was recorded can be played."""
    import av

    with av.open(str(tmp_path / "camera.avi"), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuvj420p"
        for frame in driver[:12]:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))
    loop = Loop(engine, _waiting(Camera(str(tmp_path / "camera.avi"))), portrait_file)
    with pytest.raises(Unavailable, match="no more pictures after 12"), loop:
        loop.record(str(tmp_path / "out.mp4"))
        for _ in loop:
            pass
    with Reader(tmp_path / "out.mp4") as reader:
        assert len(list(reader)) == loop.recorded >= 10
    with pytest.raises(Unavailable, match="camera 77 cannot be opened"):
        open_source("77")


def _waiting(camera):
    camera.live = False  # the file comes faster than any camera
    return camera


def test_the_picture_of_a_camera_is_not_blue(engine, driver, tmp_path, make_clip):
    frame = next(iter(Camera(str(make_clip(driver[:2])))))[1]
    assert change(frame, driver[0]) < 6 < change(frame[:, :, ::-1], driver[0])


def test_a_camera_measures_its_rate(make_clip, monkeypatch):
    camera = Camera(str(make_clip([np.zeros((32, 32, 3), np.uint8)] * 30)))
    clock = iter(np.arange(100) / 12.5)
    monkeypatch.setattr("fetfast.live.sources.time.perf_counter", lambda: 5 + next(clock))
    assert camera.rate == 25
    for _, _ in zip(range(20), camera, strict=False):
        pass
    assert float(camera.rate) == pytest.approx(12.5, rel=0.01)


def test_a_full_disk_ends_the_recording_and_not_the_loop(engine, driver, portrait_file, tmp_path, monkeypatch):
    from fetfast import video

    write = video.Writer.write

    def full(self, at, frame):
        if self.frames >= 8:
            raise OSError(28, "No space left on device")
        write(self, at, frame)

    monkeypatch.setattr(video.Writer, "write", full)
    with Loop(engine, Frames(driver[:30]), portrait_file) as loop:
        loop.record(str(tmp_path / "out.mp4"))
        assert sum(1 for _ in loop) == 30
    assert "No space left" in loop.trouble and "8 frames" in loop.trouble
    with Reader(tmp_path / "out.mp4") as reader:
        assert len(list(reader)) == 8
    with pytest.raises(BadInput, match="its 8 frames can be played"):
        transfer(engine, Frames(driver[:30]), portrait_file, tmp_path / "other.mp4")


@pytest.mark.parametrize("count", [0, 1])
def test_tiny_files(engine, driver, portrait_file, make_clip, tmp_path, count):
    path = tmp_path / "tiny.mkv"
    write(path, driver[:count])
    if count:
        assert transfer(engine, path, portrait_file, tmp_path / "out.mp4")["frames"] == 1
        with Reader(tmp_path / "out.mp4") as reader:
            assert len(list(reader)) == 1
        return
    with pytest.raises(BadInput, match=r"no frame that can be decoded|cannot be opened"):
        transfer(engine, path, portrait_file, tmp_path / "out.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.mkv"]


def test_a_cut_off_driver_gives_what_there_is(engine, driver, portrait_file, make_clip, tmp_path):
    noise = np.random.default_rng(0)
    path = make_clip([frame ^ noise.integers(0, 7, frame.shape, np.uint8) for frame in driver[:40]], "cut.mkv")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    figures = transfer(engine, path, portrait_file, tmp_path / "out.mp4")
    assert "cut off" in figures["trouble"]
    with Reader(tmp_path / "out.mp4") as reader:
        assert len(list(reader)) == figures["frames"] > 5


@pytest.mark.parametrize(("size", "side"), [((2160, 3840), 1800), ((360, 640), 60)])
def test_large_and_small_drivers(engine, astronaut, portrait_file, size, side):
    """4K, and a face of 30 pixels (60 with the hair)."""
    face = Image.fromarray(astronaut).resize((side, side))
    frame = np.full((*size, 3), 120, np.uint8)
    frame[100 : 100 + side, 200 : 200 + side] = np.asarray(face)
    made, _ = shown(engine, Frames([frame] * 4), portrait_file)
    assert change(made[-1], load(portrait_file)) > 0.1


def test_the_filter_halves_the_jitter(engine, driver, portrait_file, landmarker):
    """A still driver before a noisy camera: the output's landmarks move at most half as much."""
    noise = np.random.default_rng(0)
    still = [np.clip(driver[0] + noise.normal(0, 8, driver[0].shape), 0, 255).astype(np.uint8) for _ in range(40)]

    def jitter(smooth):
        made, _ = shown(engine, Frames(still), portrait_file, smooth=smooth)
        face, points = landmarker.detect(made[0])[0], []
        for frame in made[15:]:
            points.append(landmarker.track(frame, face).landmarks[:, :2])
        return np.std(points, axis=0).mean()

    assert jitter(0.5) < 0.5 * jitter(0)


def test_mistakes_are_said_before_anything_runs(engine, driver, portrait_file, clip, make_clip):
    def make(source=None, target=portrait_file, **options):
        return Loop(engine, source or Frames(driver[:1]), target, **options)

    with pytest.raises(BadInput, match="mode"):
        make(mode="sideways")
    with pytest.raises(BadInput, match="smooth"):
        make(smooth=2)
    with pytest.raises(BadInput, match="regions"):
        make(regions=["nose"])
    with pytest.raises(BadInput, match="no such file"):
        make(source="none.mp4")
    with pytest.raises(BadInput, match="no such file"):
        make(target="none.mp4")
    with pytest.raises(NoFace):
        make(target=np.zeros((64, 64, 3), np.uint8))
    made, _ = shown(engine, Frames(driver[:3]), make_clip([blank(driver[0])] * 3))
    assert len(made) == 3, "a video without a face is shown as it is"
    with pytest.raises(BadInput, match="ends in"):
        transfer(engine, clip, portrait_file, "out.avi")
    assert threading.active_count() < 12


def test_files_keep_their_pace_when_asked(make_clip):
    path = make_clip([np.zeros((32, 32, 3), np.uint8)] * 8)
    begin = time.perf_counter()
    times = [at for at, _ in Clip(path, paced=True)]
    assert times == [Fraction(i, 25) for i in range(8)] and 0.27 < time.perf_counter() - begin < 1


@pytest.mark.parametrize("name, wrong", [("intensity", "x"), ("intensity", 7), ("regions", "nose"), ("regions", None)])
def test_options_changed_on_the_way_are_checked(engine, driver, portrait_file, name, wrong):
    with Loop(engine, Frames(driver[:3]), portrait_file) as loop:
        before = getattr(loop, name)
        with pytest.raises(BadInput, match=name):
            setattr(loop, name, wrong)
        assert getattr(loop, name) == before
        loop.regions, loop.intensity = (), 0.5
        assert (loop.regions, loop.intensity) == ((), 0.5) and len(list(loop)) == 3
