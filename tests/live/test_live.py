"""`fetfast live` and `fetfast transfer` on videos, as a user meets them: files, keys, Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from frames import Frames
from PIL import Image

from fetfast import Loop
from fetfast.cli import main
from fetfast.cli.signals import Stopped, status, stoppable
from fetfast.live import console
from fetfast.live.preview import Controls, Window, beside, written
from fetfast.video import Reader, is_marked


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def length(path):
    with Reader(path) as reader:
        return len(list(reader))


@pytest.fixture
def face(astronaut):
    return np.asarray(Image.fromarray(astronaut).resize((384, 384)))


def test_transfer_takes_videos(clip, portrait_file, tmp_path):
    out = tmp_path / "out.mkv"
    done = run(
        "transfer", clip, portrait_file, "-o", out, "--mode", "relative", "--smooth", "0.3", "--regions", "mouth"
    )
    assert done.exit_code == 0, done.output
    assert "72 frames" in done.output and length(out) == 72 and is_marked(out)
    done = run("transfer", clip, portrait_file, "-o", tmp_path / "out.png")
    assert done.exit_code == 2 and ".mp4" in done.output


def test_a_picture_may_drive_a_video(face, portrait_file, make_clip, tmp_path):
    out = tmp_path / "out.mp4"
    done = run("transfer", portrait_file, make_clip([face] * 3), "-o", out, "--hwaccel", "off")
    assert done.exit_code == 0 and "3 frames" in done.output and length(out) == 3, done.output
    done = run("transfer", portrait_file, tmp_path / "clip.mp4", "-o", out, "--sheet")
    assert done.exit_code == 2 and "--sheet shows two pictures" in done.output
    live = tmp_path / "live.mp4"
    done = run("live", "--source", portrait_file, "--target", tmp_path / "clip.mp4", "--no-preview", "--record", live)
    assert done.exit_code == 0 and "3 frames" in done.output and length(live) == 3, done.output


def test_live_reports_and_records(clip, portrait_file, tmp_path):
    out, figures = tmp_path / "out.mp4", tmp_path / "stats.json"
    done = run(
        "live", "--source", clip, "--target", portrait_file, "--no-preview", "--stats",
        "--stats-json", figures, "--record", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    measured = json.loads(figures.read_text())
    assert measured["frames"] == length(out) == 72 and 0 < measured["fps"] < 31
    assert set(measured["stages_ms"]) == {"capture", "face", "target", "step", "encode", "show"}
    for row in (measured["latency_ms"], *measured["stages_ms"].values()):
        assert 0 <= row["p50"] <= row["p95"] <= row["p99"]
    assert measured["decoder"] == "h264 in software" and measured["bottleneck"] in (
        *measured["stages_ms"],
        "network + paste",
    )
    assert "capture to show" in done.output and "p99" in done.output and "slowest" in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--source", "none.mp4"], "no such file"),
        (["--source", "93"], "camera 93"),
        (["--source", "CLIP", "--record", "out.avi"], "ends in"),
        (["--source", "CLIP", "--smooth", "7"], "smooth"),
        (["--source", "CLIP", "--virtual-camera"], "virtual camera"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(clip, portrait_file, arguments, words):
    if "--virtual-camera" in arguments and os.path.exists("/dev/video0"):  # noqa: PTH110
        pytest.skip("this machine has cameras")
    arguments = [str(clip) if a == "CLIP" else a for a in arguments]
    done = run("live", "--target", portrait_file, "--no-preview", *arguments)
    assert done.exit_code == 2 and words in done.output.strip().splitlines()[-1]
    assert "Traceback" not in done.output


def test_a_loop_that_never_began_reports_nothing(clip, portrait_file):
    done = run("live", "--source", clip, "--target", portrait_file, "--no-preview", "--stats", "--record", "no/a.mp4")
    assert done.exit_code == 2 and done.output.count("\n") == 1 and "create it first" in done.output


def test_a_preview_that_nobody_would_see(clip, portrait_file, monkeypatch):
    """SDL falls back to it where there is no screen."""
    pygame = pytest.importorskip("pygame")
    pygame.display.quit()
    monkeypatch.setenv("SDL_VIDEODRIVER", "offscreen")
    done = run("live", "--source", clip, "--target", portrait_file, "--stats")
    pygame.display.quit()
    assert done.exit_code == 2 and done.output.count("\n") == 1 and "give --no-preview" in done.output


@pytest.mark.parametrize("terminal", [True, False])
def test_the_status_line_ends_before_what_follows(engine, face, make_clip, tmp_path, capsys, monkeypatch, terminal):
    """On a terminal it is written over itself once a second; a log gets none."""
    seconds = count(0, 2)
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: next(seconds)))  # two at a glance
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    console.run(engine, make_clip([face] * 5), face, preview=False, record=tmp_path / "out.mp4")
    said = capsys.readouterr()
    lines = said.err.split("\r")
    assert len(lines) == (6 if terminal else 1) and all("frames/s" in line for line in lines[1:])
    assert said.err == "" or said.err.endswith("\n")
    assert re.fullmatch(
        rf"{re.escape(str(tmp_path))}/out.mp4: [1-5] frames?\n", said.out
    )  # recorded from when it was asked for


@pytest.mark.parametrize(
    ("command", "number", "ending"),
    [
        ("live", signal.SIGINT, "mp4"),
        ("live", signal.SIGTERM, "webm"),
        ("transfer", signal.SIGINT, "mp4"),
        ("transfer", signal.SIGTERM, "mp4"),
        ("transfer", signal.SIGHUP, "mp4"),
    ],
)
def test_a_signal_leaves_a_playable_file(command, number, ending, driver_file, portrait_file, tmp_path):
    """Ctrl-C, the end of a service, a terminal that is closed: under its final name, nothing beside it."""
    out = tmp_path / f"out.{ending}"
    arguments = {
        "live": ["--source", driver_file, "--target", portrait_file, "--no-preview", "--record", out],
        "transfer": [driver_file, portrait_file, "-o", out],
    }[command]
    process = subprocess.Popen(
        [sys.executable, "-m", "fetfast.cli", command, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # a shell's background jobs, and so the tests in one, are born deaf to Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    end = time.monotonic() + 120
    while time.monotonic() < end and not any(p.stat().st_size > 0 for p in tmp_path.glob(".out-*")):
        time.sleep(0.05)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == (0 if command == "live" else 128 + number), said
    assert "stopped" in said and "Traceback" not in said
    assert [p.name for p in tmp_path.iterdir()] == [out.name] and length(out) >= 1


@pytest.fixture(scope="module")
def driver_file(clip, tmp_path_factory):
    """Half a minute of driving: the clip, over and over, forth and back."""
    from fractions import Fraction

    from fetfast.video import Writer

    path = tmp_path_factory.mktemp("driver") / "driver.mp4"
    with Reader(clip) as reader:
        frames = [frame[::2, ::2].copy() for _, frame in reader]
    with Writer(path, Fraction(30), fast=True) as writer:
        for i in range(900):
            writer.write(Fraction(i, 30), frames[min(i % 144, 143 - i % 144)])
    return path


def test_keys(engine, face, tmp_path):
    with Loop(engine, Frames([face] * 30), face, side_by_side=True) as loop:
        controls = Controls(loop, str(tmp_path / "out.mp4"))
        frames = iter(loop)
        next(frames)
        for key in "++--+":
            controls.press(key)
        assert loop.intensity == pytest.approx(1.1) and "intensity 1.1" in controls.lines
        controls.press("4")
        assert loop.regions == ("brows", "eyes", "gaze") and "mouth off" in controls.lines
        controls.press("4")
        assert loop.regions[-1] == "mouth"
        controls.press("h")
        assert sum("resting face" in line for line in controls.lines) == 1
        controls.press("r")
        for _ in range(10):
            next(frames)
        assert any("recording" in line for line in controls.lines)
        controls.press("r")
        assert length(tmp_path / "out.mp4") >= 10 - 3  # two waited and one was under way as the key was pressed
        for key in "csq?":
            controls.press(key)
        assert controls.side_by_side and controls.quitting
        controls.replace_target("none.jpg")
        assert any("no such file" in line for line in controls.lines)
        for _ in range(40):
            controls.press("-")
        assert loop.intensity == 0


def test_the_window_shows_and_hears(engine, face, tmp_path, monkeypatch):
    """pygame without a screen: what would be shown, and keys that come through its queue."""
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with Loop(engine, Frames([face] * 8), face, side_by_side=True) as loop:
        controls = Controls(loop, str(tmp_path / "out.mp4"))
        window = Window(controls)
        for i, (frame, _) in enumerate(loop):
            if i == 1:
                pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_s, unicode="s"))
            window.show(frame, loop.driver)
            surface = pygame.display.get_surface()
            assert surface.get_size() == ((384, 384) if i < 2 else (768, 384))
        shown = pygame.surfarray.array3d(surface).swapaxes(0, 1)
        assert (shown[300:, 384:] == frame[300:]).all()
        pygame.event.post(pygame.event.Event(pygame.QUIT))
        window.show(frame, None)
        assert controls.quitting
        window.close()


def test_what_is_written_on_a_frame_leaves_the_frame_alone(face):
    before = face.copy()
    text = written(face, ["25 frames/s", "", "h: help"])
    assert (face == before).all() and (text[:60] != face[:60]).any() and (text[100:] == face[100:]).all()
    assert beside(face[:, :200], face).shape == (384, 200 + 384, 3)
    assert np.array_equal(beside(face, face)[:, 384:], face)


def test_nohup_stays_nohup_and_one_signal_is_enough():
    """What was ignored before still is; what comes while a file is being finished changes nothing."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(Stopped) as stopped, stoppable():
            signal.raise_signal(signal.SIGHUP)
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGTERM)
        assert status(stopped.value) == 128 + signal.SIGTERM and status(KeyboardInterrupt()) == 130
        assert signal.getsignal(signal.SIGTERM) == handler
    finally:
        signal.signal(signal.SIGHUP, before)
