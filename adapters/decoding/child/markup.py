"""Expat over one part of a document at a time, without DTDs, entities or depth."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from xml.parsers import expat

from adapters.decoding.child.wire import MAX_TEXT_CHARS, Refusal

MAX_DEPTH = 200
_CHUNK_BYTES = 64 * 1024


class Enough(Exception):
    """As much text was read as is kept."""


class Parts:
    """An archive's parts; what is unpacked counts against one limit, whatever headers say."""

    def __init__(self, archive: zipfile.ZipFile, max_bytes: int) -> None:
        self._archive, self._left, self._max_bytes = archive, max_bytes, max_bytes

    @property
    def names(self) -> list[str]:
        return self._archive.namelist()

    def parse(
        self,
        name: str,
        *,
        start: Callable[[str, dict[str, str]], None],
        end: Callable[[str], None] = lambda tag: None,
        text: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Feed the part to the handlers; tags come without their prefix.

        Raises `Refusal` for a DTD and for more bytes than are left, `ExpatError` and the errors
        of `zipfile` for damage.
        """
        parser = _parser(start, end, text)
        with self._archive.open(name) as part:
            while chunk := part.read(_CHUNK_BYTES):
                self._left -= len(chunk)
                if self._left < 0:
                    limit = self._max_bytes // 1024**2
                    raise Refusal("bomb", limit=limit, ratio=100, entries=2000)
                parser.Parse(chunk, False)
        parser.Parse(b"", True)


class Lines:
    """Text as it grows; raises `Enough` at the limit."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._chars = 0

    def add(self, piece: str) -> None:
        self._pieces.append(piece[: MAX_TEXT_CHARS - self._chars])
        self._chars += len(self._pieces[-1])
        if self._chars >= MAX_TEXT_CHARS:
            raise Enough

    def __str__(self) -> str:
        return "".join(self._pieces)


def _parser(
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None],
    text: Callable[[str], None],
) -> expat.XMLParserType:
    parser = expat.ParserCreate()
    depth = 0

    def opened(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise Refusal("entities")
        start(tag.rpartition(":")[2], attributes)

    def closed(tag: str) -> None:
        nonlocal depth
        depth -= 1
        end(tag.rpartition(":")[2])

    def forbidden(*_: object) -> None:
        raise Refusal("entities")

    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = forbidden
    parser.EntityDeclHandler = forbidden
    parser.ExternalEntityRefHandler = forbidden  # type: ignore[assignment]  # it never returns
    parser.buffer_text = True
    return parser
