"""`fetfast transfer` of videos: whose times and sound, which part, whose rest, and what is said where nobody is."""

import io
import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from click.testing import CliRunner
from clips import beeps, film, onsets

from fetfast import Loop
from fetfast.cli import main
from fetfast.errors import BadInput, NoFace
from fetfast.face import Landmarker
from fetfast.live import transfer
from fetfast.spec import BLENDSHAPES
from fetfast.video import Part, Reader, is_marked

SMILE = BLENDSHAPES.index("mouthSmileLeft")


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def read(path):
    with Reader(path) as reader:
        return list(reader)


def times(path):
    return [float(time) for time, _ in read(path)]


@pytest.fixture(scope="module")
def landmarker():
    return Landmarker(threads=1)


@pytest.fixture(scope="module")
def smile_of(landmarker):
    return lambda frame: float(landmarker.detect(frame)[0].blendshapes[SMILE])


def blank(frame):
    return np.full_like(frame, 90)


# ---- nobody there


@pytest.mark.parametrize("who", ["driver", "target"])
def test_a_file_that_shows_nobody_is_said_and_nothing_written(driver, portrait_file, clip, make_clip, tmp_path, who):
    empty, out = make_clip([blank(driver[0])] * 5, "empty.mp4"), tmp_path / "out.mp4"
    pair = {"driver": (empty, portrait_file), "target": (clip, empty)}[who]
    done = run("transfer", *pair, "-o", out, "--plan", "flow_fp32")
    assert done.exit_code == 1
    assert f"no face found in {empty}, in none of 5 frames; nothing is written" in done.output
    assert [p.name for p in tmp_path.iterdir()] == ["empty.mp4"]
    source, target = pair
    done = run("live", "--source", source, "--target", target, "--no-preview", "--plan", "flow_fp32")
    assert done.exit_code == 1 and f"no face found in {empty}, in none of" in done.output


def test_how_many_frames_showed_a_face(driver, portrait_file, make_clip, tmp_path):
    some = make_clip([blank(driver[0])] * 4 + driver[:6], "some.mp4")
    done = run("transfer", some, portrait_file, "-o", tmp_path / "out.mp4", "--plan", "flow_fp32")
    assert done.exit_code == 0 and "10 frames, " in done.output
    assert done.output.rstrip().endswith(f"a face of {some} in 6")
    done = run("transfer", portrait_file, some, "-o", tmp_path / "out.mp4", "--plan", "flow_fp32")
    assert done.exit_code == 0 and done.output.rstrip().endswith(f"a face of {some} in 6")
    whole = make_clip(driver[:3], "whole.mp4")
    done = run("transfer", whole, portrait_file, "-o", tmp_path / "out.mp4", "--plan", "flow_fp32")
    assert done.exit_code == 0 and "a face of" not in done.output


# ---- whose rest


@pytest.fixture
def asked(engine, monkeypatch):
    """The smiles that the networks are asked for, frame by frame."""
    asked, step = [], engine.step

    def spy(task, sources, *rest, **options):
        asked.append(float((sources[0] if isinstance(sources, list) else sources).blendshapes[SMILE]))
        return step(task, sources, *rest, **options)

    monkeypatch.setattr(engine, "step", spy)
    return asked


def test_a_driver_that_smiles_first_and_rests_later(engine, driver, other_file, make_clip, tmp_path, asked):
    """The resting face is the calmest of the whole file, though the first second and more shows a smile."""
    path = make_clip(driver[:30:-1] + driver[:10], "first_smile.mp4")
    transfer(engine, path, other_file, tmp_path / "out.mp4", mode="relative", smooth=0)
    assert min(asked[:8]) > 0.6 and max(asked[-8:]) < 0.15


def test_the_resting_face_may_be_named(engine, driver, other_file, make_clip, tmp_path, asked):
    """By its time: where the driver smiles, all is rest. A time without a face, and a camera's, are refused."""
    path = make_clip([*driver[-10:], *driver[:30], blank(driver[0])], "driver.mp4")
    transfer(engine, path, other_file, tmp_path / "out.mp4", mode="relative", neutral=0.2, smooth=0)
    assert max(asked) < 0.1
    asked.clear()
    transfer(engine, path, other_file, tmp_path / "out.mp4", mode="relative", neutral=1.0, smooth=0)
    assert min(asked[:8]) > 0.6
    with pytest.raises(NoFace, match=r"driver\.mp4 shows no face at 1.6 s; name a time"):
        transfer(engine, path, other_file, tmp_path / "out.mp4", mode="relative", neutral=1.6)
    with pytest.raises(BadInput, match=r"driver\.mp4 shows nothing within 9"):
        transfer(engine, path, other_file, tmp_path / "out.mp4", mode="relative", neutral=9)
    with pytest.raises(BadInput, match="it needs mode relative"):
        transfer(engine, path, other_file, tmp_path / "out.mp4", neutral=1)
    done = run("transfer", path, other_file, "-o", tmp_path / "out.mp4", "--mode", "relative", "--neutral", "9")
    assert done.exit_code == 2 and "shows nothing within" in done.output


def test_a_films_rest_is_its_calmest_face_too(engine, driver, make_clip, tmp_path, asked):
    """A film that smiles for more than a second before it rests: its own smile is replaced all along."""
    film = make_clip([*driver[-1:] * 30, *driver[:10]], "film.mp4")
    at_rest = make_clip(driver[:1] * 40, "rest.mp4")
    transfer(engine, at_rest, film, tmp_path / "out.mp4", mode="relative", smooth=0)
    assert len(asked) == 40 and max(asked) < 0.2


# ---- whose times and sound


@pytest.fixture
def pair(driver, other_file, tmp_path):
    """A driver of 50 frames, 25 a second, that beeps at 1.2 s; a film of 15, 10 a second, that beeps at 0.4 s."""
    from PIL import Image

    small = np.asarray(Image.open(other_file).resize((180, 180)))
    made = []
    for name, pictures, rate, at in (
        ("driver", [frame[::2, ::2] for frame in driver[20:70]], 25, 1.2),
        ("film", [small] * 15, 10, 0.4),
    ):
        silent = film(tmp_path / f"silent_{name}.mp4", pictures, rate=rate)
        made.append(_with_beep(silent, tmp_path / f"{name}.mkv", at, len(pictures) / rate))
    return made


def _with_beep(silent, path, at, seconds):
    from fetfast.video import Writer

    sound = beeps(path.with_suffix(".wav.mkv"), "flac", start=Fraction(0), at=(at,), frames=round(seconds * 25))
    with Reader(silent) as reader, Writer(path, reader.rate, reader.time_base, sound=sound) as writer:
        for time, frame in reader:
            writer.write(time, frame)
    return path


def test_a_film_keeps_its_own_rate_length_and_sound(engine, pair, tmp_path, smile_of):
    source, target = pair
    done = run("transfer", source, target, "-o", tmp_path / "out.mp4", "--plan", "flow_fp32")
    assert done.exit_code == 0, done.output
    made = read(tmp_path / "out.mp4")
    assert [float(time) for time, _ in made] == pytest.approx([i / 10 for i in range(15)])
    assert onsets(tmp_path / "out.mp4") == pytest.approx([0.4], abs=0.01)
    assert smile_of(made[2][1]) < 0.2 < 0.6 < smile_of(made[14][1]), "the driver's times are the film's"


def test_or_the_drivers(engine, pair, tmp_path):
    source, target = pair
    done = run("transfer", source, target, "-o", tmp_path / "out.mp4", "--plan", "flow_fp32", "--timing", "driver")
    assert done.exit_code == 0, done.output
    assert times(tmp_path / "out.mp4") == pytest.approx([i / 25 for i in range(50)])
    assert onsets(tmp_path / "out.mp4") == pytest.approx([1.2], abs=0.01)


def test_a_driver_that_is_shorter_begins_again(engine, pair, tmp_path, asked):
    """On the film's times: at 1.0 s of a driver of 0.4 s its frame of 0.2 s."""
    source, target = pair
    part = Part.of(source, 0.8, 1.2)
    figures = transfer(engine, part, target, tmp_path / "out.mp4", smooth=0)
    assert figures["frames"] == 15
    assert asked[0] < asked[3] and asked[4:8] == pytest.approx(asked[:4], abs=0.1)


def test_parts_of_both(engine, pair, tmp_path):
    source, target = pair
    arguments = ["transfer", source, target, "-o", tmp_path / "out.mp4", "--plan", "flow_fp32"]
    done = run(*arguments, "--driver-from", 1, "--driver-to", 1.4, "--target-from", 0.2, "--target-to", "0.9")
    assert done.exit_code == 0 and "7 frames" in done.output, done.output
    assert times(tmp_path / "out.mp4") == pytest.approx([i / 10 for i in range(7)])
    assert onsets(tmp_path / "out.mp4") == pytest.approx([0.2], abs=0.01)
    done = run(*arguments, "--timing", "driver", "--driver-from", 1, "--driver-to", 1.4)
    assert done.exit_code == 0 and "10 frames" in done.output, done.output
    assert onsets(tmp_path / "out.mp4") == pytest.approx([0.2], abs=0.01)


def test_parts_that_cannot_be(pair, portrait_file, other_file, tmp_path):
    source, target = pair
    out = tmp_path / "out.mp4"
    for arguments, words in (
        ([source, portrait_file, "-o", out, "--target-from", 1], "wink.png is a picture: no part of it can be taken"),
        ([portrait_file, target, "-o", out, "--driver-to", 1], "wink.png is a picture: no part of it can be taken"),
        ([other_file, portrait_file, "-o", tmp_path / "o.png", "--driver-to", 1], "of which there are no parts"),
        (
            [source, target, "-o", out, "--driver-from", 2, "--driver-to", 1],
            "a begin from 0 on that lies before the end",
        ),
        ([source, target, "-o", out, "--target-from", 7], "film.mkv shows nothing within 7"),
        ([source, target, "-o", out, "--driver-from", 7], "driver.mkv shows nothing within 7"),
    ):
        done = run("transfer", *arguments, "--plan", "flow_fp32")
        assert done.exit_code == 2 and words in done.output and "Traceback" not in done.output, done.output
        assert not out.exists()


def test_a_loop_says_what_it_cannot_time(engine, clip, portrait_file):
    with pytest.raises(BadInput, match="timing is 'both', expected driver or target"):
        Loop(engine, clip, portrait_file, timing="both")


# ---- how far it is


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_on_a_terminal_only(driver, portrait_file, make_clip, tmp_path, monkeypatch, terminal):
    """Frames of all, rate and time left, of both passes, wiped out at the end; elsewhere nothing but the last line."""
    seen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", seen)
    path, out = make_clip(driver[:30], "driver.mp4"), tmp_path / "out.mp4"
    arguments = ["transfer", path, portrait_file, "-o", out, "--plan", "flow_fp32", "--mode", "relative"]
    main([str(argument) for argument in arguments], standalone_mode=False)
    if not terminal:
        assert seen.getvalue() == ""
        return
    assert re.search(r"out\.mp4: .*\d+/30 \[\d\d:\d\d<.*frames/s\]", seen.getvalue())
    assert re.search(r"resting faces: .*/15 ", seen.getvalue())
    assert seen.getvalue().rpartition("\r")[0].rstrip(" ").endswith("\r"), "wiped out at the end"


# ---- a disk that fills up


@pytest.mark.parametrize("ending", ["mkv", "gif", "webp"])
def test_a_full_disk_says_what_plays(driver, portrait_file, make_clip, tmp_path, ending):
    """The limit on a file's size stands for the disk's end. What is said is counted in the file; a WebP, which is
    written at its end, leaves nothing."""
    noise = np.random.default_rng(0)
    noisy = [frame[::2, ::2] ^ noise.integers(0, 15, (180, 320, 3), np.uint8) for frame in driver[:60]]
    path, out = make_clip(noisy, "film.mp4"), tmp_path / f"out.{ending}"
    code = (
        "import resource, sys; from fetfast.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))\n"
        f"main(['transfer', {str(portrait_file)!r}, {str(path)!r}, '-o', {str(out)!r}, '--plan', 'flow_fp32'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    said = re.search(r"File too large; (its (\d+) frames can be played|nothing of it could be kept)", done.stderr)
    assert said, done.stderr
    if ending == "webp":
        assert said[2] is None and not out.exists()
    else:  # of a GIF FFmpeg shows a last frame that is cut off as well
        assert int(said[2]) > 0 and len(read(out)) - int(said[2]) in ((0, 1) if ending == "gif" else (0,))
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_kinds_and_qualities(driver, portrait_file, make_clip, tmp_path):
    path, sizes = make_clip(driver[:6], "driver.mp4"), {}
    for name, options in (
        ("a.webm", ["--quality", 30]),
        ("b.webm", []),
        ("c.gif", []),
        ("d.webp", ["--quality", 50]),
        ("e.mp4", ["--bitrate", "0.4M"]),
    ):
        done = run("transfer", path, portrait_file, "-o", tmp_path / name, "--plan", "flow_fp32", *options)
        assert done.exit_code == 0 and "6 frames" in done.output, done.output
        assert is_marked(tmp_path / name)
        sizes[name] = (tmp_path / name).stat().st_size
    assert sizes["a.webm"] < sizes["b.webm"]
    for options, words in ((["--bitrate", "fast"], "such as 800k or 4M"), (["--quality", 0], "1<=x<=100")):
        done = run("transfer", path, portrait_file, "-o", tmp_path / "f.mp4", *options)
        assert done.exit_code == 2 and words in done.output
