"""A listening socket that counts who connects and answers nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass
class Ear:
    port: int = 0
    connections: int = 0


@asynccontextmanager
async def listening() -> AsyncIterator[Ear]:
    ear = Ear()

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ear.connections += 1
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        ear.port = server.sockets[0].getsockname()[1]
        yield ear
