"""A picture comes back as what it was: mode, transparency, colours and rights, but not what is wrong of the result."""

import io
import struct
import sys

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, IptcImagePlugin

from fetfast import image
from fetfast.errors import BadInput, Unavailable

RNG = np.random.default_rng(0)
FRAME = RNG.integers(0, 256, (24, 16, 3), dtype=np.uint8)
ARTIST, COPYRIGHT, EXPOSURE, THUMBNAIL = 0x013B, 0x8298, 0x829A, 0x0201
GPS = {1: "N", 2: (51.0, 30.0, 0.0)}


def through(picture: Image.Image, change=lambda frame: frame) -> Image.Image:
    """A picture as `transfer` gives it back after a change of its frame."""
    (frame,), _, give_back = image.read(picture, "tgt")
    return give_back([change(frame)])


def upper(frame):
    """The upper rows turned into their opposite."""
    return np.concatenate([255 - frame[:6], frame[6:]])


# sRGB's colour profile, but that red and green have changed places: nobody could miss that it is applied.
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PROFILE = PROFILE.replace(b"rXYZ", b"tXYZ", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"tXYZ", b"gXYZ", 1)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_what_is_not_changed_is_what_it_was(mode):
    rgba = np.dstack([FRAME, RNG.integers(0, 256, FRAME.shape[:2], dtype=np.uint8)])
    picture = Image.fromarray(rgba).convert(mode)
    back = through(picture)
    assert back.mode == mode
    np.testing.assert_array_equal(np.asarray(back), np.asarray(picture))


@pytest.mark.parametrize(
    ("modes", "becomes"),
    [("1", "L"), ("P", "RGB"), ("P PA", "RGBA"), ("CMYK", "RGB"), ("L I;16", "L"), ("L F", "L")],
)
def test_other_modes_come_back_as_the_nearest(modes, becomes):
    picture = Image.fromarray(FRAME)
    for mode in modes.split():
        picture = picture.convert(mode)
    back = through(picture, upper)
    assert back.mode == becomes and back.size == picture.size


def test_grey_stays_grey():
    grey = Image.fromarray(FRAME).convert("L")
    back = through(grey, upper)
    assert back.mode == "L"
    np.testing.assert_array_equal(np.asarray(back)[:6], 255 - np.asarray(grey)[:6])


def test_transparency_comes_back_and_what_shines_through_is_no_white():
    rgba = np.dstack([FRAME, np.full(FRAME.shape[:2], 128, np.uint8)])
    rgba[0, 0, 3], rgba[0, 1, 3] = 0, 255
    back = np.asarray(through(Image.fromarray(rgba), lambda frame: 255 - (255 - frame) // 2))  # half of what is there
    np.testing.assert_array_equal(back[..., 3], rgba[..., 3])
    wanted = 255 - (255 - rgba[..., :3].astype(int)) // 2
    assert np.abs(back[..., :3] - wanted)[rgba[..., 3] > 0].max() <= 2
    np.testing.assert_array_equal(back[0, 0], rgba[0, 0])  # what is not to be seen stays as it was


def test_a_palette_s_transparency_comes_back(tmp_path):
    picture = Image.fromarray(FRAME).convert("P")
    picture.save(tmp_path / "a.gif", transparency=int(np.asarray(picture)[3, 3]))
    opened = image.open_picture(tmp_path / "a.gif")
    back = through(opened)
    assert back.mode == "RGBA" and np.asarray(back)[3, 3, 3] == 0
    np.testing.assert_array_equal(np.asarray(back), np.asarray(opened.convert("RGBA")))


def test_the_colour_profile_is_applied_and_comes_back(tmp_path):
    Image.fromarray(FRAME).save(tmp_path / "a.png", icc_profile=PROFILE)
    seen = image.load(tmp_path / "a.png")
    assert np.abs(seen.astype(int) - FRAME).mean() > 10, "the profile is another than sRGB"
    opened = image.open_picture(tmp_path / "a.png")
    back = through(opened)
    np.testing.assert_array_equal(np.asarray(back), FRAME)
    dimmed = through(opened, lambda frame: (frame * 0.5).astype(np.uint8))
    image.save(tmp_path / "b.png", dimmed)
    again = image.load(tmp_path / "b.png")
    inside = ((seen > 20) & (seen < 235)).all(-1)
    assert np.abs(again.astype(int) - (seen * 0.5).astype(np.uint8))[inside].max() <= 8
    with Image.open(tmp_path / "b.png") as written:
        assert written.info["icc_profile"] == PROFILE


def exif() -> Image.Exif:
    made = Image.Exif()
    made[ARTIST], made[COPYRIGHT], made[0x0112] = "Ann", "(c) Ann", 6
    made[0x8769] = {EXPOSURE: 0.01, 0xA002: 16, 0xA003: 24}
    made[0x8825] = GPS
    return made


XMP = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="51,30N"
 xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/" xmpRights:WebStatement="https://example.org/licence"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture">
<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">(c) Ann &amp; Bob</rdf:li></rdf:Alt></dc:rights>
<Iptc4xmpExt:PersonInImage><rdf:Bag><rdf:li>Carol</rdf:li></rdf:Bag></Iptc4xmpExt:PersonInImage>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


@pytest.mark.parametrize("ending", image.FORMATS)
def test_rights_and_exif_stay_place_and_thumbnail_go(tmp_path, ending):
    Image.fromarray(FRAME).save(tmp_path / "a.jpg", exif=exif(), xmp=XMP)
    result = through(image.open_picture(tmp_path / "a.jpg"))
    Image.fromarray(FRAME).save(tmp_path / "a.tiff", exif=exif().tobytes())
    assert through(image.open_picture(tmp_path / "a.tiff")).getexif()[COPYRIGHT] == "(c) Ann"
    assert result.size == (24, 16), "turned as EXIF says"
    image.save(tmp_path / f"b{ending}", result)
    with Image.open(tmp_path / f"b{ending}") as written:
        tags = written.getexif()
        inner, place = tags.get_ifd(0x8769), tags.get_ifd(0x8825)
        xmp = written.info.get("xmp") or written.info["XML:com.adobe.xmp"]
    assert (tags[ARTIST], tags[COPYRIGHT], float(inner[EXPOSURE])) == ("Ann", "(c) Ann", 0.01)
    assert (inner[0xA002], inner[0xA003]) == (24, 16) and tags.get(0x0112, 1) == 1 and not place
    xmp = xmp if isinstance(xmp, str) else xmp.decode()
    assert "(c) Ann &amp; Bob" in xmp and "https://example.org/licence" in xmp
    assert "51,30N" not in xmp and "Carol" not in xmp and "digitalCapture" not in xmp
    assert image.is_marked(tmp_path / f"b{ending}")
    image.save(tmp_path / f"c{ending}", result, mark=False, keep_gps=True)
    with Image.open(tmp_path / f"c{ending}") as written:
        assert written.getexif().get_ifd(0x8825)[1] == "N"
    assert not image.is_marked(tmp_path / f"c{ending}")


def test_a_thumbnail_of_the_old_picture_does_not_stay(tmp_path):
    small = io.BytesIO()
    Image.fromarray(FRAME).save(small, "JPEG")
    block = Image.Exif()
    block[COPYRIGHT] = "(c) Ann"
    head = bytearray(block.tobytes())
    at = len(head) - 6  # where the second directory will stand; the first one holds one tag, and then says where
    head[28:32] = at.to_bytes(4, "big")
    entries = ((THUMBNAIL, at + 30), (THUMBNAIL + 1, len(small.getvalue())))
    directory = b"".join(struct.pack(">HHLL", tag, 4, 1, value) for tag, value in entries)
    head += b"\0\2" + directory + bytes(4) + small.getvalue()
    Image.fromarray(FRAME).save(tmp_path / "a.jpg", exif=bytes(head))
    with Image.open(tmp_path / "a.jpg") as opened:
        assert opened.getexif().get_ifd(ExifTags.IFD.IFD1), "there is a thumbnail"
        image.save(tmp_path / "b.jpg", opened)
    with Image.open(tmp_path / "b.jpg") as written:
        assert written.getexif()[COPYRIGHT] == "(c) Ann" and not written.getexif().get_ifd(ExifTags.IFD.IFD1)


def test_older_forms_of_copyright_are_kept(tmp_path):
    field = lambda number, text: b"\x1c\x02" + bytes([number]) + len(text).to_bytes(2, "big") + text  # noqa: E731
    iptc = field(116, b"(c) Ann") + field(80, b"Ann")
    block = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + len(iptc).to_bytes(4, "big") + iptc + b"\0" * (len(iptc) % 2)
    jpeg = io.BytesIO()
    Image.fromarray(FRAME).save(jpeg, "JPEG", extra=b"\xff\xed" + (len(block) + 2).to_bytes(2, "big") + block)
    (tmp_path / "a.jpg").write_bytes(jpeg.getvalue())
    with Image.open(tmp_path / "a.jpg") as opened:
        assert IptcImagePlugin.getiptcinfo(opened)
    image.save(tmp_path / "b.png", through(image.open_picture(tmp_path / "a.jpg")))
    with Image.open(tmp_path / "b.png") as written:
        assert written.info["XML:com.adobe.xmp"].count("Ann") == 2


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("block", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + bytes(range(256)), b"nonsense"])
@pytest.mark.parametrize("xmp", [b"<x:xmpmeta", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", b"\xff\xfe\0"])
def test_damaged_metadata_is_left_out(tmp_path, block, xmp):
    Image.fromarray(FRAME).save(tmp_path / "a.png", exif=block)
    opened = image.open_picture(tmp_path / "a.png")
    opened.info["xmp"] = xmp
    image.save(tmp_path / "b.jpg", through(opened))
    assert image.is_marked(tmp_path / "b.jpg")


def test_metadata_too_long_for_a_jpeg_does_not_hinder(tmp_path):
    made = exif()
    made[0x8769] = {EXPOSURE: 0.01, 0x927C: bytes(70_000)}
    Image.fromarray(FRAME).save(tmp_path / "a.png", exif=made)
    image.save(tmp_path / "b.jpg", through(image.open_picture(tmp_path / "a.png")))
    with Image.open(tmp_path / "b.jpg") as written:
        assert float(written.getexif().get_ifd(0x8769)[EXPOSURE]) == 0.01


@pytest.mark.parametrize("name", ["a.avif", "a.ico", "a.gif", "a.webp", "a.png", "a.bmp", "a.tiff"])
def test_pictures_of_many_kinds_are_read(tmp_path, name):
    size = (48, 48)  # an icon's
    Image.fromarray(FRAME).resize(size).save(tmp_path / name, **({"sizes": [size]} if name == "a.ico" else {}))
    assert image.is_still(tmp_path / name) and image.load(tmp_path / name).shape == (48, 48, 3)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_what_moves_is_no_still(tmp_path, name):
    frames = [Image.fromarray(RNG.integers(0, 256, (24, 24, 3), dtype=np.uint8)) for _ in range(3)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    assert not image.is_still(tmp_path / name)


def test_heic_is_read(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    picture = Image.fromarray(np.tile(FRAME, (4, 4, 1)))
    picture.info["exif"] = exif().tobytes()
    heif.from_pillow(picture).save(tmp_path / "a.heic", quality=95)
    opened = image.open_picture(tmp_path / "a.heic")
    assert opened.getexif()[COPYRIGHT] == "(c) Ann" and image.is_still(tmp_path / "a.heic")
    assert image.load(tmp_path / "a.heic").shape in ((96, 64, 3), (64, 96, 3))


def test_heic_without_its_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(Unavailable, match="pip install pillow-heif") as caught:
        image.load(tmp_path / "a.heic")
    assert "\n" not in str(caught.value) and "a.heic" in str(caught.value)


def test_a_damaged_heic_is_one_line(tmp_path):
    pytest.importorskip("pillow_heif")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(BadInput, match=r"a\.heic cannot be read"):
        image.load(tmp_path / "a.heic")


def test_a_jpeg_lies_on_white(tmp_path):
    image.save(tmp_path / "a.jpg", Image.new("RGBA", (8, 8), (0, 0, 0, 0)))
    assert image.load(tmp_path / "a.jpg").min() > 250
    image.save(tmp_path / "a.jpg", Image.new("LA", (8, 8), (0, 0)))
    with Image.open(tmp_path / "a.jpg") as written:
        assert written.mode == "L"


def test_the_shared_pictures_are_read(shared):
    for name in ("photo.avif", "icon.ico"):
        assert image.is_still(shared / "cases" / name) and image.load(shared / "cases" / name).ndim == 3
