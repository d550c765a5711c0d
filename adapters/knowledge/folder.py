"""The documents of a folder or a file; what can't be read is told with its reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

from adapters.decoding.errors import FileRefused
from adapters.decoding.files import decode_file
from adapters.decoding.sandbox import Sandbox
from adapters.knowledge.documents import Document, from_markdown, from_text
from adapters.knowledge.errors import KnowledgeError
from adapters.web.reading import readable_html

MARKDOWN = frozenset({".md", ".markdown", ".mdx"})
HTML = frozenset({".html", ".htm", ".xhtml"})
TEXT = frozenset({".txt", ".rst", ".text", ".adoc"})
OTHER = frozenset({".pdf", ".docx"})
MAX_BYTES = 20 * 1024 * 1024
_TEXT_CHARS = 5_000_000


class Unread(NamedTuple):
    """A file that gives no document, and why: for the operator's report."""

    name: str
    reason: str


def files_in(path: Path) -> Iterator[tuple[str, Path]]:
    """Names and files, in the order of their names; hidden ones and links out of it are not
    followed. Raises `KnowledgeError` where there is nothing."""
    if path.is_file():
        yield path.name, path
        return
    if not path.is_dir():
        raise KnowledgeError(f"{path}: there is no such file or folder")
    root = path.resolve()
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if any(part.startswith(".") for part in name.parts) or not file.is_file():
            continue
        if file.suffix.casefold() not in MARKDOWN | HTML | TEXT | OTHER:
            continue
        if file.resolve().is_relative_to(root):
            yield name.as_posix(), file


async def read_files(
    path: Path, sandbox: Sandbox, *, base_url: str = ""
) -> AsyncIterator[Document | Unread]:
    """One file at a time, so that no more than one is held. `base_url` and a file's name make
    the address under which people open it."""
    for name, file in await asyncio.to_thread(lambda: list(files_in(path))):
        url = f"{base_url.rstrip('/')}/{name}" if base_url else ""
        try:
            if file.stat().st_size > MAX_BYTES:
                yield Unread(name, f"larger than {MAX_BYTES // 1024 // 1024} MB")
                continue
            document = await _read(name, file, sandbox, url)
        except FileRefused as refused:
            yield Unread(name, _REASONS.get(refused.reason, str(refused)))
            continue
        except OSError as error:
            yield Unread(name, error.strerror or type(error).__name__)
            continue
        yield document if document.sections else Unread(name, "holds no text")


async def _read(name: str, file: Path, sandbox: Sandbox, url: str) -> Document:
    raw = await asyncio.to_thread(file.read_bytes)
    suffix = file.suffix.casefold()
    if suffix in OTHER:
        decoded = await decode_file(raw, sandbox, frames=0)
        if not decoded.text.strip():
            raise FileRefused("blank")
        return from_text(name, decoded.text, url=url)
    text = raw.decode(errors="replace")[:_TEXT_CHARS]
    if suffix in HTML:
        title, body = await asyncio.to_thread(readable_html, text)
        document = from_markdown(name, body, url=url)
        return document._replace(title=title or document.title)
    return (
        from_markdown(name, text, url=url) if suffix in MARKDOWN else from_text(name, text, url=url)
    )


_REASONS = {
    "locked": "is protected by a password",
    "blank": "holds no text: it may be scanned pages, which are not read",
    "damaged": "is damaged",
    "empty": "is empty",
}
