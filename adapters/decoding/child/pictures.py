"""PNG, JPEG, WebP and GIF become clean pixels: checked by header, shrunk, re-encoded."""

from __future__ import annotations

import io

from PIL import (
    GifImagePlugin,
    Image,
    ImageColor,
    ImageFile,
    ImageFilter,
    ImageOps,
    ImageSequence,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from adapters.decoding.child.wire import Job, Made, Refusal

MAX_PIXELS = 25_000_000
MAX_EDGE = 12_000
MAX_LOSSLESS_BYTES = 2 * 1024 * 1024  # more is a photograph: a JPEG shows it as well
MAX_FRAMES_WALKED = 100  # of an animation, to choose key frames from
KINDS = ("PNG", "JPEG", "WEBP", "GIF")
ERRORS = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError)
# Pillow would load these when first met, which nothing can any more; TIFF reads EXIF.
_LOADED: tuple[object, ...] = (
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
    ImageFile,
)
_LOADED += (MpoImagePlugin, TiffImagePlugin, ImageFilter, ImageColor)

Encoded = tuple[str, int, int, bytes]


def warm() -> None:
    """Reach every module once: afterwards none can be loaded."""
    Image.MAX_IMAGE_PIXELS = None  # our own limit comes first, with its own sentence
    Image.preinit()
    for kind in KINDS:
        out = io.BytesIO()
        Image.new("RGB", (8, 8)).save(out, kind)
        read(Job(kind, out.getvalue(), 8, 1))


def read(job: Job) -> Made:
    with Image.open(io.BytesIO(job.data), formats=[job.kind]) as picture:
        check_size(*picture.size)
        total = int(getattr(picture, "n_frames", 1)) if job.kind == "GIF" else 1
        lossless = job.kind in ("PNG", "GIF")
        if total == 1 or job.frames == 1:
            picture.seek(0)
            picture.draft("RGB", (job.max_side, job.max_side))
            kept = [encoded(ImageOps.exif_transpose(picture), job.max_side, lossless=lossless)]
        else:
            wanted = spread(min(total, MAX_FRAMES_WALKED), job.frames)
            kept = [
                encoded(frame, job.max_side, lossless=True)
                for at, frame in enumerate(ImageSequence.Iterator(picture))
                if at <= wanted[-1] and at in wanted
            ]
    return Made(job.kind, pictures=kept, total=total, read=len(kept))


def check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_EDGE:
        megapixels = MAX_PIXELS // 1_000_000
        raise Refusal("pixels", width=width, height=height, megapixels=megapixels, edge=MAX_EDGE)
    if min(width, height) < 1:
        raise Refusal("damaged")


def spread(total: int, wanted: int) -> list[int]:
    """At most `wanted` of `total` places, the first and the last among them."""
    if wanted >= total:
        return list(range(total))
    if wanted == 1:
        return [0]
    return [round(at * (total - 1) / (wanted - 1)) for at in range(wanted)]


def encoded(picture: Image.Image, max_side: int, *, lossless: bool) -> Encoded:
    """RGB pixels and nothing else: no metadata, no transparency to hide text in."""
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, layer)
    rgb = picture.convert("RGB")
    clean = Image.frombytes("RGB", rgb.size, rgb.tobytes())
    if lossless:
        out = io.BytesIO()
        clean.save(out, "PNG", compress_level=4)
        if out.tell() <= MAX_LOSSLESS_BYTES:
            return "image/png", clean.width, clean.height, out.getvalue()
    out = io.BytesIO()
    clean.save(out, "JPEG", quality=90)
    return "image/jpeg", clean.width, clean.height, out.getvalue()
