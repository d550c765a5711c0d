"""The HTTP side of a local model server: short questions, and answers that stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import aiohttp
import msgspec
import yarl

from adapters.models.openai_reading import Watch
from adapters.models.openai_wire import Refusal, parse_refusal
from adapters.models.sse import EventReader, EventTooLong
from agents.errors import BackendError
from agents.ports import ModelRequest

_CONNECT_TIMEOUT_S = 10.0
_MAX_REFUSAL_BYTES = 64 * 1024
_encoder = msgspec.json.Encoder()


class RefusedError(Exception):
    """The server answered with another status than 200."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"HTTP {refusal.status}")
        self.refusal = refusal


class ServerLink:
    """Requests to one server; raises `RefusedError`, and `BackendError` when it is out of reach."""

    def __init__(self, backend: str, base_url: str, *, api_key: str | None = None) -> None:
        self._backend, self._base = backend, yarl.URL(base_url.rstrip("/"))
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    @property
    def place(self) -> str:
        return f"{self._base.host}:{self._base.port}"

    async def fetch(
        self, path: str, fields: Mapping[str, Any] | None = None, *, timeout_s: float
    ) -> bytes:
        """GET, or POST of `fields`."""
        try:
            async with asyncio.timeout(timeout_s), await self._send(path, fields) as response:
                return await response.read()
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise self._unreachable(error) from error

    async def events(
        self, path: str, fields: Mapping[str, Any], request: ModelRequest, *, as_lines: bool
    ) -> AsyncGenerator[list[bytes], None]:
        """What arrives together, split into events (`as_lines`: one JSON value a line)."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.first_token_timeout_s
        response = await self._open(path, fields, request, deadline)
        reader, watch, begun = EventReader(), Watch(loop, response, deadline), False
        try:
            while True:
                try:
                    data = await response.content.readany()
                except (aiohttp.ClientError, OSError) as error:
                    raise self._lost(request, fired=watch.fired, begun=begun) from error
                if as_lines:  # an empty line ends an event
                    events = reader.feed((data or b"\n").replace(b"\n", b"\n\n"))
                else:
                    events = reader.feed(data) if data else reader.flush()
                if events:
                    begun = True
                    watch.pause()
                    yield events
                    watch.arm(loop.time() + request.gap_timeout_s)
                if not data:
                    return
        except EventTooLong as error:
            raise self.error("sent a chunk of more than 1 MiB") from error
        finally:
            watch.stop()
            response.close()

    async def aclose(self) -> None:
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def error(self, detail: str) -> BackendError:
        return BackendError(self._backend, detail, retryable=True)

    async def _open(
        self, path: str, fields: Mapping[str, Any], request: ModelRequest, deadline: float
    ) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._send(path, fields)
        except aiohttp.ClientError as error:  # first: a connect timeout is a TimeoutError too
            raise self._unreachable(error) from error
        except TimeoutError as error:
            raise self._lost(request, fired=True, begun=False) from error
        except OSError as error:
            raise self._unreachable(error) from error

    async def _send(self, path: str, fields: Mapping[str, Any] | None) -> aiohttp.ClientResponse:
        if self._closed:
            raise self.error("is closed; make a new one")
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S)
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        response = await self._session.request(
            "GET" if fields is None else "POST",
            self._base / path,
            data=None if fields is None else _encoder.encode(fields),
            headers=self._headers,
            allow_redirects=False,
        )
        if response.status != 200:
            async with response:
                body = await response.content.read(_MAX_REFUSAL_BYTES)
            raise RefusedError(parse_refusal(response.status, body))
        return response

    def _lost(self, request: ModelRequest, *, fired: bool, begun: bool) -> BackendError:
        if not fired:
            return self.error("the connection broke before the answer was whole")
        if begun:
            return self.error(f"sent nothing more within {request.gap_timeout_s:g} s")
        return self.error(f"did not begin to answer within {request.first_token_timeout_s:g} s")

    def _unreachable(self, error: Exception) -> BackendError:
        kind = type(error).__name__
        return self.error(f"no answer from {self.place} ({kind}); is the server running?")
