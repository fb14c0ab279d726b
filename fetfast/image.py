"""Images in and out: whatever a user has becomes frames u8 [H, W, 3] RGB, and results go back in the same form.

Files that we write say in their metadata that they were synthesised (IPTC digital source type, in XMP).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fetfast.errors import BadInput
from fetfast.files import written

Frame = NDArray[np.uint8]  # [H, W, 3] RGB
GiveBack = Callable[[list[Frame]], Any]

DAMAGE = (OSError, SyntaxError, ValueError)  # what Pillow raises on damaged files
MAX_PIXELS = 64_000_000  # a frame of 8000 x 8000; beyond it an image is a mistake or an attack
# What is read: not what Pillow hands to other programs (EPS goes to Ghostscript). A JPEG of several pictures is a JPEG.
READABLE = ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "JPEG2000", "AVIF", "ICO")
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
SYNTHESISED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"

_XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="fetfast"
 Iptc4xmpExt:DigitalSourceType="{SYNTHESISED}"/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def read(images: Any, name: str = "image") -> tuple[list[Frame], bool, GiveBack]:
    """Turns a user's image or batch into frames.

    images: a path; a PIL image; a NumPy array u8 [H, W, 3] RGB; a torch tensor [3, H, W], u8 or float in 0 ... 1,
    on any device; any other object with `__dlpack__`, u8 or float, its channels first or last; a batch of one of
    these: a list (kinds may differ) or one more leading axis.

    Returns the frames, whether it was a batch, and a function that turns as many results (or, for a single image,
    any number of results, stacked) back into the kind, layout, dtype and device of `images`. A path gives a NumPy
    array. Raises BadInput, naming the argument as `name`.
    """
    if isinstance(images, list | tuple):
        if not images:
            raise BadInput(f"{name} is an empty list, expected at least one image")
        parts = [_read_one(image, f"{name}[{i}]") for i, image in enumerate(images)]
        for i, (frames, batched, _) in enumerate(parts):
            if batched:
                raise BadInput(f"{name}[{i}] is itself a batch of {len(frames)}; pass one list or one batch, not both")
        return [p[0][0] for p in parts], True, lambda out: [p[2]([o]) for p, o in zip(parts, out, strict=True)]
    return _read_one(images, name)


def _read_one(image: Any, name: str) -> tuple[list[Frame], bool, GiveBack]:
    if isinstance(image, str | os.PathLike):
        return [load(image)], False, _arrays
    module = type(image).__module__.partition(".")[0]
    if module == "PIL":
        from PIL import Image

        return [_from_pil(image, name)], False, lambda out: _one_or_list([Image.fromarray(o) for o in out])
    if isinstance(image, np.ndarray):
        array = _check(image, name, channels=-1, what="HWC RGB uint8")
        if array.dtype != np.uint8:
            raise BadInput(f"{name} is a {array.dtype} array, expected uint8; multiply 0 ... 1 by 255 and convert")
        batched = array.ndim == 4
        return list(array if batched else array[None]), batched, _stacked if batched else _arrays
    if "torch" in sys.modules and isinstance(image, sys.modules["torch"].Tensor):
        return _read_torch(image, name)
    if hasattr(image, "__dlpack__"):
        return _read_dlpack(image, name)
    raise BadInput(
        f"{name} is a {type(image).__name__}, expected a path, a PIL image, a NumPy array, a torch tensor, "
        "an object with __dlpack__, or a list of them"
    )


def _arrays(out: list[Frame]) -> Any:
    return out[0] if len(out) == 1 else _stacked(out)


def _stacked(out: list[Frame]) -> Any:
    return np.stack(out)


def _one_or_list(out: list[Any]) -> Any:
    return out[0] if len(out) == 1 else out


def _read_torch(tensor: Any, name: str) -> tuple[list[Frame], bool, GiveBack]:
    import torch

    _check(tensor, name, channels=-3, what="CHW, float 0 ... 1 or uint8")
    if tensor.layout != torch.strided or tensor.is_meta:
        raise BadInput(f"{name} is a sparse or meta tensor, expected a dense one that holds its pixels")
    if not (tensor.is_floating_point() or tensor.dtype == torch.uint8):
        raise BadInput(f"{name} is a {tensor.dtype} tensor, expected torch.uint8 or a float type in 0 ... 1")
    batched = tensor.ndim == 4
    host = tensor.detach().cpu()
    array = (host.float() if host.is_floating_point() else host).numpy()
    frames = [np.ascontiguousarray(a.transpose(1, 2, 0)) for a in _to_u8(array, name).reshape(-1, *array.shape[-3:])]

    def give_back(out: list[Frame]) -> Any:
        stacked = torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).to(tensor.device)
        result = (stacked.to(tensor.dtype) / 255) if tensor.is_floating_point() else stacked.contiguous()
        return result if batched or len(out) > 1 else result[0]

    return frames, batched, give_back


def _read_dlpack(image: Any, name: str) -> tuple[list[Frame], bool, GiveBack]:
    """Array-API objects (CuPy, JAX, ...): the channel axis is the one that measures 3, the last one if both do."""
    try:
        array = np.from_dlpack(image)
    except (BufferError, RuntimeError, TypeError):  # not in the host's memory: let its own library bring it here
        if not hasattr(image, "get"):
            raise BadInput(
                f"{name} is a {type(image).__name__} whose memory NumPy cannot read; move it to the CPU or to torch"
            ) from None
        array = image.get()
    last = array.ndim >= 3 and array.shape[-1] == 3
    _check(array, name, channels=-1 if last else -3, what="HWC or CHW, float 0 ... 1 or uint8")
    batched, dtype = array.ndim == 4, array.dtype
    hwc = array if last else np.moveaxis(array, -3, -1)
    frames = list(np.ascontiguousarray(_to_u8(hwc, name)).reshape(-1, *hwc.shape[-3:]))

    def give_back(out: list[Frame]) -> Any:
        stacked = np.stack(out)
        if dtype != np.uint8:
            stacked = (stacked / 255).astype(dtype)
        if not last:
            stacked = np.ascontiguousarray(np.moveaxis(stacked, -1, -3))
        result = stacked if batched or len(out) > 1 else stacked[0]
        if not hasattr(image, "__array_namespace__"):
            return result
        return image.__array_namespace__().asarray(result, device=image.device)

    return frames, batched, give_back


def _check(array: Any, name: str, channels: int, what: str) -> Any:
    shape = tuple(array.shape)
    if len(shape) not in (3, 4) or shape[channels] != 3:
        raise BadInput(f"{name} has shape {list(shape)}, expected {what}, alone or with one leading batch axis")
    if 0 in shape:
        raise BadInput(f"{name} has shape {list(shape)}: it is empty")
    height, width = (shape[-3], shape[-2]) if channels == -1 else (shape[-2], shape[-1])
    _check_size(width, height, name)
    return array


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise BadInput(
            f"{name} has {width} x {height} pixels, expected at most {MAX_PIXELS:,} in all; scale it down first"
        )


def _to_u8(array: NDArray[Any], name: str) -> Frame:
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise BadInput(f"{name} is {array.dtype}, expected uint8 or a float type in 0 ... 1")
    low, high = float(array.min()), float(array.max())  # a NaN anywhere makes both NaN
    if not (low >= -0.01 and high <= 1.01):
        raise BadInput(f"{name} has values from {low:g} to {high:g}, expected floats in 0 ... 1 without NaN")
    return (array.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def load(path: str | os.PathLike[str]) -> Frame:
    """Reads an image file as u8 [H, W, 3] sRGB: turned as its EXIF tag says, colour profile applied, 16 bits
    scaled to 8, palette and CMYK converted, transparency laid on white. Raises BadInput."""
    from PIL import Image, UnidentifiedImageError

    file = Path(path)
    if file.is_dir():
        raise BadInput(f"{path} is a folder, expected an image file")
    if not file.exists():
        raise BadInput(f"{path}: there is no such file")
    if not file.is_file():  # reading a pipe or a device may never end
        raise BadInput(f"{path} is a pipe or a device, expected an image file")
    try:
        opened = Image.open(file, formats=READABLE)
    except Image.DecompressionBombError:
        raise BadInput(f"{path} has more than {MAX_PIXELS:,} pixels; scale it down first") from None
    except UnidentifiedImageError:
        size = file.stat().st_size
        raise BadInput(f"{path} ({size} bytes) is not an image that can be read; try PNG, JPEG or WebP") from None
    except DAMAGE as error:
        raise BadInput(f"{path} cannot be read as an image: {error}") from None
    with opened as image:
        return _from_pil(image, str(path))


def _from_pil(image: Any, name: str) -> Frame:
    width, height = image.size
    _check_size(width, height, name)
    if 0 in image.size:
        raise BadInput(f"{name} has {width} x {height} pixels: it is empty")
    try:
        return _to_rgb(image)
    except DAMAGE as error:
        raise BadInput(f"{name} cannot be read as an image: {error}; save it anew as PNG or JPEG") from None


def _to_rgb(image: Any) -> Frame:
    from PIL import Image, ImageOps

    image = _to_srgb(ImageOps.exif_transpose(image))
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float32))
        # Floats are 0 ... 1 by custom, but Pillow itself makes them 0 ... 255.
        top = 65535.0 if image.mode != "F" else 1.0 if values.max() <= 1.01 else 255.0
        image = Image.fromarray(((values / top).clip(0, 1) * 255 + 0.5).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, "white")
        image.alpha_composite(rgba)
    return np.array(image.convert("RGB"))


def _to_srgb(image: Any) -> Any:
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return image
    from io import BytesIO

    from PIL import ImageCms

    mode = "RGB" if image.mode in ("CMYK", "L") else image.mode
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a damaged or unfitting profile says nothing about the pixels: read them as sRGB
    return converted


def save(path: str | os.PathLike[str], frame: Frame, mark: bool = True) -> None:
    """Writes u8 [H, W, 3] RGB as PNG, JPEG or WebP by the name's ending, whole or not at all. Raises BadInput.

    mark: its XMP metadata says that it was synthesised."""
    from PIL import Image, PngImagePlugin

    file = Path(path)
    format = FORMATS.get(file.suffix.lower())
    check_output(file)
    options: dict[str, Any] = {} if format == "PNG" else {"quality": 95}
    if mark and format == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", _XMP)
        options["pnginfo"] = info
    elif mark:
        options["xmp"] = _XMP.encode()
    with written(file) as aside:
        Image.fromarray(frame).save(aside, format, **options)


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

    with Image.open(path) as image:
        xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    return SYNTHESISED in (xmp if isinstance(xmp, str) else xmp.decode("utf-8", "replace"))
