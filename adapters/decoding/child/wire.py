"""Frames between the bot and a worker: a length, a JSON header, then its bodies."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass, field
from typing import Any

HEAD = struct.Struct(">I")
MAX_HEADER_BYTES = 64 * 1024
MAX_TEXT_CHARS = 400_000


class Refusal(Exception):
    """This file is not read; `reason` is one of `adapters.decoding.errors`."""

    def __init__(self, reason: str, **fields: str | int) -> None:
        super().__init__(reason)
        self.header: dict[str, Any] = {"refused": reason, "fields": fields}


@dataclass(slots=True)
class Job:
    kind: str
    data: bytes
    max_side: int
    frames: int


@dataclass(slots=True)
class Made:
    """What was read: text, and clean pictures as (media type, width, height, bytes)."""

    kind: str
    text: str = ""
    pictures: list[tuple[str, int, int, bytes]] = field(default_factory=list)
    total: int = 1  # frames or pages of the file
    read: int = 1  # and how many of them are here
    cut: bool = False  # text was left out


def read_job() -> Job | None:
    """None when the bot has gone."""
    head = _read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    header = json.loads(_read(HEAD.unpack(head)[0]))
    data = _read(header["size"])
    return Job(header["kind"], data, header["max_side"], header["frames"])


def write_made(made: Made) -> None:
    text = made.text.encode("utf-8", "replace")
    header = {
        "kind": made.kind,
        "text_size": len(text),
        "pictures": [
            {"media_type": media_type, "width": width, "height": height, "size": len(body)}
            for media_type, width, height, body in made.pictures
        ],
        "total": made.total,
        "read": made.read,
        "cut": made.cut,
    }
    write(header, text, *(body for *_, body in made.pictures))


def write(header: dict[str, Any], *bodies: bytes) -> None:
    encoded = json.dumps(header).encode()
    for piece in (HEAD.pack(len(encoded)), encoded, *bodies):
        left = memoryview(piece)
        while left:
            left = left[os.write(1, left) :]


def _read(size: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < size and (piece := os.read(0, min(size - len(pieces), 1 << 20))):
        pieces += piece
    return bytes(pieces)
