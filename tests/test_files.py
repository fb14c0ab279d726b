"""Files appear whole or not at all, whoever writes them, on a full disk too."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fetfast.errors import BadInput
from fetfast.files import write_json, written


def test_a_failure_in_the_middle_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(ZeroDivisionError), written(file) as aside:
        aside.write_text("half of the n")
        assert file.read_text() == "old"
        1 / 0  # noqa: B018
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_mode_is_what_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with written(tmp_path / "a") as aside:
            aside.write_text("ours")
        with written(tmp_path / "b") as aside:  # as safetensors does: another file, for its owner alone
            other = tmp_path / "other"
            other.touch(0o600)
            other.replace(aside)
    finally:
        os.umask(before)
    assert {(file.name, file.stat().st_mode & 0o777) for file in tmp_path.iterdir()} == {
        ("a", 0o666 & ~umask),
        ("b", 0o666 & ~umask),
    }


def test_what_cannot_be_written_is_named_as_the_user_did(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "none" / "a.txt", tmp_path / "folder", tmp_path / ("a" * 300)):
        with pytest.raises(BadInput, match=f"{path} cannot be written"):
            write_json(path, {})
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(FileNotFoundError), written(tmp_path / "a"):  # what the block reads is not what it writes
        (tmp_path / "other").read_text()


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_json(pipe, [1])
    assert json.loads(os.read(reader, 99)) == [1] and pipe.is_fifo()
    os.close(reader)


def test_two_writers_of_one_name_do_not_meet(tmp_path: Path) -> None:
    with written(tmp_path / "a") as one, written(tmp_path / "a") as two:
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "a").read_text() == "one"  # the outer block ends last


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
import torch
from fetfast import cli, export, image, plan
from fetfast.errors import BadInput
from fetfast.backends import cache
from fetfast.models import family
from fetfast.train import loop
from fetfast.train.recipes import recipes
from fetfast.train.run import start
folder = Path(sys.argv[1])
recipe = recipes("unet", "small")[0]
run = start(recipe, family("unet").build(family("unet").SPECS["small"]), 0)
shipped = plan.Plan.open(plan.Plan.best())
calls = {
    "a.plan": shipped.save,
    "a.onnx": lambda path: export.onnx(shipped, path),
    "a.png": lambda path: image.save(path, np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)),
    "a.safetensors": lambda path: loop.save(path, {"net": torch.nn.Linear(99, 99)}, metrics={}),
    "a.pt": run.save,
    "a.json": lambda path: cli.figures.write_json(path, list(range(9999))),
}
for name in calls:
    (folder / name).write_text("old")
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
for name, call in calls.items():
    try:
        call(folder / name)
    except BadInput as error:
        print(error)
cache.keep("openvino", {"name": "a"}, bytes(99_999))
"""


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """The limit on a file's size stands for the disk's end."""
    environment = os.environ | {"FETFAST_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, env=environment)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock")
    assert done.stdout.count("cannot be written: File too large") == len(files), done.stdout + done.stderr
    assert [file.read_text() for file in files] == ["old"] * len(files)
    assert "compiled networks cannot be kept" in done.stderr
