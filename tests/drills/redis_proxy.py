"""A TCP proxy in front of a redis-server: slow, cut, held, or not there."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class RedisProxy:
    """What it does to the bytes can change at any moment; it counts what it cut."""

    def __init__(self, port: int, *, dice: random.Random | None = None) -> None:
        self._to, self._dice = port, dice or random.Random(0)
        self.port = 0
        self.delay_s = 0.0
        self.cut_chance = 0.0  # for each piece of bytes on its way, in either direction
        self.refuses = False
        self.cuts = 0
        self._open = asyncio.Event()
        self._open.set()
        self._serving: set[asyncio.Task[object]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def hold(self) -> None:
        """Let nothing through; what has begun stays in here."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def cut_all(self) -> None:
        """Drop every connection with all that is on its way."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def idle(self) -> None:
        while self._serving:
            await asyncio.wait(self._serving)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        if self.refuses:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, back}
        self._writers |= ends
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._carry(reader, back, ends))
                ways.create_task(self._carry(there, writer, ends))
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(5):
                        await end.wait_closed()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ends: set[asyncio.StreamWriter],
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(65_536):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._open.wait()
                if self.cut_chance and self._dice.random() < self.cut_chance:
                    self.cuts += 1
                    writer.write(piece[: len(piece) // 2])  # half of it may still arrive
                    await writer.drain()
                    break
                writer.write(piece)
                await writer.drain()
        for end in ends:
            end.close()


@asynccontextmanager
async def redis_proxy(port: int, *, dice: random.Random | None = None) -> AsyncIterator[RedisProxy]:
    proxy = RedisProxy(port, dice=dice)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.release()
        proxy.cut_all()
        server.close()
        await server.wait_closed()
        await proxy.idle()
