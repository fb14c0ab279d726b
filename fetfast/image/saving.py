"""Pictures into files: whole or not at all, with a mark, and with what their target's metadata said."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fetfast.errors import BadInput
from fetfast.files import written
from fetfast.image import metadata
from fetfast.image.metadata import SYNTHESISED
from fetfast.image.pictures import Frame, on_white, to_srgb, upright

if TYPE_CHECKING:
    from PIL import Image

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".avif": "AVIF"}
QUALITY = {"JPEG": 95, "WEBP": 95, "AVIF": 90}


def save(path: str | os.PathLike[str], picture: Frame | Image.Image, mark: bool = True, keep_gps: bool = False) -> None:
    """Writes a frame u8 [H, W, 3] sRGB, or a PIL image, as PNG, JPEG, WebP or AVIF by the name's ending, whole or not
    at all. Raises BadInput.

    A PIL image keeps its colour profile, and of its metadata what `metadata.of` says. A JPEG has no transparency: the
    picture is laid on white.
    mark: its XMP metadata says that it was synthesised. keep_gps: its EXIF may say where it was taken.
    """
    from PIL import Image

    check_output(path)
    format = FORMATS[Path(path).suffix.lower()]
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    about = metadata.of(picture)
    picture = upright(picture)
    if format in ("WEBP", "AVIF") and picture.mode not in ("RGB", "RGBA"):  # which know no grey
        picture = to_srgb(picture)
        about.pop("icc_profile", None)
    if format == "JPEG":
        picture = on_white(picture)
        picture = picture if picture.mode in ("L", "RGB", "CMYK") else picture.convert("RGB")
    with written(path) as aside:
        picture.save(aside, format, **_options(format, about, mark, keep_gps))


def _options(format: str, about: dict[str, Any], mark: bool, keep_gps: bool) -> dict[str, Any]:
    from PIL import PngImagePlugin

    options = dict(about)
    if "exif" in options and not keep_gps:
        options["exif"] = metadata.without_gps(options["exif"])
    if mark:
        options["xmp"] = metadata.mark(options.get("xmp"))
    if format == "PNG" and "xmp" in options:
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode())
        options["pnginfo"] = info
    return options | ({"quality": QUALITY[format]} if format in QUALITY else {})


def check_output(path: str | os.PathLike[str], endings: Collection[str] = tuple(FORMATS)) -> None:
    """Raises BadInput where `path` could not be written; called before long work starts."""
    file = Path(path)
    if file.suffix.lower() not in endings:
        raise BadInput(f"{path}: expected a name that ends in {', '.join(endings)}")
    if file.is_dir():
        raise BadInput(f"{path} is a folder, expected a file name")
    if file.exists() and not file.is_file():  # renaming would put a file in its place
        raise BadInput(f"{path} is a pipe or a device, expected a file name")
    if not file.parent.is_dir():
        raise BadInput(f"{path}: the folder {file.parent} does not exist; create it first")
    if not os.access(file.parent, os.W_OK):
        raise BadInput(f"{path} cannot be written: no permission for the folder {file.parent}")


def is_marked(path: str | os.PathLike[str]) -> bool:
    """Whether an image file says of itself, in XMP, that it was synthesised."""
    from PIL import Image

    with Image.open(path) as picture:
        return SYNTHESISED.encode() in metadata.raw_xmp(picture)
