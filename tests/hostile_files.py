"""Files made to break whoever reads them: bombs, lies, loops and damage of every type."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

from PIL import Image

from tests import documents, pictures

_LOL = '<!ENTITY l0 "lol">' + "".join(
    f'<!ENTITY l{at} "{f"&l{at - 1};" * 10}">' for at in range(1, 10)
)
_ENTITIES = (
    f"<!DOCTYPE d [{_LOL}]>",
    '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    '<!DOCTYPE d [<!ENTITY x SYSTEM "http://169.254.169.254/latest/">]>',
    '<!DOCTYPE d SYSTEM "http://127.0.0.1:1/evil.dtd">',
    f'<!DOCTYPE d [<!ENTITY q "{"x" * 100_000}">]>',
    '<!DOCTYPE d [<!ENTITY % p SYSTEM "file:///etc/passwd">%p;]>',
)
_MAGICS: tuple[bytes, ...] = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"GIF89a",
    b"RIFF\xff\xff\xff\x7fWEBPVP8 ",
)
_MAGICS += (b"%PDF-1.7\n", b"PK\x03\x04", b"\0\0\0\x18ftypmp42", b"\x1a\x45\xdf\xa3\x9fwebm")


def hostile_files(dice: random.Random) -> Iterator[tuple[str, bytes]]:
    """(what it is, the file), without end: the made ones first, then mutations of good files."""
    yield from made()
    good = good_files()
    while True:
        name, data = dice.choice(good)
        how = dice.choice((_flipped, _truncated, _spliced, _repeated, _prefixed))
        yield f"{name}, {how.__name__[1:]}", how(data, dice)


def good_files() -> list[tuple[str, bytes]]:
    pages = [pictures.photo(200, 100)] * 2
    noise = Image.effect_noise((300, 200), 80).convert("RGB")
    found = [(kind, pictures.encoded(noise, kind)) for kind in ("PNG", "JPEG", "WEBP", "GIF")]
    return [
        *found,
        ("GIF", pictures.animation()),
        ("PDF", documents.pdf("A line of text", "and one more")),
        ("PDF", documents.scanned_pdf(*pages)),
        ("DOCX", documents.docx(*["A paragraph of text."] * 40)),
        ("XLSX", documents.xlsx([("Item", "Sum"), *(("Chair", at) for at in range(40))])),
        ("MP4", documents.video("mp4")),
        ("WEBM", documents.video("webm")),
        ("text", "Grüße und mehr. ".encode() * 50),
    ]


def made() -> Iterator[tuple[str, bytes]]:
    yield from _picture_bombs()
    yield from _document_bombs()
    yield from _pdf_bombs()
    yield from _polyglots()
    for magic in _MAGICS:
        for tail in (b"", bytes(5000), b"\xff" * 5000, bytes(range(256)) * 40):
            yield f"magic {magic[:4]!r}, nothing behind", magic + tail


def _picture_bombs() -> Iterator[tuple[str, bytes]]:
    for width, height in ((40_000, 40_000), (13_300, 13_300), (12_001, 1), (1, 2**31 - 1), (0, 5)):
        yield f"PNG of {width} × {height}", pictures.bomb(width, height)
    yield "PNG of 25 megapixels of zeros", pictures.encoded(Image.new("L", (5000, 5000)), "PNG")
    yield "PNG with a text chunk bomb", _png_text_bomb(64 * 1024 * 1024)
    yield (
        "GIF of 65,535 × 65,535",
        b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\xf7\0\0" * 99,
    )
    yield "GIF of 4,000 frames", gif_of(4_000)
    yield "JPEG of 65,500 × 65,500", _jpeg_of(65_500)
    yield "WebP of 16,383 × 16,383", pictures.encoded(Image.new("RGB", (12_001, 100)), "WEBP")
    red, blue = (Image.new("RGB", (400, 300), colour) for colour in ("red", "blue"))
    many: dict[str, object] = {"save_all": True, "append_images": [blue, red] * 100}
    yield "APNG of 201 frames", pictures.encoded(red, "PNG", **many)
    yield "WebP of 201 frames", pictures.encoded(red, "WEBP", **many)


def _document_bombs() -> Iterator[tuple[str, bytes]]:
    for head in _ENTITIES:
        yield "DOCX with entities", documents.docx("&x;", head=head)
    yield "DOCX of 60 MB of zeros", documents.docx("x", more={"word/x.bin": bytes(60_000_000)})
    yield "DOCX of 3,000 parts", documents.docx("x", more={f"word/{n}": "" for n in range(3000)})
    yield (
        "DOCX, 100,000 deep",
        documents.docx(more={"word/document.xml": "<a>" * 100_000 + "</a>" * 100_000}),
    )
    yield (
        "DOCX of one endless tag",
        documents.docx(
            more={"word/document.xml": "<a " + "x='1' " * 10 + "y='" + "z" * 20_000_000}
        ),
    )
    yield "DOCX that lies about sizes", lying_zip()
    yield "zip in zip in zip", nested_zip(20)
    for name in ("../../../etc/cron.d/x", "/etc/passwd", "C:\\x", "word/inner.docx", "a.tar.gz"):
        yield f"DOCX that holds {name}", documents.docx("x", more={name: b"PK\x03\x04"})
    yield "DOCX with a link for a part", linked_zip()
    yield "XLSX of a million cells", documents.xlsx([[1] * 1000] * 1000)
    yield "XLSX with entities", documents.archive({"xl/workbook.xml": _ENTITIES[0] + "<a>&l9;</a>"})
    yield "text without a line's end", b"a" * (5 * 1024 * 1024)
    yield "text of line ends", b"\n" * (5 * 1024 * 1024)
    yield "text of marks", "e\u0301\u0301\u0301\u202e".encode() * 500_000
    yield "text of half characters", b"\xff\xfe" + b"\x00\xd8" * 100_000


def _pdf_bombs() -> Iterator[tuple[str, bytes]]:
    catalog = "<</Type/Catalog/Pages 2 0 R>>"
    page = "<</Type/Page/Parent 2 0 R/MediaBox[{}]/Contents 4 0 R>>"
    pages = "<</Type/Pages/Kids[3 0 R]/Count 1>>"
    yield (
        "PDF whose pages hold themselves",
        documents.pdf_of([catalog, "<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2000000000>>"]),
    )
    yield (
        "PDF of a billion pages",
        documents.pdf_of(
            [catalog, "<</Type/Pages/Kids[3 0 R]/Count 1000000000>>", page.format("0 0 9 9")]
        ),
    )
    for box in ("0 0 1e30 1e30", "0 0 1e9 1", "0 0 -5 -5", "0 0 nan nan", "9 9 9 9"):
        yield (
            f"PDF page of {box}",
            documents.pdf_of([catalog, pages, page.format(box), _stream(b"")]),
        )
    deep = zlib.compress(zlib.compress(bytes(400 * 1024 * 1024), 9), 9)
    filters = "/Filter[/FlateDecode/FlateDecode]"
    yield (
        "PDF of a stream of 400 MB",
        documents.pdf_of([catalog, pages, page.format("0 0 99 99"), _stream(deep, filters)]),
    )
    drawn = b"q 1 0 0 1 0 0 cm 0 0 m 9 9 l S " * 300_000
    yield (
        "PDF of a million strokes",
        documents.pdf_of(
            [
                catalog,
                pages,
                page.format("0 0 99 99"),
                _stream(zlib.compress(drawn), "/Filter/FlateDecode"),
            ]
        ),
    )
    nested = b"[" * 200_000
    yield "PDF nested 200,000 deep", documents.pdf_of([catalog, pages, nested, _stream(b"")])
    yield "PDF that draws itself", documents.pdf_of(
        [
            catalog,
            pages,
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R"
            "/Resources<</XObject<</F 5 0 R>>>>>>",
            _stream(b"/F Do /F Do"),
            _stream(b"/F Do /F Do", "/Type/XObject/Subtype/Form/BBox[0 0 99 99]"
                    "/Resources<</XObject<</F 5 0 R>>>>"),
        ]
    )  # fmt: skip
    yield (
        "PDF with a script and a launch",
        documents.pdf_of(
            [
                "<</Type/Catalog/Pages 2 0 R/OpenAction<</S/Launch/F(/bin/sh)>>"
                "/AA<</WC<</S/JavaScript/JS(app.alert(1))>>>>>>",
                pages,
                page.format("0 0 99 99"),
                _stream(b"(x) Tj"),
            ]
        ),
    )
    image = "/Type/XObject/Subtype/Image/Width 60000/Height 60000/BitsPerComponent 8"
    yield (
        "PDF with a picture of 3.6 gigapixels",
        documents.pdf_of(
            [
                catalog,
                pages,
                "<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R"
                "/Resources<</XObject<</F 5 0 R>>>>>>",
                _stream(b"99 0 0 99 0 0 cm /F Do"),
                _stream(
                    zlib.compress(bytes(10**6)), f"{image}/ColorSpace/DeviceRGB/Filter/FlateDecode"
                ),
            ]
        ),
    )


def _polyglots() -> Iterator[tuple[str, bytes]]:
    good = dict(good_files())
    for first in ("PNG", "JPEG", "GIF", "PDF"):
        for second in ("DOCX", "PDF", "text"):
            yield f"{first} and {second} in one", good[first] + good[second]
    yield "script behind a picture", good["GIF"] + b"<script>alert(1)</script>"
    yield "PDF behind 900 bytes of script", b"<script></script>" * 50 + good["PDF"]
    for kind in ("SVG", "PSD", "TIFF", "ICNS", "BMP", "EPS"):
        yield kind, _foreign(kind)


def gif_of(frames: int) -> bytes:
    """A GIF of many tiny frames, written by hand: Pillow would join equal ones."""
    frame = b"!\xf9\x04\0\x01\0\0\0" + b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0"
    return b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff" + frame * frames + b";"


def lying_zip() -> bytes:
    """An archive whose directory promises ten bytes for a part of 60 MB."""
    data = bytearray(documents.archive({"word/document.xml": "<a>" + " " * 60_000_000 + "</a>"}))
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<I", 10)
    return bytes(data)


def nested_zip(depth: int) -> bytes:
    data = b"the end"
    for _ in range(depth):
        data = documents.archive({"inner.zip": data})
    return data


def linked_zip() -> bytes:
    out = io.BytesIO(documents.docx("x"))
    with zipfile.ZipFile(out, "a") as written:
        link = zipfile.ZipInfo("word/link.xml")
        link.external_attr = 0o120777 << 16
        written.writestr(link, "/etc/passwd")
    return out.getvalue()


def _stream(data: bytes, entries: str = "") -> bytes:
    return f"<<{entries}/Length {len(data)}>>\nstream\n".encode() + data + b"\nendstream"


def _png_text_bomb(size: int) -> bytes:
    packed = zlib.compress(bytes(size), 9)
    body = b"Comment\0\0" + packed
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + body))
    whole = pictures.shapes()
    return whole[:33] + chunk + whole[33:]


def _jpeg_of(edge: int) -> bytes:
    whole = bytearray(pictures.photo(64, 64))
    frame = whole.index(b"\xff\xc0")
    whole[frame + 5 : frame + 9] = struct.pack(">HH", edge, edge)
    return bytes(whole)


def _foreign(kind: str) -> bytes:
    starts = {
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "PSD": b"8BPS\0\1" + bytes(100),
        "ICNS": b"icns" + bytes(100),
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file",
    }
    if kind in starts:
        return starts[kind]
    return pictures.encoded(Image.new("RGB", (20, 20)), kind)


Mutation = Callable[[bytes, random.Random], bytes]


def _flipped(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.randint(1, 30)):
        changed[dice.randrange(len(changed))] = dice.choice((0, 0xFF, 0x7F, dice.randrange(256)))
    return bytes(changed)


def _truncated(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(1, len(data))]


def _spliced(data: bytes, dice: random.Random) -> bytes:
    at, gone = dice.randrange(len(data)), dice.randint(1, 64)
    return data[:at] + dice.randbytes(dice.randint(0, 64)) + data[at + gone :]


def _repeated(data: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(data))
    piece = data[start : start + dice.randint(1, 200)]
    return data[:start] + piece * dice.randint(2, 200) + data[start:]


def _prefixed(data: bytes, dice: random.Random) -> bytes:
    return dice.choice(_MAGICS) + data
