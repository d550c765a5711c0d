"""Test documents and videos, made here so that none is stored."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

import av
from av.video.stream import VideoStream
from PIL import Image

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def pdf(*pages: str, media_box: str = "0 0 400 300") -> bytes:
    """A PDF with a line of text on each page; empty text: an empty page."""
    kids = " ".join(f"{4 + 2 * at} 0 R" for at in range(len(pages)))
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for at, text in enumerate(pages):
        shown = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        drawn = f"BT /F1 18 Tf 20 200 Td ({shown}) Tj ET" if text else "0 0 m"
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[{media_box}]/Contents {5 + 2 * at} 0 R"
            "/Resources<</Font<</F1 3 0 R>>>>>>"
        )
        objects.append(f"<</Length {len(drawn)}>>\nstream\n{drawn}\nendstream")
    return pdf_of(objects)


def pdf_of(objects: Sequence[str | bytes], *, trailer: str = "") -> bytes:
    out, places = io.BytesIO(), list[int]()
    out.write(b"%PDF-1.5\n")
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        data = body.encode("latin-1") if isinstance(body, str) else body
        out.write(b"%d 0 obj\n" % number + data + b"\nendobj\n")
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    for place in places:
        out.write(b"%010d 00000 n \n" % place)
    root = f"<</Root 1 0 R/Size {len(objects) + 1}{trailer}>>"
    out.write(f"trailer\n{root}\nstartxref\n{start}\n%%EOF\n".encode("latin-1"))
    return out.getvalue()


def scanned_pdf(*pictures: bytes) -> bytes:
    """A PDF whose pages are JPEGs, without a letter of text."""
    out = io.BytesIO()
    first, *rest = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures]
    first.save(out, "PDF", save_all=True, append_images=rest)
    return out.getvalue()


def archive(parts: Mapping[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as written:
        for name, text in parts.items():
            written.writestr(name, text)
    return out.getvalue()


def docx(*paragraphs: str, more: Mapping[str, str | bytes] | None = None, head: str = "") -> bytes:
    body = "".join(f"<w:p><w:r><w:t>{escape(text)}</w:t></w:r></w:p>" for text in paragraphs)
    root = f'<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>'
    document = f'<?xml version="1.0"?>{head}{root}'
    return archive(
        {"[Content_Types].xml": "<Types/>", "word/document.xml": document, **(more or {})}
    )


def xlsx(rows: Sequence[Sequence[str | int]], *, title: str = "Sheet1") -> bytes:
    shared = [str(cell) for row in rows for cell in row if isinstance(cell, str)]
    lines, at = [], 0
    for row in rows:
        cells = []
        for cell in row:
            if isinstance(cell, str):
                cells.append(f'<c t="s"><v>{at}</v></c>')
                at += 1
            else:
                cells.append(f"<c><f>1+1</f><v>{cell}</v></c>")
        lines.append(f"<row>{''.join(cells)}</row>")
    strings = "".join(f"<si><t>{escape(text)}</t></si>" for text in shared)
    return archive(
        {
            "xl/workbook.xml": f'<workbook xmlns="{_SHEET}" xmlns:r="{_RELATION}"><sheets>'
            f'<sheet name="{escape(title)}" sheetId="1" r:id="rId1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}"><Relationship '
            'Id="rId1" Target="worksheets/sheet1.xml"/></Relationships>',
            "xl/sharedStrings.xml": f'<sst xmlns="{_SHEET}">{strings}</sst>',
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_SHEET}"><sheetData>{"".join(lines)}'
            "</sheetData></worksheet>",
        }
    )


def video(kind: str = "mp4", colours: Sequence[str] = ("red", "lime", "blue")) -> bytes:
    """A second of each colour, each beginning with a key frame."""
    codec = {"mp4": "mpeg4", "webm": "libvpx"}[kind]
    out = io.BytesIO()
    with av.open(out, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=5)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 160, 120, "yuv420p", 5
        for colour in colours:
            for _ in range(5):
                still = Image.new("RGB", (160, 120), colour)
                frame = av.VideoFrame.from_image(still)  # type: ignore[no-untyped-call]
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()


def sound() -> bytes:
    """An MP4 that holds a second of silence and no picture."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.sample_rate = 48_000
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()
