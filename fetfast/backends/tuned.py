"""Configurations of `conv` measured on one kind of GPU: a JSON file in the user's cache, over the table that ships."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

from fetfast.assets import cache_folder
from fetfast.errors import BadInput
from fetfast.files import write_json
from fetfast.kernels.configs import TABLE, Config


def path(gpu: str) -> Path:
    """Where the table for GPUs of this name is kept."""
    return cache_folder() / "tuned" / f"{re.sub('[^A-Za-z0-9]+', '-', gpu)}.json"


def read(gpu: str) -> dict[str, Config]:
    """The table that ships, and over it what `fetfast tune` measured. Raises BadInput where that file is damaged."""
    file = path(gpu)
    if not file.exists():
        return dict(TABLE)
    try:
        rows = json.loads(file.read_text())
        return TABLE | {key: _config(row) for key, row in rows.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"read(): {file} is damaged ({error}); remove it, or run: fetfast tune") from error


def write(gpu: str, table: Mapping[str, Config]) -> Path:
    file = path(gpu)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {key: asdict(config) for key, config in sorted(table.items())})
    return file


def _config(row: dict[str, int]) -> Config:
    config = Config(**row)
    for field in fields(Config):
        value = getattr(config, field.name)
        if type(value) is not {"int": int, "bool": bool}[str(field.type)]:
            raise ValueError(f"{field.name} is {value!r}")
    sizes = (config.rows, config.columns, config.depth)
    possible = all(16 <= n <= 256 and n & (n - 1) == 0 for n in sizes) and config.warps in (1, 2, 4, 8, 16)
    if not config.library and not (possible and 1 <= config.stages <= 8 and 1 <= config.split <= 64):
        raise ValueError(f"no kernel is cut like {row}")
    return config
