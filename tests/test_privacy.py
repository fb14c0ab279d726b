"""Nothing is sent anywhere, and no file is written but what was asked for and what the cache keeps.

Each way of use runs in a process of its own with an empty home folder and a cache that is filled, and is watched twice:
by an audit hook inside of every Python process, and by strace, where it can be had, from outside.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fetfast import assets
from fetfast.image import load, save

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"
# What the hook logs: sockets that leave the machine, and paths that are written.
HOOK = """
import os, sys
log = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def say(kind, what): os.write(log, f"{kind} {what}\\n".encode())
def hook(event, given):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto", "socket.sendmsg"):
        say("net", given)
    elif event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not isinstance(given[0], int):
        say("file", os.path.abspath(os.fsdecode(given[0])))
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink"):
        say("file", os.path.abspath(os.fsdecode(given[0 if event == "os.mkdir" else 1])))
sys.addaudithook(hook)
say("begun", os.getpid())
"""
LIBRARY = """
import fetfast
engine = fetfast.Engine()
engine.transfer("a.png", "b.png")
list(engine.stream(["a.png"], "b.png"))
"""
FILM = """
import numpy as np
from fractions import Fraction
from fetfast.cli import main
from fetfast.image import load
from fetfast.video import Writer
with Writer("a.mp4", Fraction(25)) as writer:
    for i in range(2): writer.write(Fraction(i, 25), load("a.png"))
main(["transfer", "a.mp4", "b.png", "-o", "out.mp4"])
"""
QUANTIZE = """
import numpy as np, onnx
from onnx import helper
from fetfast.quantize import quantize
value = lambda name, *shape: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape or (1, 2, 8, 8))
node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1, 1, 1, 1])
graph = helper.make_graph([node], "net", [value("x")], [value("y")], value_info=[value("w", 2, 2, 3, 3)])
weights = {"w": np.ones((2, 2, 3, 3), np.float32)}
quantize(helper.make_model(graph).SerializeToString(), weights, [{"x": np.ones((1, 2, 8, 8), np.float32)}], [])
"""


@pytest.fixture(scope="module")
def filled_cache(tmp_path_factory) -> Path:
    """A cache that holds the assets, so that nothing has a reason to be fetched."""
    folder = tmp_path_factory.mktemp("cache")
    for name in assets.ASSETS:
        shutil.copy(assets.path(name), folder / name)
    return folder


@pytest.fixture
def watched(tmp_path: Path, filled_cache: Path):
    """watched(arguments): runs Python with them in an empty folder of two pictures; returns what was sent, and what was
    written outside the cache and that folder, both as lists that should be empty."""
    home, work, hook = (tmp_path / name for name in ("home", "work", "hook"))
    for folder in (home, work, hook):
        folder.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    save(work / "a.png", load(DEMO / "smile.png")[::2, ::2].copy())
    save(work / "b.png", load(DEMO / "surprise.png")[::2, ::2].copy())
    log, trace = tmp_path / "audit", tmp_path / "trace"
    # Built anew: a variable that says "this is CI" would keep others quiet too. Python's own .pyc files are not ours.
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(home), "FETFAST_CACHE": str(filled_cache), "PYTHONPATH": str(hook),
        "AUDIT_LOG": str(log), "TMPDIR": str(work), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    allowed = (str(filled_cache), str(work), str(log), "/dev/", "/proc/")

    def run(*arguments: str) -> tuple[list[str], list[str]]:
        command = [sys.executable, *arguments]
        if _strace():
            command = ["strace", "-f", "-qq", "-y", "-s", "4096", "-e", "trace=network,%file", "-o", trace, *command]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        logged = log.read_text().splitlines()
        assert any(line.startswith("begun") for line in logged)
        sent = [line for line in logged if line.startswith("net")]
        written = [line.split(" ", 1)[1] for line in logged if line.startswith("file")]
        if _strace():
            calls = trace.read_text().splitlines()
            assert len(calls) > 100
            sent += [call for call in calls if re.search(r"\b(connect|send(to|msg|mmsg))\(.*AF_INET", call)]
            written += [path for call in calls for path in _written(call, work)]
        written += [str(path) for path in home.rglob("*")]
        return sent, [path for path in written if not path.startswith(allowed)]

    return run


def _strace() -> bool:
    """Whether strace is here and may watch."""
    return bool(shutil.which("strace")) and not subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"]).returncode


def _written(call: str, work: Path) -> list[str]:
    """The path that a line of strace's makes or opens for writing."""
    if " = -1 " in call:
        return []
    call = call.partition(" ")[2].lstrip()
    paths = re.findall(r'"((?:[^"\\]|\\.)*)"', call)
    if call.startswith("open") and re.search(r"O_WRONLY|O_RDWR|O_CREAT", call):
        return [str(work / paths[0])]
    return [str(work / paths[-1])] if call.startswith(("mkdir", "rename", "link", "symlink", "creat")) else []


@pytest.mark.parametrize(
    ("needs", "arguments"),
    [
        (None, ["-m", "fetfast.cli", "transfer", "a.png", "b.png", "-o", "out.png"]),
        (None, ["-m", "fetfast.cli", "doctor"]),
        (None, ["-m", "fetfast.cli", "info", "unet_fp16"]),
        (None, ["-m", "fetfast.cli", "bench", "--steps", "2"]),
        (None, ["-c", LIBRARY]),
        ("av", ["-c", FILM]),
        ("nncf", ["-c", QUANTIZE]),
    ],
    ids=["transfer", "doctor", "info", "bench", "library", "film", "int8"],
)
def test_nothing_is_sent_and_nothing_written_elsewhere(watched, needs, arguments) -> None:
    if needs and not find_spec(needs):
        pytest.skip(f"{needs} is not installed")
    sent, written = watched(*arguments)
    assert not sent and not written


def test_the_watch_sees_what_there_is_to_see(watched) -> None:
    """A look-up, a connection and a file in the home folder, as OpenVINO makes them where nobody stops it."""
    sent, written = watched("-c", "import pathlib, socket\n"
                                  "socket.getaddrinfo('localhost', 80)\n"
                                  "socket.socket(type=socket.SOCK_DGRAM).connect(('127.0.0.1', 9))\n"
                                  "(pathlib.Path.home() / 'intel').mkdir()")  # fmt: skip
    assert len([line for line in sent if "localhost" in line]) == 1
    assert len([line for line in sent if "127.0.0.1" in line]) == 1 + bool(_strace())
    assert any(path.endswith("/home/intel") for path in written)
