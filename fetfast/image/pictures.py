"""Image files and PIL images: as frames u8 [H, W, 3] sRGB, and frames as pictures like them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fetfast.errors import BadInput, Unavailable
from fetfast.image import metadata

if TYPE_CHECKING:
    from PIL import Image

Frame = NDArray[np.uint8]  # [H, W, 3] RGB

DAMAGE = (OSError, SyntaxError, ValueError, KeyError, IndexError, struct.error)  # what Pillow raises on damaged files
MAX_PIXELS = 64_000_000  # a frame of 8000 x 8000; beyond it an image is a mistake or an attack
# What is read: not what Pillow hands to other programs (EPS goes to Ghostscript). A JPEG of several pictures is a JPEG.
READABLE = ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "JPEG2000", "AVIF", "ICO")
MOVING = ("GIF", "WEBP", "PNG", "AVIF")  # where several frames are a film, and not pages or sizes
HEIF = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")  # brands, in the first 12 bytes of a file
PROFILED = ("RGB", "RGBA", "CMYK", "L")  # modes whose colour profile is applied
GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F")  # modes without colour
EXACT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # modes whose values 8 bits of grey or RGB hold


def load(path: str | os.PathLike[str]) -> Frame:
    """Reads an image file as u8 [H, W, 3] sRGB: turned as its EXIF tag says, colour profile applied, 16 bits
    scaled to 8, palette and CMYK converted, transparency laid on white. Raises BadInput, Unavailable."""
    with _opened(path) as picture:
        return frame_of(picture, str(path))


def open_picture(path: str | os.PathLike[str]) -> Image.Image:
    """Reads an image file as a PIL image in its own mode, upright, with that of its metadata that stays: what
    `transfer` gives for it can be saved as its like. Raises BadInput, Unavailable."""
    with _opened(path) as picture:
        check_picture(picture, str(path))
        about = metadata.of(picture)
        try:
            loaded = upright(picture)
        except DAMAGE as error:
            raise BadInput(f"{path} cannot be read as an image: {error}; save it anew as PNG or JPEG") from None
        about |= {name: value for name, value in loaded.info.items() if name == "transparency"}
        loaded.info.clear()
        loaded.info.update(about)
        loaded.filename = str(path)  # type: ignore[attr-defined]
        return loaded


def is_still(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a picture that does not move, by what is in it. Never raises."""
    try:
        with _opened(path) as picture:
            return picture.format not in MOVING or getattr(picture, "n_frames", 1) == 1
    except Unavailable:  # a picture of a kind that needs a package
        return True
    except BadInput:
        return False


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    from PIL import Image, UnidentifiedImageError

    file = Path(path)
    if file.is_dir():
        raise BadInput(f"{path} is a folder, expected an image file")
    if not file.exists():
        raise BadInput(f"{path}: there is no such file")
    if not file.is_file():  # reading a pipe or a device may never end
        raise BadInput(f"{path} is a pipe or a device, expected an image file")
    try:
        with file.open("rb") as stream:
            start = stream.read(12)
        picture = _heif(file) if start[4:8] == b"ftyp" and start[8:] in HEIF else Image.open(file, formats=READABLE)
    except Image.DecompressionBombError:
        raise BadInput(f"{path} has more than {MAX_PIXELS:,} pixels; scale it down first") from None
    except UnidentifiedImageError:
        size = file.stat().st_size
        raise BadInput(f"{path} ({size} bytes) is not an image that can be read; try PNG, JPEG or WebP") from None
    except DAMAGE as error:
        raise BadInput(f"{path} cannot be read as an image: {error}") from None
    with picture:
        yield picture


def _heif(file: Path) -> Image.Image:
    try:
        import pillow_heif
    except ImportError:
        raise Unavailable(f"{file} is a HEIC picture; pip install pillow-heif, or save it as JPEG") from None
    opened = pillow_heif.open_heif(file)
    check_size(opened.size[0], opened.size[1], str(file))
    return opened.to_pillow()


def frame_of(picture: Image.Image, name: str) -> Frame:
    """A PIL image as a frame, in sRGB and upright. Raises BadInput, calling it `name`."""
    check_picture(picture, name)
    try:
        return _to_rgb(upright(picture))
    except DAMAGE as error:
        raise BadInput(f"{name} cannot be read as an image: {error}; save it anew as PNG or JPEG") from None


def like(picture: Image.Image, frame: Frame, before: Frame) -> Image.Image:
    """A frame as a picture like the one of which `before` is the frame: grey or in colour, with its transparency, its
    colour profile and its metadata. What did not change has the very values that it had there.
    A palette becomes true colour, CMYK becomes sRGB, and 16 bits become 8."""
    from PIL import Image

    about = metadata.of(picture)
    picture = upright(picture)
    mode = "L" if picture.mode in GREY else "RGB"
    result, alpha, changed = Image.fromarray(frame), None, (frame != before).any(-1)
    if picture.has_transparency_data:
        alpha = picture.convert("RGBA").getchannel("A")
        opacity = np.asarray(alpha)[:, :, None] / 255
        changed &= opacity[:, :, 0] > 0
        lifted = (frame - 255 * (1 - opacity)) / np.maximum(opacity, 1 / 255)  # off the white that it was laid on
        result = Image.fromarray((lifted + 0.5).clip(0, 255).astype(np.uint8))
    own = picture.convert("RGBA" if alpha else mode).convert(mode) if picture.mode in EXACT else Image.fromarray(before)
    if picture.mode in PROFILED and "icc_profile" in about:
        profiled = None if picture.mode == "CMYK" else _converted(result, about["icc_profile"], mode, back=True)
        if profiled is None:
            del about["icc_profile"]
        result = profiled or result
    new, old = np.asarray(result.convert(mode)), np.asarray(own.convert(mode))
    out = Image.fromarray(np.where(changed if mode == "L" else changed[:, :, None], new, old))
    if alpha:
        out.putalpha(alpha)
    out.info.update(about)
    return out


def to_srgb(picture: Image.Image) -> Image.Image:
    """The picture with its colour profile applied, where it has one that fits."""
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in PROFILED:
        return picture
    return _converted(picture, profile, "RGBA" if picture.mode == "RGBA" else "RGB") or picture


def _converted(picture: Image.Image, profile: bytes, mode: str, back: bool = False) -> Image.Image | None:
    """The picture from a colour profile to sRGB, or back; None where the profile is damaged or does not fit."""
    from PIL import ImageCms

    try:
        own, srgb = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
        given, wanted = (srgb, own) if back else (own, srgb)
        return ImageCms.profileToProfile(picture, given, wanted, outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def upright(picture: Image.Image) -> Image.Image:
    """The picture, turned as its EXIF tag says. Raises what Pillow does for damaged pixels."""
    from PIL import ImageOps

    picture.load()
    try:
        return ImageOps.exif_transpose(picture)
    except DAMAGE:  # of a damaged EXIF block: it says nothing about the pixels
        return picture


def _to_rgb(picture: Image.Image) -> Frame:
    from PIL import Image

    picture = to_srgb(picture)
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.nan_to_num(np.asarray(picture, dtype=np.float32))
        # Floats are 0 ... 1 by custom, but Pillow itself makes them 0 ... 255.
        top = 65535.0 if picture.mode != "F" else 1.0 if values.max() <= 1.01 else 255.0
        picture = Image.fromarray(((values / top).clip(0, 1) * 255 + 0.5).astype(np.uint8))
    return np.array(on_white(picture).convert("RGB"))


def on_white(picture: Image.Image) -> Image.Image:
    """The picture without its transparency."""
    from PIL import Image

    if not picture.has_transparency_data:
        return picture
    rgba = picture.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    white.alpha_composite(rgba)
    return white.convert("L" if picture.mode in GREY else "RGB")


def check_picture(picture: Image.Image, name: str) -> None:
    """Raises BadInput for a picture that is too large, or empty."""
    check_size(*picture.size, name)
    if 0 in picture.size:
        raise BadInput(f"{name} has {picture.width} x {picture.height} pixels: it is empty")


def check_size(width: int, height: int, name: str) -> None:
    """Raises BadInput for more than MAX_PIXELS."""
    if width * height > MAX_PIXELS:
        raise BadInput(
            f"{name} has {width} x {height} pixels, expected at most {MAX_PIXELS:,} in all; scale it down first"
        )
