"""What a picture says of itself, and its result still says: EXIF, the colour profile, and whose it is.

Left out is what would be wrong of the result (orientation, a thumbnail of the old picture, an editor's history), and
what nobody asked to publish: where it was taken, and who XMP says is to be seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

if TYPE_CHECKING:
    from PIL import Image

SYNTHESISED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"

# EXIF tags. Of the picture itself: what it shows, camera, resolution, software, time, artist, host, copyright, and
# Windows' title, comment, author, keywords and subject. Others say how the file was laid out.
KEPT = (*range(0x010E, 0x0111), 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298, *range(0x9C9B, 0x9CA0))
ARTIST, COPYRIGHT, EXIF, GPS, MAKER_NOTE, WIDTH, HEIGHT = 0x013B, 0x8298, 0x8769, 0x8825, 0x927C, 0xA002, 0xA003
LARGEST = 60_000  # bytes of EXIF, and of XMP: a JPEG has room for 65,533

NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "plus": "http://ns.useplus.org/ldf/xmp/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
RIGHTS = ("dc:rights", "dc:creator", "photoshop:Credit", "xmpRights:", "plus:")  # what of XMP says whose it is


def of(picture: Image.Image) -> dict[str, Any]:
    """What stays of a PIL image's metadata, as Pillow has it in `info`: `exif`, `icc_profile` and `xmp`, bytes each;
    those that there are."""
    found = {"exif": _exif(picture), "icc_profile": picture.info.get("icc_profile"), "xmp": _xmp(picture)}
    return {name: value for name, value in found.items() if value}


def without_gps(exif: bytes) -> bytes:
    """EXIF as `of` gives it, without the place where the picture was taken."""
    from PIL import Image

    kept = Image.Exif()
    kept.load(exif)
    kept.pop(GPS, None)
    return _bytes(dict(kept) | ({EXIF: kept.get_ifd(EXIF)} if EXIF in kept else {}))


def mark(xmp: bytes | None) -> bytes:
    """XMP that says, beside the rights in `xmp`, that the picture was synthesised."""
    root = ElementTree.fromstring(xmp) if xmp else _packet()
    description = next(root.iter(_name("rdf:Description")))
    description.set(_name("xmp:CreatorTool"), "fetfast")
    description.set(_name("Iptc4xmpExt:DigitalSourceType"), SYNTHESISED)
    return _serialised(root)


def raw_xmp(picture: Image.Image) -> bytes:
    """The XMP packet of a PIL image as its file had it; empty where it had none."""
    found = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp") or b""
    return found.encode("utf-8", "replace") if isinstance(found, str) else bytes(found)


def _exif(picture: Image.Image) -> bytes | None:
    """All of it that fits and is sound; else its words alone, else nothing."""
    try:
        whole = picture.getexif()
        kept = {tag: whole[tag] for tag in KEPT if tag in whole}
        inner, place = dict(whole.get_ifd(EXIF)), dict(whole.get_ifd(GPS))
        inner |= {tag: size for tag, size in ((WIDTH, picture.width), (HEIGHT, picture.height)) if tag in inner}
    except Exception:  # whatever it is that a damaged block makes Pillow say
        return None
    parts = {tag: part for tag, part in ((EXIF, inner), (GPS, place)) if part}
    slim = {EXIF: {tag: value for tag, value in inner.items() if tag != MAKER_NOTE}}
    words = {tag: kept[tag] for tag in (ARTIST, COPYRIGHT) if tag in kept}
    for attempt in (kept | parts, kept | parts | slim, words):
        try:
            if attempt and len(made := _bytes(attempt)) <= LARGEST:
                return made
        except Exception:  # values of types that the tags cannot have
            continue
    return None


def _bytes(tags: dict[int, Any]) -> bytes:
    from PIL import Image

    made = Image.Exif()
    for tag, value in tags.items():
        made[tag] = value
    return made.tobytes()


def _xmp(picture: Image.Image) -> bytes | None:
    """Whose the picture is, as XMP, IPTC or the text of a PNG say it."""
    root = _packet()
    (ours,) = root.iter(_name("rdf:Description"))
    for description in _parsed(raw_xmp(picture)).iter(_name("rdf:Description")):
        for key, value in description.items():
            if _is_right(key):
                ours.set(key, value)
        ours.extend(child for child in description if _is_right(child.tag))
    for name, container, text in _told(picture):
        if text and ours.find(_name(name)) is None:
            item = ElementTree.SubElement(ElementTree.SubElement(ElementTree.SubElement(
                ours, _name(name)), _name(container)), _name("rdf:li"))  # fmt: skip
            item.text = text
            if container == "rdf:Alt":
                item.set("{http://www.w3.org/XML/1998/namespace}lang", "x-default")
    made = _serialised(root)
    return made if (len(ours) or ours.attrib.keys() - {_name("rdf:about")}) and len(made) <= LARGEST else None


def _told(picture: Image.Image) -> list[tuple[str, str, str]]:
    """XMP's name, its container, and the text, of what older forms say: IPTC's blocks, and the text of a PNG."""
    from PIL import IptcImagePlugin

    try:
        iptc = IptcImagePlugin.getiptcinfo(picture) or {}  # type: ignore[arg-type]
    except Exception:  # a damaged block
        iptc = {}

    def text(key: tuple[int, int], word: str) -> str:
        value = iptc.get(key) or picture.info.get(word) or ""
        value = value[0] if isinstance(value, list) else value
        return "".join(c for c in (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))
                       if c.isprintable())  # fmt: skip

    return [
        ("dc:rights", "rdf:Alt", text((2, 116), "Copyright")),
        ("dc:creator", "rdf:Seq", text((2, 80), "Author")),
    ]


def _packet() -> Element:
    root = Element(_name("x:xmpmeta"))
    rdf = ElementTree.SubElement(root, _name("rdf:RDF"))
    ElementTree.SubElement(rdf, _name("rdf:Description"), {_name("rdf:about"): ""})
    return root


def _parsed(xmp: bytes) -> Element:
    """An empty packet where it is damaged, or declares entities: those can swell without end."""
    try:
        return _packet() if b"<!" in xmp or len(xmp) > 1 << 20 else ElementTree.fromstring(xmp.strip(b"\0"))
    except (ElementTree.ParseError, ValueError):
        return _packet()


def _serialised(root: Element) -> bytes:
    for prefix, namespace in NAMESPACES.items():
        ElementTree.register_namespace(prefix, namespace)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{body}<?xpacket end="w"?>'.encode()


def _name(prefixed: str) -> str:
    """ "dc:rights" as ElementTree has it."""
    prefix, _, name = prefixed.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{name}"


def _is_right(key: str) -> bool:
    names = map(_name, RIGHTS)
    return any(key.startswith(name) if name.endswith("}") else key == name for name in names)
