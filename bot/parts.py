"""The parts of a reply as the outbox keeps them: texts as they are, and files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import structlog

from adapters.chat.types import ReplyFile
from adapters.stores.claim import DAMAGED_PART
from adapters.stores.errors import READ_ERRORS

log = structlog.get_logger(__name__)

Part = str | ReplyFile

_FILE = b"\xfe"  # no UTF-8 text begins with it, so no text of any version is taken for a file


class _FileRecord(msgspec.Struct, frozen=True):
    name: str
    content: bytes
    sentence: str
    format: Literal[1] = 1


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_FileRecord)


def encode_part(part: Part) -> bytes:
    if isinstance(part, str):
        return part.encode()
    return _FILE + _encoder.encode(_FileRecord(part.name, part.content, part.sentence))


def decode_part(record: bytes) -> Part:
    """In the place of what can't be read stands a sentence that says so."""
    try:
        if not record.startswith(_FILE):
            return record.decode()
        file = _decoder.decode(record[len(_FILE) :])
    except READ_ERRORS as error:
        log.error("store.bad_record", error=type(error).__name__, size=len(record))
        return DAMAGED_PART.decode()
    return ReplyFile(file.name, file.content, file.sentence)


def parts_to_send(parts: Sequence[Part]) -> dict[int, bytes]:
    return {index: encode_part(part) for index, part in enumerate(parts)}
