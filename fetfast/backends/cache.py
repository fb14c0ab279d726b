"""Compiled networks, kept in the user's cache: one file each, which says what it was made from and for.

    8 bytes         "FETCACHE"
    8 bytes         length of the JSON that follows, little endian
    JSON            {"key": {...}, "size": bytes, "sha256": hex} of the content
    content         whatever the library gave, read only after all of the above was found right

The key names everything that the content depends on, so that what fits nowhere else is never loaded; it is read, and
shown by `fetfast cache list`, without touching the content. A file's time of change is when it was last used: beyond
LIMIT those go that were not used for longest.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import BaseFileLock, FileLock, Timeout

from fetfast import backends
from fetfast.assets import cache_folder
from fetfast.errors import BadInput
from fetfast.files import written

MAGIC = b"FETCACHE"
HEADER_LIMIT = 1 << 16
LIMIT = 4 << 30  # bytes of all compiled networks together

Key = Mapping[str, str]
Content = bytes | memoryview
T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A file in the cache. `key` is empty for one that is not of this format."""

    path: Path
    kind: str
    size: int  # bytes
    key: dict[str, str]
    used: float  # when last, seconds since 1970


def fetch(
    kind: str,
    key: Key,
    make: Callable[[], Content],
    load: Callable[[Content], T | None],  # None where the content does not load
    tell: Callable[[str], None] = lambda _: None,  # one line on what is about to happen
) -> T | None:
    """What `load` makes of the entry for `key`, which `make` makes where it is missing, damaged or does not load.

    An entry that does not load is dropped and made again once; None if that does not load either. One process makes
    entries at a time: a second one that needs the same waits, and takes what the first made. Where the cache cannot
    be written, nothing is kept.
    """
    loaded = _load(kind, key, load)
    if loaded is not None:
        return loaded
    try:
        lock = _lock(kind, tell)
    except OSError as error:
        tell(f"building {describe(key)}{_difference(kind, key)}")
        loaded = load(make())
        _warn(error)
        return loaded
    try:
        loaded = _load(kind, key, load)
        if loaded is None:
            tell(f"building {describe(key)}{_difference(kind, key)}")
            content = make()
            loaded = load(content)
            if loaded is not None:
                keep(kind, key, content)
        return loaded
    finally:
        lock.release()


def keep(kind: str, key: Key, content: Content) -> None:
    """`write`, where a full disk or a folder that cannot be written is a warning: then nothing is kept."""
    try:
        write(kind, key, content)
    except (OSError, BadInput) as error:
        _warn(error)


def read(kind: str, key: Key) -> memoryview | None:
    """The content kept for `key`, mapped, or None. A damaged entry is dropped."""
    path = _path(kind, key)
    if not path.exists():
        return None
    found = _open(path)
    if found is not None and found[0] == dict(key) and hashlib.sha256(found[2]).hexdigest() == found[1]:
        with suppress(OSError):  # of a cache that may only be read
            os.utime(path)
        return found[2]
    path.unlink(missing_ok=True)
    return None


def write(kind: str, key: Key, content: Content) -> None:
    """Keep `content` for `key`, in place of what was kept before; what was not used for longest makes room for it."""
    path = _path(kind, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"key": dict(key), "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    header = json.dumps(about).encode()
    with written(path) as aside, aside.open("wb") as out:
        for part in (MAGIC, len(header).to_bytes(8, "little"), header, content):
            out.write(part)
    beyond = sum(entry.size for entry in entries()) - LIMIT
    for entry in sorted(entries(), key=lambda entry: entry.used):
        if beyond > 0 and entry.path != path:
            beyond -= _remove([entry])


def entries() -> list[Entry]:
    """Every compiled network in the cache, by kind and name."""
    found = []
    for kind in backends.declared("CACHES"):
        for path in sorted((cache_folder() / kind).rglob("*")):
            if path.is_file() and path.name != "lock":
                opened, about = _open(path), path.stat()
                found.append(Entry(path, kind, about.st_size, opened[0] if opened else {}, about.st_mtime))
    return found


def clear(older_than: float = 0) -> int:
    """Remove the compiled networks that were not used for so many days; the assets stay. Returns the bytes freed."""
    return _remove(entry for entry in entries() if time.time() - entry.used >= older_than * 86400)


def _remove(those: Iterable[Entry]) -> int:
    freed = 0
    for entry in those:
        entry.path.unlink(missing_ok=True)
        freed += entry.size
    return freed


def _warn(error: Exception) -> None:
    warnings.warn(
        f"compiled networks cannot be kept in {cache_folder()} ({error}); set FETFAST_CACHE to a folder",
        stacklevel=3,
    )


def _load(kind: str, key: Key, load: Callable[[Content], T | None]) -> T | None:
    content = read(kind, key)
    if content is None:
        return None
    loaded = load(content)
    if loaded is None:
        _path(kind, key).unlink(missing_ok=True)
    return loaded


def _lock(kind: str, tell: Callable[[str], None]) -> BaseFileLock:
    folder = cache_folder() / kind
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell("waiting for another process, which is building")
        lock.acquire()
    return lock


def _path(kind: str, key: Key) -> Path:
    digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()
    return cache_folder() / kind / f"{digest[:32]}.bin"


def _open(path: Path) -> tuple[dict[str, str], str, memoryview] | None:
    """Key, SHA-256 and content as the file states them, or None where it is no entry or cut short."""
    with path.open("rb") as file:
        head = file.read(16)
        length = int.from_bytes(head[8:], "little")
        if head[:8] != MAGIC or not 0 < length <= HEADER_LIMIT:
            return None
        try:
            about: Any = json.loads(file.read(length))
            key, size, digest = about["key"], about["size"], about["sha256"]
        except (ValueError, KeyError, TypeError):
            return None
        start = 16 + length
        if not isinstance(key, dict) or size != path.stat().st_size - start:
            return None
        # mapped where it lies: an engine of 100 MB is read once, by the library
        return key, digest, memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[start:]


def describe(key: Key) -> str:
    """The key as a line: what is for people to read."""
    return ", ".join(value for name, value in key.items() if name not in ("plan", "recipe"))


def _difference(kind: str, key: Key) -> str:
    """Where the cache holds that network for something else: what is different about it."""
    kept = [entry.key for entry in entries() if entry.kind == kind and entry.key.keys() == key.keys()]
    kept = [other for other in kept if all(other[name] == key[name] for name in ("name", "stage") if name in key)]
    if kept:
        nearest = min(kept, key=lambda other: sum(other[name] != key[name] for name in key))
        differing = [f"{name} {nearest[name][:32]}" for name in key if nearest[name] != key[name]]
        return f" (the cached one is for {', '.join(differing)})" if differing else ""
    return ""
