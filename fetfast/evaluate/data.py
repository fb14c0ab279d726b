"""Pictures to evaluate on: folders of photographs, videos, and where the data folder lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fetfast import image, video
from fetfast.errors import BadInput, MissingAsset
from fetfast.image import Frame
from fetfast.plan import Plan

PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def default(name: str) -> Path:
    """A folder or file of the data folder: FETFAST_DATA, else ../shared/data beside the checkout."""
    folder = Path(os.environ.get("FETFAST_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not (folder / name).exists():
        raise MissingAsset(f"no {name} in {folder}; give your own --targets and --drivers, or set FETFAST_DATA")
    return folder / name


def unseen(plan: Plan, photos: list[Path]) -> list[Path]:
    """Those photographs that the plan was not trained on, as its header tells by their names; all, where it was trained
    on none."""
    about = plan.provenance.get("data", {})
    portraits = about.get("portraits", ())
    trained = {name for i, name in enumerate(portraits) if i not in about.get("held_out", ())}
    return [photo for photo in photos if photo.name not in trained]


def photos(path: Path) -> list[Path]:
    """The photographs in a folder, by name; a file is taken as one."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise BadInput(f"{path}: there is no such file or folder")
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in PHOTOS)
    if not found:
        raise BadInput(f"{path} holds no photographs, expected some of {', '.join(PHOTOS)}")
    return found


def frames(path: Path, every: int = 1) -> Iterator[tuple[str, Frame]]:
    """Name and u8 [H, W, 3] of each photograph in a folder, or of every `every`-th frame of a video.
    Raises BadInput; Unavailable for a video without PyAV."""
    if every < 1:
        raise BadInput(f"every is {every}, expected 1 (each frame) or more")
    if path.is_file() and path.suffix.lower() not in PHOTOS:
        return ((f"{path.name} frame {n * every}", frame) for n, frame in enumerate(video.frames(path, every)))
    return ((photo.name, image.load(photo)) for photo in photos(path))
