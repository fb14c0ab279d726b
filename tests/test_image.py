"""Every kind of picture comes in as the same frame, and results go back in the same kind."""

import io
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from fetfast import image
from fetfast.errors import BadInput

RNG = np.random.default_rng(0)
FRAME = RNG.integers(0, 256, (6, 4, 3), dtype=np.uint8)


def roundtrip(value):
    frames, batched, give_back = image.read(value, "tgt")
    return frames, batched, give_back(frames)


def test_numpy_comes_back_as_numpy():
    (frame,), batched, back = roundtrip(FRAME)
    assert not batched
    np.testing.assert_array_equal(frame, FRAME)
    np.testing.assert_array_equal(back, FRAME)


def test_a_leading_axis_is_a_batch():
    batch = np.stack([FRAME, FRAME[::-1]])
    frames, batched, back = roundtrip(batch)
    assert batched and len(frames) == 2
    np.testing.assert_array_equal(back, batch)
    one = roundtrip(batch[:1])[2]
    assert one.shape == (1, 6, 4, 3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
def test_torch_is_chw_in_its_own_dtype(dtype):
    tensor = torch.from_numpy(FRAME).permute(2, 0, 1)
    tensor = tensor if dtype == torch.uint8 else (tensor / 255).to(dtype)
    (frame,), batched, back = roundtrip(tensor)
    np.testing.assert_array_equal(frame, FRAME)
    assert not batched and back.dtype == dtype and back.shape == (3, 6, 4)
    torch.testing.assert_close(back, tensor)
    assert roundtrip(tensor[None])[2].shape == (1, 3, 6, 4)


class Foreign:
    """An array of a library that we do not know: all it has is DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_dlpack_keeps_layout_and_dtype(layout, dtype):
    array = FRAME if layout == "HWC" else np.ascontiguousarray(FRAME.transpose(2, 0, 1))
    array = array if dtype == np.uint8 else (array / 255).astype(dtype)
    (frame,), _, back = roundtrip(Foreign(array))
    np.testing.assert_array_equal(frame, FRAME)
    assert back.dtype == dtype
    np.testing.assert_allclose(back, array, atol=1e-6)


def test_a_list_gives_each_its_own_kind(tmp_path: Path):
    path = tmp_path / "a.png"
    Image.fromarray(FRAME).save(path)
    values = [str(path), Image.fromarray(FRAME), FRAME, torch.from_numpy(FRAME).permute(2, 0, 1)]
    frames, batched, back = roundtrip(values)
    assert batched and all((f == FRAME).all() for f in frames)
    assert [type(b) for b in back] == [np.ndarray, Image.Image, np.ndarray, torch.Tensor]


def test_one_image_takes_several_results():
    give_back = image.read(FRAME)[2]
    assert give_back([FRAME, FRAME]).shape == (2, 6, 4, 3)
    give_back = image.read(torch.zeros(3, 6, 4))[2]
    assert give_back([FRAME, FRAME]).shape == (2, 3, 6, 4)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (FRAME[..., 0], "shape [6, 4]"),
        (np.zeros((6, 4, 4), np.uint8), "shape [6, 4, 4]"),
        (FRAME / 255.0, "float64"),
        (np.zeros((0, 4, 3), np.uint8), "empty"),
        (np.broadcast_to(np.uint8(0), (30000, 30000, 3)), "at most"),
        (torch.full((3, 4, 4), float("nan")), "NaN"),
        (torch.full((3, 4, 4), 200.0), "0 ... 1"),
        (torch.zeros(3, 4, 4, dtype=torch.int32), "int32"),
        (torch.zeros(4, 4, 3), "shape [4, 4, 3]"),
        ([], "empty list"),
        ([np.zeros((2, 4, 4, 3), np.uint8)], "itself a batch"),
        (42, "int"),
        (None, "NoneType"),
        (b"jpeg", "bytes"),
    ],
)
def test_what_is_no_image_is_refused(value, words):
    with pytest.raises(BadInput, match="tgt") as caught:
        image.read(value, "tgt")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def encoded(pil: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    pil.save(buffer, format, **options)
    return buffer.getvalue()


def write(folder: Path, content: bytes, name: str = "file.png") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_exif_turns_the_picture(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    path = write(tmp_path, encoded(Image.fromarray(FRAME), "PNG", exif=exif))
    np.testing.assert_array_equal(image.load(path), np.rot90(FRAME, -1))


def test_sixteen_bits_keep_their_brightness(tmp_path: Path):
    grey = np.full((5, 5), 128 * 257, np.uint16)
    path = write(tmp_path, encoded(Image.fromarray(grey), "PNG"))
    assert (image.load(path) == 128).all()


def test_transparency_lies_on_white(tmp_path: Path):
    rgba = np.zeros((5, 5, 4), np.uint8)
    assert (image.load(write(tmp_path, encoded(Image.fromarray(rgba), "PNG"))) == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_mode_of_png_is_read(tmp_path: Path, mode):
    path = write(tmp_path, encoded(Image.fromarray(FRAME).convert(mode), "PNG"))
    assert image.load(path).shape == FRAME.shape


def test_cmyk_is_read(tmp_path: Path):
    flat = Image.new("RGB", (8, 8), (200, 100, 50))
    path = write(tmp_path, encoded(flat.convert("CMYK"), "JPEG", quality=100), "a.jpg")
    assert np.abs(image.load(path).astype(int) - (200, 100, 50)).max() < 8


def test_colour_profiles_are_applied(tmp_path: Path):
    lab_like = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = write(tmp_path, encoded(Image.fromarray(FRAME), "PNG", icc_profile=lab_like))
    assert np.abs(image.load(path).astype(int) - FRAME).max() <= 1
    path = write(tmp_path, encoded(Image.fromarray(FRAME), "PNG", icc_profile=b"not a profile"))
    np.testing.assert_array_equal(image.load(path), FRAME)


def test_bad_files_are_one_clear_line(tmp_path: Path):
    jpeg = encoded(Image.fromarray(np.tile(FRAME, (40, 40, 1))), "JPEG")
    huge = bytearray(encoded(Image.fromarray(FRAME), "PNG"))
    huge[16:24] = (30000).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    cases = {
        "empty": "(0 bytes) is not an image",
        "text": "not an image",
        "cut": "cannot be read",
        "huge": "pixels",
        "missing": "no such file",
    }
    write(tmp_path, b"", "empty")
    write(tmp_path, b"hello there", "text")
    write(tmp_path, jpeg[: len(jpeg) // 2], "cut")
    write(tmp_path, bytes(huge), "huge")
    for name, words in cases.items():
        with pytest.raises(BadInput) as caught:
            image.load(tmp_path / name)
        assert words in str(caught.value) and "\n" not in str(caught.value), name
    with pytest.raises(BadInput, match="is a folder"):
        image.load(tmp_path)


def test_pipes_are_refused_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(BadInput, match="pipe"):
        image.load(tmp_path / "pipe.png")


def test_nothing_is_renamed_over_a_pipe_or_put_where_none_can_be(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(BadInput, match="pipe"):
        image.save(tmp_path / "pipe.png", FRAME)
    assert (tmp_path / "pipe.png").is_fifo()
    if Path("/proc/self").is_dir():
        with pytest.raises(BadInput, match=r"^/proc/o.png cannot be written"):
            image.save("/proc/o.png", FRAME)


def test_postscript_is_not_run(tmp_path: Path):
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(BadInput, match="not an image"):
        image.load(write(tmp_path, script, "a.png"))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_big_image_is_named_once(tmp_path: Path):
    path = write(tmp_path, encoded(Image.new("1", (12_000, 8_000)), "PNG"))
    with pytest.raises(BadInput) as caught:
        image.load(path)
    assert str(caught.value).startswith(f"{path} has 12000 x 8000 pixels")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_any_damage_to_a_file_is_read_or_refused(tmp_path: Path, format):
    whole = encoded(Image.fromarray(np.tile(FRAME, (8, 8, 1))), format)
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[random.integers(len(damaged), size=3)] = random.integers(256, size=3)
        path = write(tmp_path, damaged[: random.integers(1, 2 * len(damaged))].tobytes())
        try:
            assert image.load(path).dtype == np.uint8
        except BadInput as error:
            assert str(error).count(str(path)) == 1


def test_damaged_pil_images_and_odd_tensors_are_refused():
    jpeg = encoded(Image.fromarray(np.tile(FRAME, (40, 40, 1))), "JPEG")
    closed = Image.fromarray(FRAME)
    closed.close()
    for value in (Image.open(io.BytesIO(jpeg[: len(jpeg) // 2])), closed, Image.new("La", (4, 4))):
        with pytest.raises(BadInput, match="src cannot be read"):
            image.read(value, "src")
    tensor = torch.rand(3, 4, 4)
    for value in (tensor.to_sparse(), tensor.to("meta"), torch.uint8, torch.nn.Identity()):
        with pytest.raises(BadInput, match="src is a "):
            image.read(value, "src")


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp"])
def test_what_is_written_is_marked(tmp_path: Path, ending):
    path = tmp_path / f"out{ending}"
    image.save(path, FRAME)
    assert image.is_marked(path) and image.load(path).shape == FRAME.shape
    image.save(path, FRAME, mark=False)
    assert not image.is_marked(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_png_keeps_every_pixel(tmp_path: Path):
    image.save(tmp_path / "a.png", FRAME)
    np.testing.assert_array_equal(image.load(tmp_path / "a.png"), FRAME)


def test_what_cannot_be_written_is_said_before_the_work(tmp_path: Path):
    for path, words in {
        tmp_path / "a.gif": "ends in",
        tmp_path / "a": "ends in",
        tmp_path / "no" / "a.png": "does not exist",
        tmp_path / "dir.png": "is a folder",
    }.items():
        (tmp_path / "dir.png").mkdir(exist_ok=True)
        with pytest.raises(BadInput, match=words):
            image.check_output(path)


def test_an_image_that_fills_the_disk_leaves_nothing(tmp_path: Path):
    """The limit on a file's size stands for the disk's end."""
    code = f"""
import resource, numpy as np
from fetfast import BadInput, image
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
for ending in image.FORMATS:
    try:
        image.save({str(tmp_path)!r} + "/a" + ending, noise)
    except BadInput as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.count("cannot be written") == len(image.FORMATS), done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("top", [1, 255])
def test_floats_are_0_to_1_or_0_to_255(tmp_path: Path, top):
    grey = FRAME[:, :, 0].copy()
    grey[0, 0] = 255
    path = write(tmp_path, encoded(Image.fromarray((grey / np.float32(255 / top)).astype(np.float32)), "TIFF"))
    np.testing.assert_array_equal(image.load(path)[:, :, 1], grey)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(BadInput, match="No space left"):
        image.save(tmp_path / "a.png", FRAME)
    assert not list(tmp_path.iterdir())
