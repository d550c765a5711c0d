"""Files of Slack, fetched with their workspace's token from Slack's own hosts only."""

from __future__ import annotations

import aiohttp
from yarl import URL

from adapters.chat.files import too_large
from adapters.chat.safe_text import visible
from adapters.chat.slack_api import SlackApi, SlackCallError
from adapters.chat.slack_events import FILE_BY_ID
from adapters.chat.types import Attachment, AttachmentError

FILE_HOST = URL("https://files.slack.com")
_TIMEOUT = aiohttp.ClientTimeout(total=60.0, sock_read=20.0)
_CHUNK_BYTES = 64 * 1024


class SlackFiles:
    def __init__(self, api: SlackApi, *, api_url: str) -> None:
        self._api = api
        self._origins = {FILE_HOST.origin(), URL(api_url).origin()}

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        """The file's bytes, read under the limit; raises `AttachmentError`."""
        if attachment.size_bytes > max_bytes:
            raise AttachmentError(too_large(attachment.name, attachment.size_bytes, max_bytes))
        try:
            token = await self._api.token("files.info")
            url = await self._url(attachment)
        except SlackCallError as error:
            raise _unreadable(attachment, str(error)) from error
        try:
            async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
                session.headers["Authorization"] = f"Bearer {token}"
                return await self._read(session, url, attachment, max_bytes)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise AttachmentError(
                f"“{visible(attachment.name)}” could not be fetched from Slack"
                f" ({type(error).__name__}). Please send it again."
            ) from error

    async def _url(self, attachment: Attachment) -> URL:
        where = attachment.locator
        if where.startswith(FILE_BY_ID):
            answer = await self._api.call("files.info", file=attachment.attachment_id)
            where = str((answer.get("file") or {}).get("url_private_download") or "")
        try:
            url = URL(where)
            known = url.origin() in self._origins
        except ValueError:
            known = False
        if not known:  # the token goes nowhere else
            raise _unreadable(attachment, "it is kept outside Slack")
        return url

    async def _read(
        self, session: aiohttp.ClientSession, url: URL, attachment: Attachment, max_bytes: int
    ) -> bytes:
        proxy = self._api.client.proxy  # the same way out as every other call
        async with session.get(url, proxy=proxy, allow_redirects=False) as answer:
            if answer.status in (401, 403) or 300 <= answer.status < 400:
                raise _locked(attachment)
            if answer.status != 200:
                raise _unreadable(attachment, f"Slack answered HTTP {answer.status}")
            content = bytearray()
            async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                content += chunk
                if len(content) > max_bytes:
                    size_bytes = max(len(content), answer.content_length or 0)
                    raise AttachmentError(too_large(attachment.name, size_bytes, max_bytes))
            sent_html = answer.content_type == "text/html"
        expected_html = attachment.media_type == "text/html"
        if sent_html and not (expected_html and len(content) == attachment.size_bytes):
            raise _locked(attachment)  # Slack's sign-in page in place of the file
        return bytes(content)


def _unreadable(attachment: Attachment, why: str) -> AttachmentError:
    return AttachmentError(f"“{visible(attachment.name)}” can't be read: {why}.")


def _locked(attachment: Attachment) -> AttachmentError:
    why = "Slack refused the file; the app is missing the files:read scope or was not reinstalled"
    return _unreadable(attachment, why)
