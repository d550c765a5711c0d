"""A listener that strangers can reach: short headers, short waits, few connections, one app."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from bot.page import PageUnavailable, QuietServer

log = structlog.get_logger(__name__)

HEADERS_WITHIN_S = 5.0
_HEADER_BYTES = 16 * 1024
_CONNECTIONS = 512
_IDLE_S = 30.0  # a kept connection; Slack and proxies use theirs again

Asgi = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]


class _Impatient(H11Protocol):
    """Headers that are not whole in `HEADERS_WITHIN_S` end the connection."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._disarm()

    def send_400_response(self, msg: str) -> None:
        """Nothing is told to who can't speak HTTP."""
        head = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        self.transport.write(head)
        self.transport.close()

    def _await_headers(self) -> None:
        """The clock runs from the first byte of a request to the end of its headers."""
        if self.conn.their_state is not h11.IDLE:
            self._disarm()
        elif self._deadline is None and self.timeout_keep_alive_task is None:
            self._deadline = self.loop.call_later(HEADERS_WITHIN_S, self.transport.abort)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


@asynccontextmanager
async def serve_public(host: str, port: int, app: Asgi, *, setting: str) -> AsyncIterator[int]:
    """Serve `app`; yields the port. Raises `PageUnavailable` naming `setting`."""
    config = uvicorn.Config(
        app,
        http=_Impatient,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        timeout_keep_alive=int(_IDLE_S),
        timeout_graceful_shutdown=3,
    )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise PageUnavailable(
            f"port {port} on {host} can't be had ({type(error).__name__}); set {setting} to another"
        ) from error
    server = QuietServer(config)
    with listener:
        bound = int(listener.getsockname()[1])
        log.info("http.listening", host=host, port=bound)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve([listener]), name="public http")
            try:
                yield bound
            finally:
                server.should_exit = True
