"""Files that appear whole: written beside their place under another name, and renamed once all of it is there."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fetfast.errors import BadInput

AnyPath = str | os.PathLike[str]


@contextmanager
def written(path: AnyPath) -> Iterator[Path]:
    """A file to write in place of `path`, which it becomes when the block ends; until then `path` stays as it was.

    Where the block fails nothing is left of it. An OSError of writing (a full disk, a folder that takes no files)
    comes out as BadInput. A pipe or a device, such as /dev/stdout, is written to as it is.
    """
    path, aside = Path(path), None
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            yield path
            return
        aside = beside(path)
        mode = aside.stat().st_mode
        yield aside
        aside.chmod(mode)  # some libraries put a file of their own in its place, for the owner's eyes only
        aside.replace(path)
    except OSError as error:
        if error.filename not in (None, str(aside), str(path)):  # another file's trouble
            raise
        raise BadInput(f"{path} cannot be written: {error.strerror or error}; take another folder or disk") from error
    finally:
        if aside:
            aside.unlink(missing_ok=True)


def beside(path: Path) -> Path:
    """A new, empty file in the folder of `path`: hidden, with the same ending, and the permissions of any new file."""
    aside = path.with_name(f".{path.stem[:40]}-{secrets.token_hex(6)}{path.suffix}")
    try:
        os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        error.filename = str(path)  # the name that the user knows
        raise
    return aside


def write_json(path: AnyPath, value: Any) -> None:
    """Writes `value` as JSON, in place of what was there. Raises BadInput where it cannot."""
    with written(path) as file:
        file.write_text(json.dumps(value, indent=1) + "\n")
