"""Test pictures, drawn here so that none is stored."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image, ImageDraw

ERROR_LINES = (
    "Application Error",
    "Error 0x80070005: Access is denied.",
    "The service could not be started on host web-07.",
    "Contact support@example.com and quote ID 4F2A-991C.",
)


def error_window() -> bytes:
    """A screenshot of an error window, as PNG; it says `ERROR_LINES` and OK."""
    picture = Image.new("RGB", (760, 330), "#ececec")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 760, 44), fill="#2b579a")
    draw.text((16, 8), ERROR_LINES[0], fill="white", font_size=24)
    draw.ellipse((24, 90, 84, 150), fill="#c42b1c")
    for row, line in enumerate(ERROR_LINES[1:]):
        draw.text((110, 84 + 50 * row), line, fill="black", font_size=22)
    draw.rectangle((620, 270, 730, 312), fill="white", outline="#888888")
    draw.text((658, 278), "OK", fill="black", font_size=22)
    return encoded(picture, "PNG")


def shapes() -> bytes:
    """A red triangle and a blue square: nothing to read (readers see a V in it)."""
    picture = Image.new("RGB", (300, 160), "white")
    draw = ImageDraw.Draw(picture)
    draw.polygon([(20, 130), (75, 20), (130, 130)], fill="red")
    draw.rectangle((170, 20, 280, 130), fill="blue")
    return encoded(picture, "PNG")


def photo(width: int, height: int, kind: str = "JPEG") -> bytes:
    return encoded(Image.radial_gradient("L").resize((width, height)).convert("RGB"), kind)


def tagged_photo() -> bytes:
    """A JPEG on its side by EXIF, carrying a place and a maker in its metadata."""
    picture = Image.new("RGB", (200, 100), "green")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    exif[0x010F] = "SecretMaker"
    return encoded(picture, "JPEG", exif=exif.tobytes())


def animation() -> bytes:
    """A GIF of a red, then a blue frame."""
    red, blue = (Image.new("RGB", (60, 40), colour) for colour in ("red", "blue"))
    return encoded(red, "GIF", save_all=True, append_images=[blue], duration=50)


def bomb(width: int, height: int) -> bytes:
    """A small PNG whose header promises `width` × `height` pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 100_000, 9)
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in chunks)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum
