"""Decodes one image in a process of its own: bytes in, one header line and clean bytes out.

Started by `adapters.images` as a script with `python -I`; imports nothing of the project.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

MEMORY_BYTES = 512 * 1024 * 1024
CPU_S = 5


def _limit() -> None:
    """Bound this process before it reads a byte; what a system lacks is left out."""
    try:
        import resource
    except ImportError:
        return
    for kind, limit in (
        ("RLIMIT_AS", MEMORY_BYTES),
        ("RLIMIT_CPU", CPU_S),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NPROC", 0),
    ):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, kind), (limit, limit))


def _answer(header: dict[str, object], body: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + body)
    sys.stdout.buffer.flush()


def _prepare(data: bytes, kind: str, max_side: int, max_pixels: int, max_edge: int) -> None:
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # our own limit comes first, with its own sentence
    with Image.open(io.BytesIO(data), formats=[kind]) as picture:
        width, height = picture.size
        if width * height > max_pixels or max(width, height) > max_edge:
            _answer({"refused": "pixels", "width": width, "height": height})
            return
        picture.seek(0)
        picture.draft("RGB", (max_side, max_side))
        upright = ImageOps.exif_transpose(picture)
        upright.thumbnail((max_side, max_side), Image.Resampling.LANCZOS, reducing_gap=3.0)
        clean = _on_white(upright)
    out = io.BytesIO()
    if kind in ("PNG", "GIF"):
        clean.save(out, "PNG", compress_level=4)
    else:
        clean.save(out, "JPEG", quality=90)
    media_type = "image/png" if kind in ("PNG", "GIF") else "image/jpeg"
    header = {"media_type": media_type, "width": clean.width, "height": clean.height}
    _answer(header, out.getvalue())


def _on_white(picture: Image.Image) -> Image.Image:
    """RGB pixels and nothing else: no metadata, no transparency to hide text in."""
    from PIL import Image

    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, layer)
    rgb = picture.convert("RGB")
    return Image.frombytes("RGB", rgb.size, rgb.tobytes())


def main(arguments: list[str]) -> None:
    kind, max_side, max_pixels, max_edge = arguments[0], *map(int, arguments[1:])
    _limit()
    data = sys.stdin.buffer.read()
    try:
        _prepare(data, kind, max_side, max_pixels, max_edge)
    except MemoryError:
        _answer({"refused": "memory"})
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError):
        _answer({"refused": "damaged"})  # Pillow's plugins raise all of these on broken files


if __name__ == "__main__":
    main(sys.argv[1:])
