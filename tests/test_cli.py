"""The command line as a user meets it: exit status, one line for a mistake, files written whole or not at all."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fetfast import assets, image
from fetfast.cli import main
from fetfast.errors import BadInput

ROOT = Path(__file__).parents[1]
SMILE = str(ROOT / "demo" / "smile.png")


def run(*arguments: str):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_transfer_writes_a_marked_file(data, tmp_path):
    out = tmp_path / "out.jpg"
    done = run(
        "transfer", SMILE, data / "portraits/001.jpg", "-o", out, "--intensity", "0.8", "--regions", "mouth,eyes"
    )
    assert done.exit_code == 0, done.output
    assert image.is_marked(out) and image.load(out).shape == (768, 768, 3)
    assert run("transfer", SMILE, data / "portraits/001.jpg", "-o", out, "--no-mark").exit_code == 0
    assert not image.is_marked(out)


def test_a_result_is_like_its_target(tmp_path):
    """Grey, transparent where it was, and still somebody's; but it does not say where it was taken."""
    exif = Image.Exif()
    exif[0x8298], exif[0x8825] = "(c) Ann", {1: "N", 2: (51.0, 30.0, 0.0)}
    with Image.open(ROOT / "demo" / "surprise.png") as opened:
        target = opened.convert("L").resize((256, 256))
    target.putalpha(Image.linear_gradient("L"))
    target.save(tmp_path / "tgt.png", exif=exif)
    for flags, place in (([], {}), (["--keep-gps"], {1: "N", 2: (51.0, 30.0, 0.0)})):
        done = run("transfer", SMILE, tmp_path / "tgt.png", "-o", tmp_path / "out.png", *flags)
        assert done.exit_code == 0, done.output
        with Image.open(tmp_path / "out.png") as result:
            assert result.mode == "LA" and result.getexif()[0x8298] == "(c) Ann"
            assert result.getexif().get_ifd(0x8825) == place
            before, after = np.asarray(target), np.asarray(result)
            np.testing.assert_array_equal(after[..., 1], before[..., 1])
            assert (before[..., 0] != after[..., 0]).mean() > 0.01, "and it smiles"
        assert image.is_marked(tmp_path / "out.png")


def test_a_sheet_shows_all_three(data, tmp_path):
    out = tmp_path / "out.png"
    assert run("transfer", SMILE, data / "portraits/001.jpg", "-o", out, "--sheet").exit_code == 0
    assert image.load(out).shape == (512, 3 * 512, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["transfer", "missing.png", SMILE, "-o", "o.png"], "no such file"),
        (["transfer", SMILE, "missing.png", "-o", "o.png"], "no such file"),
        (["transfer", SMILE, SMILE, "-o", "o.gif"], "ends in"),
        (["transfer", SMILE, SMILE, "-o", "no/such/o.png"], "does not exist"),
        (["transfer", ".", SMILE, "-o", "o.png"], "is a folder"),
        (["transfer", "blank.png", SMILE, "-o", "o.png"], "no face found"),
        (["transfer", SMILE, "blank.png", "-o", "o.png"], "no face"),
        (["transfer", SMILE, SMILE, "-o", "o.png", "--intensity", "7"], "intensity"),
        (["transfer", SMILE, SMILE, "-o", "o.png", "--regions", "nose"], "regions"),
        (["transfer", SMILE, SMILE, "-o", "o.png", "--regions", " , "], "regions"),
        (["transfer", SMILE, SMILE, "-o", "o.png", "--face", "5"], "5"),
        (["transfer", SMILE, SMILE, "-o", "o.png", "--face", "-1"], "index from 0"),
        (["transfer", SMILE, SMILE, "-o", "o.png", "--face", "9" * 5000], "face is"),
        (["transfer", "a\nb\x07\x1b]0;c.png", SMILE, "-o", "o.png"], "fetfast: a b??]0;c.png: there is no such file"),
        (["build", "flow", "--precision", "fp32", "-o", ""], "expected a file name"),
        (["sheet", "flow_fp32", "--targets", SMILE, "--drivers", "blank.png", "-o", "o.png"], "at least one driver"),
        (["make", "basis", "--facekit", "none", "-o", "o.safetensors"], "no file or folder"),
        (["make", "teeth", "--facekit", "none", "-o", "no/such/o.npy"], "does not exist"),
        (["make", "teeth", "--facekit", "none"], "or --portraits"),
        (["make", "teeth", "--portraits", "."], "shows teeth"),
        (["transfer", SMILE, SMILE, "-o", "o.png", "--plan", "none.plan"], "none.plan"),
        (["transfer", SMILE, SMILE, "-o", "o.png", "--plan", "blank.png"], "plan"),
        (["transfer", SMILE, SMILE, "-o", "o.png", "--backend", "abacus"], "backend"),
        (["transfer", SMILE, SMILE], "--output"),
        (["info", "none.plan"], "none.plan"),
        (["build", "nofamily", "--precision", "fp32", "-o", "p.plan"], "family"),
        (["build", "unet", "--precision", "fp32", "--weights", "blank.png", "-o", "p.plan"], "safetensors"),
        (["build", "unet", "--precision", "fp32", "-o", "no/such/p.plan"], "does not exist"),
        (["build", "unet", "--precision", "int8", "--data", "none", "-o", "p.plan"], "no set of training pairs"),
        (["build", "unet", "--precision", "int8", "--weights", "blank.png", "-o", "p.plan"], "needs --data"),
        (["synth", "-o", "pairs"], "give --facekit"),
        (["synth", "--facekit", "none", "-o", "pairs"], "none"),
        (["transfer", SMILE, SMILE, "-o", "o.mp4", "--hwaccel", "fast"], "'fast' is not one of"),
        (["live", "--target", SMILE, "--hwaccel"], "requires an argument"),
        (["live", "--target", SMILE, "--stats-json", "no/such.json"], "does not exist"),
        (["live", "--target", SMILE, "--stats-json", "."], "is a folder"),
        (["bench", "--plot", "x.txt"], ".svg or .png"),
        (["bench", "loop", "--steps", "1"], "No such option"),
        (["dance"], "No such command"),
        (["bench", "--plan", "none.plan"], "none.plan"),
        (["evaluate", "--targets", "none"], "no such file"),
        (["evaluate", "--only", "dance"], "no protocol dance"),
        (["evaluate", "flow_fp32", "--compare", "a.json", "b.json"], "--compare takes"),
        (["evaluate", "--compare", "a.json", "b.json"], "no file of figures"),
        (["evaluate", "--html", "no/such.html"], "does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save("blank.png")
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.strip().splitlines()
    assert words in line and line.startswith("fetfast: ")
    assert {p.name for p in tmp_path.iterdir()} == {"blank.png"}, "a partial file was left"


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()  # as root, no folder is unwritable
    monkeypatch.setenv("FETFAST_CACHE", str(tmp_path / "file"))
    done = run("transfer", SMILE, SMILE, "-o", tmp_path / "o.png", "--plan", "flow_fp32")
    (line,) = done.stderr.strip().splitlines()
    assert done.exit_code == 2 and "FETFAST_CACHE" in line


def test_a_warning_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("fetfast.plan.Plan.open", lambda _: warnings.warn("it is\nlate", stacklevel=1))
    assert run("info", "flow_fp32").stderr.splitlines() == ["fetfast: warning: it is late"]


def test_info_says_what_is_inside():
    done = run("info", "flow_fp32.plan")
    assert done.exit_code == 0 and "source_blendshapes" in done.output
    assert json.loads(run("info", "flow_fp32", "--json").output)["spec"]["family"] == "flow"


def test_doctor_says_what_runs():
    done = run("doctor")
    assert done.exit_code == 0, done.output
    findings = json.loads(run("doctor", "--json").output)
    assert findings["backends"]["openvino"] is None and findings["self_test"]["ok"]


def test_bench_prints_every_part(tmp_path):
    done = run("bench", "--plan", "flow_fp32", "--steps", "5", "--json", tmp_path / "b.json")
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "b.json").read_text())
    assert all(row["case"] in done.output for row in figures["rows"])
    assert f"{figures['rows'][-1]['median_ms']:.2f}" in done.output


def test_a_sheet_of_many_under_many(tmp_path):
    out = tmp_path / "out.png"
    people = ["--targets", assets.path("astronaut.png"), "--drivers", ROOT / "demo", "--columns", 2]
    done = run("sheet", "flow_fp32", *people, "-o", out)
    assert done.exit_code == 0, done.output
    drawn = image.load(out)
    assert drawn.shape == (2 * 512, 3 * 512, 3) and image.is_marked(out) and drawn[0, 0].min() == 255
    first, second = drawn[512:, 512:1024].astype(int), drawn[512:, 1024:].astype(int)
    for shown in (first, second):  # she is still herself, under another expression
        assert 0.1 < abs(shown - drawn[512:, :512]).mean() < 20
    assert abs(first - second).mean() > 0.1


def test_build_marks_random_weights(tmp_path):
    plan = tmp_path / "u.plan"
    done = run("build", "unet", "--precision", "fp32", "-o", plan)
    assert done.exit_code == 0, done.output
    assert "RANDOM WEIGHTS" in run("info", plan).output


def test_every_command_helps():
    for name in main.commands:
        done = run(name, "--help")
        assert done.exit_code == 0 and len(done.output.splitlines()) > 4


@pytest.mark.parametrize("name", ["transfer", "live"])
def test_help_says_what_each_mode_does_to_a_film(name):
    said = " ".join(run(name, "--help").output.split())
    for words in ("absolute: the target shows", "a film's face at rest", "A film's own expressions are replaced"):
        assert words in said


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "fetfast.cli", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and "0.1.0" in done.stdout


@pytest.mark.parametrize("arguments, device", [
    (("transfer", SMILE, SMILE, "-o", "a.png"), "cpu"),
    (("transfer", SMILE, SMILE, "-o", "a.png", "--backend", "triton"), None),
    (("transfer", SMILE, "film.mp4", "-o", "a.mp4"), None),
    (("swap", SMILE, SMILE, "-o", "a.png", "b.png", "--plan", "flow_fp32"), "cpu"),
    (("edit", SMILE, "happy", "-o", "a.png", "--plan", "flow_fp32"), "cpu"),
    (("recognize", SMILE, "--plan", "flow_fp32"), "cpu"),
    (("recognize", SMILE, SMILE, "--plan", "flow_fp32"), None),
    (("recognize", str(ROOT / "demo"), "--plan", "flow_fp32"), None),
])  # fmt: skip
def test_auto_leaves_a_single_picture_to_the_processor(arguments, device, tmp_path, monkeypatch):
    """Loading and compiling a GPU's kernels takes ten times as long as all of its work."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"0000ftypisom")
    asked = []

    def engine(plan, backend, device=None):
        asked.append(device)
        raise BadInput("asked")

    monkeypatch.setattr("fetfast.engine.Engine", engine)
    assert run(*arguments).exit_code == 2 and asked == [device]


def test_faces_are_listed_from_left_to_right(tmp_path):
    row = [image.load(ROOT / "demo" / f"{name}.png")[::2, ::2] for name in ("smile", "wink")]
    image.save(tmp_path / "two.png", np.concatenate(row, axis=1))
    done = run("faces", tmp_path / "two.png", "-o", tmp_path / "numbers.png", "--json")
    assert done.exit_code == 0, done.output
    left, right = json.loads(done.stdout)
    assert (left["index"], right["index"]) == (0, 1) and left["box"][2] < 256 < right["box"][0]
    assert image.is_marked(tmp_path / "numbers.png") and image.load(tmp_path / "numbers.png").shape == (256, 512, 3)
    assert "  1  " in run("faces", tmp_path / "two.png").stdout
