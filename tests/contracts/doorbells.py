"""Where the conformance suite's doorbells hang: real servers, a client for each worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import ClassVar, Protocol

from adapters.stores.batching import Batcher
from adapters.stores.connection import connect, server_version
from adapters.stores.doorbell import Doorbell, Ring
from adapters.stores.keys import Keys
from adapters.stores.nats_doorbell import connect_nats
from adapters.stores.redis_doorbell import RedisDoorbell
from tests.nats_servers import jetstream
from tests.redis_servers import RedisServer

IDLE_S = 0.4
LONG_S = 30.0


class Place(Protocol):
    """A server and the doorbell on it; every bell has a connection of its own."""

    kind: ClassVar[str]

    @property
    def url(self) -> str: ...

    def bell(
        self, consumer: str, *, idle_s: float = IDLE_S
    ) -> AbstractAsyncContextManager[Doorbell]: ...

    def kill(self) -> None: ...

    def start(self) -> None: ...

    async def forget(self) -> None:
        """Lose the rings and whatever was set up for them."""


class RedisPlace:
    kind: ClassVar[str] = "redis"

    def __init__(self, folder: Path) -> None:
        self._server = RedisServer(folder)
        self.start()

    @property
    def url(self) -> str:
        return self._server.url

    def bell(
        self, consumer: str, *, idle_s: float = IDLE_S
    ) -> AbstractAsyncContextManager[Doorbell]:
        return self.bell_at(self.url, consumer, idle_s=idle_s)

    @staticmethod
    @asynccontextmanager
    async def bell_at(url: str, consumer: str, *, idle_s: float) -> AsyncIterator[Doorbell]:
        client = connect(url, timeout_s=1)
        batcher = Batcher(client, version=await server_version(client), timeout_s=1)
        idle_ms = int(idle_s * 1000)
        bell = RedisDoorbell(
            client, batcher, Keys("t"), adapter="slack", consumer=consumer, idle_ms=idle_ms
        )
        try:
            yield bell
            await bell.aclose()
        finally:
            await batcher.aclose()
            await client.aclose()

    def kill(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.start()
        self._server.ready()

    async def forget(self) -> None:
        await asyncio.to_thread(self._server.ask, "FLUSHALL")


class NatsPlace:
    kind: ClassVar[str] = "nats"

    def __init__(self, folder: Path) -> None:
        self._server = jetstream(folder)
        self.start()

    @property
    def url(self) -> str:
        return self._server.url

    def bell(
        self, consumer: str, *, idle_s: float = IDLE_S
    ) -> AbstractAsyncContextManager[Doorbell]:
        return self.bell_at(self.url, consumer, idle_s=idle_s)

    @staticmethod
    @asynccontextmanager
    async def bell_at(url: str, consumer: str, *, idle_s: float) -> AsyncIterator[Doorbell]:
        async with connect_nats(url, prefix="t", consumer=consumer) as bells:
            bell = bells.bell("terminal:dev/pts/0", idle_ms=int(idle_s * 1000))
            yield bell
            await bell.aclose()

    def kill(self) -> None:
        self._server.kill()

    def start(self) -> None:
        self._server.start()

    async def forget(self) -> None:
        async with connect_nats(self._server.url, prefix="t") as bells:
            await bells.jetstream.delete_stream(bells.stream)


PLACES: dict[str, type[RedisPlace] | type[NatsPlace]] = {"redis": RedisPlace, "nats": NatsPlace}


async def heard(bell: Doorbell, *, within_s: float, at_least: int = 1) -> list[Ring]:
    """What the bell gives until `at_least` rings came or `within_s` is over."""
    rings: list[Ring] = []
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while len(rings) < at_least and (left_s := deadline - loop.time()) > 0:
        rings += await bell.take(wait_ms=max(1, min(200, int(left_s * 1000))))
    return rings
