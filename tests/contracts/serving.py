"""A real uvicorn on a free loopback port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute


class _Server(uvicorn.Server):
    """Never touches the test process's signal handlers, and tells when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    async def serve_here(self) -> None:
        await self._serve()


@asynccontextmanager
async def serving(routes: Sequence[BaseRoute], *, port: int = 0) -> AsyncIterator[str]:
    config = uvicorn.Config(
        Starlette(routes=list(routes)),
        host="127.0.0.1",
        port=port,
        log_level="warning",
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve_here(), name="uvicorn")
    async with asyncio.timeout(10):
        await server.up.wait()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
