"""One HTTP server on loopback: the page, /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from bot.settings import WebSection

log = structlog.get_logger(__name__)


class PageUnavailable(Exception):
    """The port can't be had; names it and the setting to change."""


class QuietServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: the bot owns them and ends its turns first."""
        yield


@asynccontextmanager
async def serve_page(web: WebSection, routes: Sequence[BaseRoute]) -> AsyncIterator[str]:
    """Serve `routes` on `web.host`; yields the URL. Raises `PageUnavailable`."""
    config = uvicorn.Config(
        Starlette(routes=list(routes)),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    try:
        family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
        listener = socket.create_server((web.host, web.port), family=family)
    except OSError as error:
        raise PageUnavailable(
            f"port {web.port} on {web.host} is in use; set web.port to another (0: any)"
        ) from error
    server = QuietServer(config)
    with listener:
        port = listener.getsockname()[1]
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve([listener]), name="page")
            try:
                yield f"http://{web.host}:{port}/"
            finally:
                server.should_exit = True
