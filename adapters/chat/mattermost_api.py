"""Mattermost's REST API over aiohttp: one call each, paced, with its errors as `DeliveryError`.

Endpoints and fields: developers.mattermost.com/api-documentation (API version 4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp

from adapters.chat.files import too_large
from adapters.chat.ours import only_while, request_tracing
from adapters.chat.pacing import Pool, Urgency
from adapters.chat.types import Attachment, AttachmentError, DeliveryError, MayShow, always

CALL_TIMEOUT = aiohttp.ClientTimeout(total=15.0, connect=10.0)
FILE_TIMEOUT = aiohttp.ClientTimeout(total=120.0, connect=10.0)
_TRIES = 5  # of a call that was refused for speed
_LONGEST_PAUSE_S = 60.0
_CHUNK = 64 * 1024


class MattermostError(DeliveryError):
    """A refused call; `doubtful` when it may have taken effect all the same."""

    def __init__(self, path: str, detail: str, *, status: int = 0, doubtful: bool = False) -> None:
        again = doubtful or status == 429 or status >= 500 or status == 0
        super().__init__("mattermost", f"{path}: {detail}", retryable=again)
        self.status, self.doubtful = status, doubtful


class MattermostApi:
    """The server at `url` as the bot that `token` belongs to; open while inside `async with`."""

    def __init__(self, *, url: str, token: str, calls_per_s: int) -> None:
        self._url, self._token = url.rstrip("/"), token
        self._pool = Pool(calls=calls_per_s, window_s=1.0, reserve=min(calls_per_s - 1, 2))
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._token}"}
        self._session = aiohttp.ClientSession(
            headers=headers, timeout=CALL_TIMEOUT, trace_configs=[request_tracing()]
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        session, self._session = self.session, None
        await session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise DeliveryError("mattermost", "not connected", retryable=True)
        return self._session

    async def socket(self) -> aiohttp.ClientWebSocketResponse:
        """The event socket, not yet authenticated; raises `aiohttp.ClientError`, `OSError`."""
        url = f"{self._url}/api/v4/websocket"
        async with asyncio.timeout(CALL_TIMEOUT.total):
            return await self.session.ws_connect(url, heartbeat=20.0, max_msg_size=2**23)

    async def call(
        self,
        method: str,
        path: str,
        *,
        urgency: Urgency = Urgency.FINAL,
        may_show: MayShow = always,
        **request: Any,
    ) -> Any:
        """The decoded answer. A call refused for speed waits as long as the server says."""
        for _ in range(_TRIES):
            await self._pool.take(urgency)
            try:
                with only_while(may_show, "mattermost"):
                    return await self._call(method, path, request)
            except MattermostError as error:
                if error.status != 429:
                    raise
        raise MattermostError(path, f"refused for speed {_TRIES} times", status=429)

    async def _call(self, method: str, path: str, request: Mapping[str, Any]) -> Any:
        url = f"{self._url}/api/v4/{path}"
        try:
            async with self.session.request(method, url, **request) as response:
                if response.status == 429:
                    self._pool.pause(_pause_s(response))
                if response.status >= 400:
                    doubtful = response.status >= 500 and method == "POST"
                    detail = f"HTTP {response.status}"
                    raise MattermostError(path, detail, status=response.status, doubtful=doubtful)
                return await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            detail = f"no answer ({type(error).__name__})"
            raise MattermostError(path, detail, doubtful=True) from error

    async def upload(
        self, channel: str, name: str, content: bytes, *, may_show: MayShow = always
    ) -> str:
        """The id of a file that a post of this channel may carry."""
        answer = await self.call(
            "POST",
            "files",
            params={"channel_id": channel, "filename": name},
            data=content,
            headers={"Content-Type": "application/octet-stream"},
            timeout=FILE_TIMEOUT,
            may_show=may_show,
        )
        return str(answer["file_infos"][0]["id"])

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        """The file's bytes; raises `AttachmentError`."""
        name, size = attachment.name, attachment.size_bytes
        if size > max_bytes:
            raise AttachmentError(too_large(name, size, max_bytes))
        url = f"{self._url}/api/v4/files/{attachment.locator}"
        content = bytearray()
        try:
            async with self.session.get(url, timeout=FILE_TIMEOUT) as response:
                response.raise_for_status()
                async for chunk in response.content.iter_chunked(_CHUNK):
                    content += chunk
                    if len(content) > max_bytes:
                        raise AttachmentError(too_large(name, len(content), max_bytes))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            sentence = "That file can't be read from Mattermost now. Please attach it again."
            raise AttachmentError(sentence) from error
        return bytes(content)


def _pause_s(response: aiohttp.ClientResponse) -> float:
    """`X-Ratelimit-Reset` tells in how many seconds calls are free again."""
    told = response.headers.get("X-Ratelimit-Reset", "")
    return min(float(told), _LONGEST_PAUSE_S) if told.isdecimal() else 1.0
