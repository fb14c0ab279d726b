"""The cache of compiled networks: nothing that does not fit or is not whole gets loaded, and nothing is made twice."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from filelock import FileLock

from fetfast.backends import cache

KEY = {"name": "unet_fp16", "stage": "unet", "plan": "1" * 64, "version": "10.13.0", "target": "8.9"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FETFAST_CACHE", str(tmp_path))
    return tmp_path


class Maker:
    """Makes contents and counts them; hears what is told."""

    def __init__(self, content: bytes = b"engine", loads: bool = True):
        self.content, self.loads, self.made, self.told = content, loads, 0, list[str]()

    def make(self) -> bytes:
        self.made += 1
        return self.content

    def load(self, content: cache.Content) -> bytes | None:
        return bytes(content) if self.loads else None

    def fetch(self, key: cache.Key = KEY) -> bytes | None:
        return cache.fetch("tensorrt", key, self.make, self.load, self.told.append)


def the_file() -> Path:
    (entry,) = cache.entries()
    return entry.path


def test_made_once_then_kept() -> None:
    maker = Maker()
    assert maker.fetch() == maker.fetch() == b"engine"
    assert maker.made == 1
    assert maker.told == ["building unet_fp16, unet, 10.13.0, 8.9"]


@pytest.mark.parametrize("what", KEY)
def test_any_mismatch_is_made_again_and_the_line_says_which(what: str) -> None:
    Maker().fetch()
    other = Maker(b"other")
    assert other.fetch(KEY | {what: "new"}) == b"other"
    remark = f" (the cached one is for {what} {KEY[what][:32]})"
    assert other.made == 1 and (remark in other.told[0]) is (what not in ("name", "stage"))
    assert Maker().fetch() == b"engine", "what was kept for the other key is still there"


def test_the_nearest_entry_is_named() -> None:
    Maker().fetch(KEY | {"version": "10.12.0", "plan": "2" * 64})
    Maker().fetch(KEY | {"version": "10.12.1"})
    maker = Maker()
    maker.fetch()
    assert maker.told[0].endswith("(the cached one is for version 10.12.1)")


@pytest.mark.parametrize("damage", [
    lambda whole: b"",
    lambda whole: whole[:10],
    lambda whole: whole[:-1],
    lambda whole: whole + b"x",
    lambda whole: whole[:-1] + b"X",
    lambda whole: b"x" + whole[1:],
    lambda whole: whole[:8] + (1 << 60).to_bytes(8, "little") + whole[16:],
    lambda whole: whole[:16] + b"[" + whole[17:],
    lambda whole: whole.replace(b"10.13.0", b"10.13.1"),
    lambda whole: cache.MAGIC + (2).to_bytes(8, "little") + b"[]",
    lambda whole: cache.MAGIC + (2).to_bytes(8, "little") + b"{}",
])  # fmt: skip
def test_damage_is_never_loaded(damage) -> None:
    Maker().fetch()
    the_file().write_bytes(damage(the_file().read_bytes()))
    maker = Maker(b"again")
    assert maker.fetch() == b"again" and maker.made == 1
    assert Maker().fetch() == b"again"


def test_what_does_not_load_is_dropped_and_made_again_once() -> None:
    Maker(b"old").fetch()
    picky = Maker(b"new")
    picky.load = lambda content: None if content == b"old" else bytes(content)  # type: ignore[method-assign]
    assert picky.fetch() == b"new" and picky.made == 1
    never = Maker(loads=False)
    assert never.fetch(KEY | {"version": "11"}) is None and never.made == 1
    assert len(cache.entries()) == 1, "what never loads is not kept"


def test_a_failed_build_leaves_nothing_and_lets_the_next_one_in(folder: Path) -> None:
    maker = Maker()
    maker.make = lambda: 1 / 0  # type: ignore[method-assign, return-value, assignment]
    with pytest.raises(ZeroDivisionError):
        maker.fetch()
    assert cache.entries() == []
    assert Maker().fetch() == b"engine"


def test_a_failed_write_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write("tensorrt", KEY, b"old")
    monkeypatch.setattr(Path, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cache.write("tensorrt", KEY, b"new")
    assert bytes(cache.read("tensorrt", KEY) or b"") == b"old"
    assert not list(folder.rglob("*.part"))


def test_without_a_writable_folder_nothing_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").touch()
    monkeypatch.setenv("FETFAST_CACHE", str(folder / "file"))  # as root, no folder is unwritable
    maker = Maker()
    with pytest.warns(UserWarning, match="cannot be kept in .*; set FETFAST_CACHE"):
        assert maker.fetch() == maker.fetch() == b"engine"
    assert maker.made == 2


def test_a_full_disk_stops_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    maker = Maker()
    with pytest.warns(UserWarning, match="cannot be kept in .*No space left on device"):
        assert maker.fetch() == b"engine"
    assert cache.entries() == []


def test_two_processes_at_once_make_it_once(folder: Path) -> None:
    code = """
        import sys, time
        from pathlib import Path
        from fetfast.backends import cache
        log = Path(sys.argv[1])
        def make():
            with log.open("a") as file: file.write("made\\n")
            time.sleep(0.5)
            return b"x" * 1_000_000
        def tell(line):
            with log.open("a") as file: file.write(line + "\\n")
        got = cache.fetch("tensorrt", {"name": "a"}, make, bytes, tell)
        assert got == b"x" * 1_000_000
    """
    log = folder / "log"
    command = [sys.executable, "-c", textwrap.dedent(code), str(log)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    for process in running:
        process.communicate()
    lines = log.read_text().splitlines()
    assert lines.count("made") == lines.count("building a") == 1


def test_whoever_waits_says_so(folder: Path) -> None:
    Maker().fetch(KEY | {"version": "1"})
    with FileLock(folder / "tensorrt" / "lock"):
        code = "from fetfast.backends import cache; cache.fetch('tensorrt', {'a': 'b'}, lambda: b'', bytes, print)"
        waiting = subprocess.Popen([sys.executable, "-uc", code], stdout=subprocess.PIPE, text=True)
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "waiting for another process, which is building\n"
    assert waiting.communicate()[0] == "building b\n" and waiting.returncode == 0


def test_list_and_clear(folder: Path) -> None:
    (folder / "face.task").write_bytes(b"an asset")
    (folder / "openvino").mkdir()
    (folder / "openvino" / "x.blob").write_bytes(b"OpenVINO's own")
    Maker().fetch()
    assert [(e.kind, e.key.get("stage")) for e in cache.entries()] == [("tensorrt", "unet"), ("openvino", None)]
    size = sum(e.size for e in cache.entries())
    assert size == sum(e.path.stat().st_size for e in cache.entries())
    assert cache.clear() == size and cache.entries() == []
    assert (folder / "face.task").exists()
    assert cache.clear() == 0


def age(path: Path, days: float) -> None:
    os.utime(path, (time.time() - days * 86400,) * 2)


def test_what_was_not_used_for_long_can_be_cleared() -> None:
    for version in "12":
        Maker().fetch(KEY | {"version": version})
    old, new = sorted(cache.entries(), key=lambda entry: entry.key["version"])
    age(old.path, 31)
    age(new.path, 29)
    assert cache.clear(older_than=30) == old.size and [e.path for e in cache.entries()] == [new.path]
    age(new.path, 31)
    assert Maker().fetch(KEY | {"version": "2"})  # which is a use
    assert cache.clear(older_than=30) == 0


def test_beyond_the_limit_what_was_not_used_for_longest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    for version in "123":
        cache.write("tensorrt", KEY | {"version": version}, bytes(1000))
    for entry in cache.entries():
        age(entry.path, {"1": 2, "2": 3, "3": 1}[entry.key["version"]])
    monkeypatch.setattr(cache, "LIMIT", sum(entry.size for entry in cache.entries()))
    cache.write("openvino", KEY, bytes(100))
    assert sorted(entry.key["version"] for entry in cache.entries()) == ["1", "10.13.0", "3"]
    cache.write("openvino", KEY, bytes(5000))  # larger than all that may be kept: it alone stays
    assert [entry.kind for entry in cache.entries()] == ["openvino"]
