"""Turns a stranger's file into clean pixels, decoded in a process of its own.

Order of the checks: size, magic, header limits, decode, first frame, shrink, strip,
re-encode. What comes out is exactly the picture a vision model may see.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from pathlib import Path
from typing import Literal
from weakref import WeakKeyDictionary

import msgspec

MAX_BYTES = 10 * 1024 * 1024
MAX_PIXELS = 25_000_000
MAX_EDGE = 12_000
WALL_S = 10.0

_WORKER = Path(__file__).with_name("image_worker.py")
_NOT_AN_IMAGE = "That file is not an image I can read: PNG, JPEG, WebP and GIF work."
_DAMAGED = "The image is damaged and can't be read."
_TOO_HEAVY = "The image takes too much memory or time to decode."
_slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


class ImageRefused(Exception):
    """The file can't be used as an image; the message is one sentence for its sender."""


class PreparedImage(msgspec.Struct, frozen=True):
    data: bytes
    media_type: Literal["image/png", "image/jpeg"]
    width: int
    height: int
    sha256: str  # of `data`, the pixels as shown to a model


class _Refused(msgspec.Struct):
    refused: str
    width: int = 0
    height: int = 0


class _Made(msgspec.Struct):
    media_type: Literal["image/png", "image/jpeg"]
    width: int
    height: int


async def prepare_image(data: bytes, *, max_side: int = 1344) -> PreparedImage:
    """Check, decode, shrink and re-encode; raises `ImageRefused`."""
    if not data:
        raise ImageRefused("The image is 0 bytes.")
    if len(data) > MAX_BYTES:
        raise ImageRefused(f"The image is over the {MAX_BYTES // 1024**2} MiB limit.")
    kind = kind_of(data)
    if kind is None:
        raise ImageRefused(_NOT_AN_IMAGE)
    loop = asyncio.get_running_loop()
    slots = _slots.setdefault(loop, asyncio.Semaphore(os.cpu_count() or 2))
    async with slots:
        output = await _decode(data, kind, max_side)
    return _read_output(output)


def kind_of(data: bytes) -> Literal["PNG", "JPEG", "WEBP", "GIF"] | None:
    """The image format by content; names and claimed types are never believed."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    return None


async def _decode(data: bytes, kind: str, max_side: int) -> bytes:
    limits = (str(max_side), str(MAX_PIXELS), str(MAX_EDGE))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        str(_WORKER),
        kind,
        *limits,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},  # the child needs no secret
    )
    try:
        async with asyncio.timeout(WALL_S):
            output, _ = await process.communicate(data)
    except TimeoutError as error:
        raise ImageRefused(_TOO_HEAVY) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ImageRefused(_TOO_HEAVY)
    return output


def _read_output(output: bytes) -> PreparedImage:
    header, _, body = output.partition(b"\n")
    try:
        made = msgspec.json.decode(header, type=_Made)
    except msgspec.ValidationError:
        raise _refusal(msgspec.json.decode(header, type=_Refused)) from None
    digest = hashlib.sha256(body).hexdigest()
    return PreparedImage(body, made.media_type, made.width, made.height, digest)


def _refusal(answer: _Refused) -> ImageRefused:
    if answer.refused == "pixels":
        size = f"{answer.width} × {answer.height} pixels"
        limit = f"{MAX_PIXELS // 1_000_000} megapixels and {MAX_EDGE:,} pixels a side"
        return ImageRefused(f"The image has {size}; the limit is {limit}.")
    return ImageRefused(_TOO_HEAVY if answer.refused == "memory" else _DAMAGED)
