"""Attachments from Discord's hosts: no token, no redirects, no more bytes than allowed."""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp

from adapters.chat.files import too_large
from adapters.chat.safe_text import visible
from adapters.chat.types import Attachment, AttachmentError

HOSTS = frozenset({"cdn.discordapp.com", "media.discordapp.net"})
TIMEOUT = aiohttp.ClientTimeout(total=60, sock_read=15)


async def fetch(attachment: Attachment, *, max_bytes: int, own_url: str | None = None) -> bytes:
    """The bytes; `own_url` is the API of a server that stands in for Discord and its host."""
    shown = visible(attachment.name)
    if not _is_ours(attachment.locator, own_url):
        raise AttachmentError(f"“{shown}” does not lie on Discord, so I did not open it.")
    if attachment.size_bytes > max_bytes:
        raise AttachmentError(too_large(attachment.name, attachment.size_bytes, max_bytes))
    gone = f"“{shown}” could not be loaded from Discord. Please attach it again."
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.get(attachment.locator, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise AttachmentError(gone)
            return await _read(answer, attachment, max_bytes)
    except (aiohttp.ClientError, OSError) as error:
        raise AttachmentError(gone) from error


async def _read(answer: aiohttp.ClientResponse, attachment: Attachment, max_bytes: int) -> bytes:
    content = bytearray()
    async for chunk in answer.content.iter_chunked(64 * 1024):
        content += chunk
        if len(content) > max_bytes:
            raise AttachmentError(too_large(attachment.name, len(content), max_bytes))
    return bytes(content)


def _is_ours(locator: str, own_url: str | None) -> bool:
    there = urlsplit(locator)
    if there.scheme == "https" and there.netloc in HOSTS:
        return True
    own = urlsplit(own_url or "")
    return bool(own.netloc) and (there.scheme, there.netloc) == (own.scheme, own.netloc)
