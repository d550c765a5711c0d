"""Attachments from Discord's hosts: no token, no redirects, no more bytes than allowed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urldefrag, urlsplit

import aiohttp

from adapters.chat.files import too_large
from adapters.chat.safe_text import visible
from adapters.chat.types import Attachment, AttachmentError

HOSTS = frozenset({"cdn.discordapp.com", "media.discordapp.net"})
DEAD = frozenset({403, 404})  # what the host says of an address past its `ex`
TIMEOUT = aiohttp.ClientTimeout(total=60, sock_read=15)


# The address of an attachment as its message tells it now: channel, message, attachment
Anew = Callable[[int, int, str], Awaitable[str | None]]


async def fetch(
    attachment: Attachment, *, max_bytes: int, own_url: str | None = None, anew: Anew | None = None
) -> bytes:
    """The bytes; `own_url` is the API of a server that stands in for Discord and its host.

    Addresses die a day after they were told: then `anew` is asked once.
    """
    shown = visible(attachment.name)
    url, said_at = urldefrag(attachment.locator)
    if not _is_ours(url, own_url):
        raise AttachmentError(f"“{shown}” does not lie on Discord, so I did not open it.")
    if attachment.size_bytes > max_bytes:
        raise AttachmentError(too_large(attachment.name, attachment.size_bytes, max_bytes))
    content = await _get(url, attachment, max_bytes)
    if content is None and anew is not None and said_at.count("/") == 1:
        channel_id, _, message_id = said_at.partition("/")
        url = await anew(int(channel_id), int(message_id), attachment.attachment_id) or ""
        if _is_ours(url, own_url):
            content = await _get(url, attachment, max_bytes)
    if content is None:
        raise AttachmentError(_gone(attachment))
    return content


async def _get(url: str, attachment: Attachment, max_bytes: int) -> bytes | None:
    """None where the address is dead; raises `AttachmentError` for anything else."""
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status in DEAD:
                return None
            if answer.status != 200:
                raise AttachmentError(_gone(attachment))
            return await _read(answer, attachment, max_bytes)
    except (aiohttp.ClientError, OSError) as error:
        raise AttachmentError(_gone(attachment)) from error


def _gone(attachment: Attachment) -> str:
    shown = visible(attachment.name)
    return f"“{shown}” could not be loaded from Discord. Please attach it again."


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
