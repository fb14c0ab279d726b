"""The converted networks in the cache: made once, made anew where damaged, done without where that must be."""

from pathlib import Path

import numpy as np
import pytest

from fetfast import assets
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


def test_converted_once(cache: Path) -> None:
    first = outputs()
    (graph,) = cache.rglob("face_detector.xml")
    made = graph.stat().st_mtime_ns
    (cache / TASK).unlink()  # no longer needed
    assert_works(first)
    assert graph.stat().st_mtime_ns == made
    assert not [file for file in cache.rglob("*") if file.is_dir() and file.name.startswith("tmp")]


@pytest.mark.parametrize("ending", ["xml", "bin", "blob"])
def test_what_is_damaged_is_made_anew(cache: Path, ending: str) -> None:
    first = outputs()
    if ending == "bin":  # read only where no compiled model is cached
        next(cache.rglob("*.blob")).unlink()
    (file,) = cache.rglob(f"*.{ending}")
    half = file.read_bytes()[: file.stat().st_size // 2]
    file.unlink()
    file.write_bytes(half)
    assert_works(first)


def test_runs_where_the_cache_cannot_be_written(cache: Path) -> None:
    first = outputs()
    (folder,) = cache.glob("openvino-*")
    for file in sorted(folder.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    folder.rmdir()
    folder.touch()  # as root, no folder is unwritable
    assert_works(first)
