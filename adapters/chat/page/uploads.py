"""Uploaded files wait on disk, so that a restart loses none; kept for a day."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import uuid
from contextlib import suppress
from pathlib import Path

from adapters.chat.files import read_capped
from adapters.chat.types import Attachment, AttachmentError, ReplyFile

KEPT_S = 24 * 3600.0
_ID = re.compile(r"[0-9a-f]{32}")
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


class Uploads:
    """A private directory; a file's name is its unguessable id."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def keep(self, content: bytes, *, name: str, media_type: str) -> Attachment:
        """Write the file durably, before its message is accepted."""
        file_id = uuid.uuid4().hex
        await asyncio.to_thread(_write, self._directory / file_id, content)
        return Attachment(file_id, name, media_type, len(content), file_id)

    async def offer(self, file: ReplyFile, *, token: str) -> Attachment:
        """Keep a file of ours for its reader; the same `token` is the same file."""
        file_id = hashlib.sha256(token.encode()).hexdigest()[:32]
        path = self._directory / file_id
        if not path.is_file():
            half = self._directory / uuid.uuid4().hex
            await asyncio.to_thread(_write, half, file.content)
            await asyncio.to_thread(half.replace, path)
        return Attachment(file_id, file.name, "text/plain", len(file.content), file_id)

    async def offered(self, file_id: str) -> bytes | None:
        """A kept file's bytes, to be saved and never shown."""
        path = self._path(file_id)
        if path is None or not path.is_file():
            return None
        return await asyncio.to_thread(path.read_bytes)

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        path = self._path(attachment.locator)
        if path is None:
            raise AttachmentError("This file was not uploaded here. Please attach it again.")
        return await asyncio.to_thread(read_capped, path, name=attachment.name, max_bytes=max_bytes)

    async def preview(self, file_id: str) -> tuple[bytes, str] | None:
        """The bytes and the true type, for images a browser may show."""
        path = self._path(file_id)
        if path is None or not path.is_file():
            return None
        content = await asyncio.to_thread(path.read_bytes)
        media_type = image_type(content)
        return (content, media_type) if media_type else None

    async def drop(self, files: tuple[Attachment, ...]) -> None:
        for file in files:
            if path := self._path(file.locator):
                await asyncio.to_thread(path.unlink, missing_ok=True)

    async def sweep(self, now: float) -> None:
        """Remove what is older than a day."""
        await asyncio.to_thread(self._sweep, now - KEPT_S)

    def _sweep(self, before: float) -> None:
        for path in self._directory.iterdir():
            with suppress(FileNotFoundError):  # dropped since it was listed
                if _ID.fullmatch(path.name) and path.stat().st_mtime < before:
                    path.unlink()

    def _path(self, file_id: str) -> Path | None:
        return self._directory / file_id if _ID.fullmatch(file_id) else None


def image_type(content: bytes) -> str | None:
    """The image type by the first bytes; None for all a page must not show."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if content.startswith(magic)), None)


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
