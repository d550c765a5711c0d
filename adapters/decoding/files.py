"""A stranger's file becomes text and clean pictures, or a refusal.

Order of the checks: size, magic, header limits, decode, key frames, shrink, strip, re-encode.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from adapters.decoding.child.wire import MAX_TEXT_CHARS
from adapters.decoding.errors import FileRefused
from adapters.decoding.kinds import AUDIO, contradicts, kind_of, max_bytes_of, other_name
from adapters.decoding.sandbox import Sandbox
from adapters.decoding.worker import Shown
from agents.ports import ImageData
from agents.prompts.image_cost import size_of

MAX_SIDE = 1344
KEY_FRAMES = 4


class Picture(msgspec.Struct, frozen=True):
    """Exactly what a vision model may see."""

    data: bytes
    media_type: Literal["image/png", "image/jpeg"]
    width: int
    height: int
    sha256: str  # of `data`


class Decoded(msgspec.Struct, frozen=True):
    """What a file holds: text of a document, or pictures (of frames, of pages)."""

    kind: str  # as people call it: PDF, DOCX, PNG
    text: str = ""
    pictures: tuple[Picture, ...] = ()
    total: int = 1  # frames, pages or sheets of the file
    read: int = 1  # how many of them are here
    cut: bool = False  # text was left out


async def decode_file(
    data: bytes,
    sandbox: Sandbox,
    *,
    claimed: str = "",
    max_side: int = MAX_SIDE,
    frames: int = KEY_FRAMES,
) -> Decoded:
    """Check the file, and read it in the sandbox; raises `FileRefused`.

    `claimed` is its type as the platform tells it: never believed, only contradicted.
    """
    if not data:
        raise FileRefused("empty")
    kind = kind_of(data)
    if kind is None:
        name = other_name(data)
        raise FileRefused("audio") if name == AUDIO else FileRefused("unknown", kind=name)
    if contradicts(kind, claimed):
        raise FileRefused("mismatch", claimed=claimed.partition(";")[0][:60])
    if len(data) > (limit := max_bytes_of(kind)):
        raise FileRefused("size", size=_megabytes(len(data)), limit=_megabytes(limit))
    answer, text, bodies = await sandbox.read(data, kind, max_side=max_side, frames=frames)
    pictures = tuple(
        _checked(shown, body, max_side)
        for shown, body in zip(answer.pictures[:frames], bodies, strict=False)
    )
    if not pictures and not text.strip():
        raise FileRefused("blank")
    return Decoded(
        answer.kind[:20], text[:MAX_TEXT_CHARS], pictures, answer.total, answer.read, answer.cut
    )


def _checked(shown: Shown, body: bytes, max_side: int) -> Picture:
    """The picture, if it is one and small: models' engines decode it in the bot's own process."""
    size = size_of(ImageData(body, shown.media_type))
    if size != (shown.width, shown.height) or max(size) > max_side:
        raise FileRefused("damaged")
    return Picture(body, shown.media_type, *size, hashlib.sha256(body).hexdigest())


def _megabytes(size: int) -> str:
    return f"{size / 1024 / 1024:.3g}"
