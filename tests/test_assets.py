"""Assets: nothing that is not the right file is ever kept, and what fails says what to do."""

import hashlib
import io
import subprocess
import zipfile
from pathlib import Path

import pytest

from fetfast import assets
from fetfast.assets import ASSETS, Asset
from fetfast.errors import BadInput, MissingAsset

CONTENT = b"the right file" * 10_000


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, whose folder is not there yet."""
    monkeypatch.setenv("FETFAST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """The file at the "official address" of the only asset, "thing". Its wheel cannot be had."""
    file = tmp_path / "origin"
    file.write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    asset = Asset(sha256, len(CONTENT), file.as_uri(), "no-such-package==1", "folder/thing")
    monkeypatch.setattr(assets, "ASSETS", {"thing": asset})
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "no such package"))
    return file


def kept(cache: Path) -> list[str]:
    return sorted(file.name for file in cache.rglob("*") if file.suffix != ".lock")


def test_fetched_once_and_kept(origin: Path, cache: Path) -> None:
    assert assets.cached() == {"thing": None} and not cache.exists()
    found = assets.path("thing")
    assert found == cache / "thing" and found.read_bytes() == CONTENT
    origin.unlink()
    assert assets.path("thing") == found
    assert assets.cached() == {"thing": found}
    assert kept(cache) == ["thing"]


@pytest.mark.parametrize("damaged", [b"", CONTENT[:-1], CONTENT + b"x", b"X" + CONTENT[1:]])
def test_what_was_damaged_in_the_cache_is_fetched_again(origin: Path, cache: Path, damaged: bytes) -> None:
    assets.path("thing").write_bytes(damaged)
    assert assets.cached() == {"thing": None}
    assert assets.path("thing").read_bytes() == CONTENT


def test_damage_that_cannot_be_mended_is_said(origin: Path, cache: Path) -> None:
    assets.path("thing").write_bytes(CONTENT[:100])
    origin.unlink()
    with pytest.raises(MissingAsset, match=r"damaged in the cache.*put the file with SHA-256"):
        assets.path("thing")


@pytest.mark.parametrize("wrong", [b"", CONTENT[:-1], CONTENT + b"x", b"X" + CONTENT[1:]])
def test_a_wrong_file_is_refused_and_nothing_kept(origin: Path, cache: Path, wrong: bytes) -> None:
    origin.write_bytes(wrong)
    with pytest.raises(MissingAsset):
        assets.path("thing")
    assert kept(cache) == []


def test_never_reads_far_beyond_the_stated_size(origin: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            assert size > 0
            self.given += size
            return bytes(size)

    endless = Endless()
    monkeypatch.setattr(assets.urllib.request, "urlopen", lambda *_, **__: endless)
    with pytest.raises(MissingAsset, match=f"more than the expected {len(CONTENT)} bytes"):
        assets.path("thing")
    assert endless.given <= len(CONTENT) + 1
    assert kept(cache) == []


def test_the_message_says_which_file_to_put_where(origin: Path, cache: Path) -> None:
    origin.unlink()
    with pytest.raises(MissingAsset) as caught:
        assets.path("thing")
    line = str(caught.value)
    for part in ("thing", str(cache / "thing"), hashlib.sha256(CONTENT).hexdigest(), "no such package"):
        assert part in line
    assert "\n" not in line
    assert kept(cache) == []


def test_a_file_put_there_by_hand_is_taken(origin: Path, cache: Path) -> None:
    origin.unlink()
    cache.mkdir()
    (cache / "thing").write_bytes(CONTENT)
    assert assets.path("thing") == cache / "thing"


def wheel(content: bytes, member: str = "folder/thing") -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(member, content)
    return archive.getvalue()


@pytest.mark.parametrize(
    ("downloaded", "right"),
    [
        (wheel(CONTENT), True),
        (wheel(CONTENT[:-1]), False),
        (wheel(bytes(len(CONTENT))), False),
        (wheel(bytes(100_000_000)), False),
        (wheel(CONTENT, "elsewhere/thing"), False),
        (wheel(CONTENT)[:100], False),
        (b"", False),
    ],
)
def test_the_wheel_where_the_address_fails(
    origin: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, downloaded: bytes, right: bool
) -> None:
    def download(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[-1] == "no-such-package==1" and "--no-deps" in command
        Path(command[command.index("--dest") + 1], "no_such_package-1.whl").write_bytes(downloaded)
        return subprocess.CompletedProcess(command, 0, "", "")

    origin.unlink()
    monkeypatch.setattr(subprocess, "run", download)
    if right:
        assert assets.path("thing").read_bytes() == CONTENT
        assert kept(cache) == ["thing"]
    else:
        with pytest.raises(MissingAsset, match="the wheel: "):
            assets.path("thing")
        assert kept(cache) == []


def test_an_unwritable_cache_is_one_line(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FETFAST_CACHE", str(tmp_path / "file"))  # as root, no folder is unwritable
    with pytest.raises(MissingAsset, match="FETFAST_CACHE"):
        assets.path("thing")


def test_an_unknown_name_is_refused(cache: Path) -> None:
    with pytest.raises(BadInput, match=r"face_landmarker\.task"):
        assets.path("../passwd")


def test_the_table_pins_every_wheel() -> None:
    for asset in ASSETS.values():
        assert len(asset.sha256) == 64 and asset.size > 0 and "==" in asset.wheel
