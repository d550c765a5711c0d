"""One round trip for all commands issued at the same moment.

A turn writes little and often. Commands of all conversations that are issued in one pass of
the event loop travel as one pipeline, which costs a fraction of a round trip each
(`facts/performance.md` G: 24 µs instead of 126 µs a command).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from redis.asyncio import RedisCluster
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError, ResponseError

from adapters.stores.cluster import ClusterRoutes, MakesLane
from adapters.stores.connection import Redis
from adapters.stores.errors import Halted, StaleLease, StoreDamaged, StoreUnavailable
from adapters.stores.lanes import Argument, Call, Lane, Replicas, Source

__all__ = ["STALE", "Argument", "Batcher", "Replicas", "Script", "commands_of", "pairs"]

STALE = "STALE the fence has moved on"
HALTED = "HALTED"  # the first word; the last one is the kind


class Script:
    """A Lua script, called by its hash; `completes` lets it run when memory is full."""

    def __init__(self, body: str, *, completes: bool = False) -> None:
        self.body, self.completes = body, completes

    def text(self, version: tuple[int, int]) -> str:
        """The script as `version` takes it: the flags line exists from Redis 7.0 on."""
        flags = "#!lua flags=allow-oom\n" if self.completes and version >= (7, 0) else ""
        return flags + self.body


def commands_of(scripts: Iterable[Script]) -> frozenset[str]:
    """The Redis commands that the scripts call."""
    bodies = (script.body for script in scripts)
    return frozenset(name for body in bodies for name in re.findall(r"redis\.call\('(\w+)'", body))


def pairs(answer: object) -> list[tuple[bytes, bytes]]:
    """HGETALL's fields: a flat list through a script or RESP2, a mapping in RESP3."""
    if isinstance(answer, dict):
        return list(answer.items())
    flat = list(answer) if isinstance(answer, (list, tuple)) else []
    return list(zip(flat[::2], flat[1::2], strict=True))


class Routes(Protocol):
    """Which lane a call takes."""

    def add(self, call: Call) -> None: ...

    def lanes(self) -> Iterable[Lane]:
        """One for every server that scripts must be loaded on."""

    def redirected(self, call: Call, reply: Exception) -> bool:
        """Whether the call was sent elsewhere, so that its caller goes on waiting."""

    async def aclose(self) -> None: ...


class Batcher:
    """Sends commands and scripts; a cancelled caller never disturbs another's reply (B6)."""

    def __init__(
        self,
        redis: Redis,
        *,
        version: tuple[int, int],
        timeout_s: float = 2.0,
        replicas: Replicas | None = None,
    ) -> None:
        self._version, self._timeout_s = version, timeout_s
        self._replicas = replicas or Replicas()
        self.round_trips = 0
        self._texts: dict[str, str] = {}
        self._hashes: dict[Script, str] = {}
        self._routes: Routes = (
            ClusterRoutes(redis, self._lane, self._settle, self._texts, timeout_s)
            if isinstance(redis, RedisCluster)
            else _OneServer(redis.connection_pool, self._lane)
        )

    async def command(self, *words: Argument) -> Any:
        """One command; raises `StoreUnavailable`, or `StaleLease` from a fenced script."""
        return await self._enqueue(words)

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        *,
        replicated: bool = False,
    ) -> Any:
        """One script, with its keys and arguments.

        A `replicated` one counts only when as many replicas have it as the settings want;
        else it raises `StoreUnavailable`, and may be repeated.
        """
        sha = self._hashes.get(script) or self._register(script)
        words = ("EVALSHA", sha, len(keys), *keys, *arguments)
        return await self._enqueue(words, replicated=replicated and bool(self._replicas.count))

    async def load(self, scripts: Iterable[Script]) -> None:
        """Bring the scripts to every server first: a script that must be loaded in between
        would run after the commands that were issued behind it."""
        for script in scripts:
            self._register(script)
        loop = asyncio.get_running_loop()
        calls = []
        for lane in self._routes.lanes():
            for text in self._texts.values():
                calls.append(Call(("SCRIPT", "LOAD", text), loop.create_future()))
                lane.add(calls[-1])
        await asyncio.gather(*(call.future for call in calls))

    async def aclose(self) -> None:
        """Wait for what is under way."""
        await self._routes.aclose()

    def _lane(self, source: Source, *, replicated: bool = False) -> Lane:
        return Lane(
            source,
            timeout_s=self._timeout_s,
            replicas=self._replicas if replicated else Replicas(),
            texts=self._texts,
            settle=self._settle,
            count=self._count,
        )

    def _count(self) -> None:
        self.round_trips += 1

    def _register(self, script: Script) -> str:
        text = script.text(self._version)
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._texts[sha] = text
        self._hashes[script] = sha
        return sha

    def _enqueue(
        self, words: tuple[Argument, ...], *, replicated: bool = False
    ) -> asyncio.Future[Any]:
        # Encoded here, so that a word that is not valid Unicode fails its own caller only.
        words = tuple([word.encode() if isinstance(word, str) else word for word in words])
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._routes.add(Call(words, future, replicated))
        return future

    def _settle(self, call: Call, error: Exception) -> None:
        if not call.future.done() and not self._routes.redirected(call, error):
            call.future.set_exception(_refusal(error))


class _OneServer:
    """The routes of a Redis without cluster: one lane, and one for what must be replicated."""

    def __init__(self, pool: ConnectionPool, lane: MakesLane) -> None:
        source = _PoolSource(pool)
        self._plain = lane(source)
        self._replicated = lane(source, replicated=True)

    def add(self, call: Call) -> None:
        (self._replicated if call.replicated else self._plain).add(call)

    def lanes(self) -> Iterable[Lane]:
        return (self._plain,)

    def redirected(self, call: Call, reply: Exception) -> bool:
        return False

    async def aclose(self) -> None:
        await asyncio.gather(self._plain.aclose(), self._replicated.aclose())


class _PoolSource:
    def __init__(self, pool: ConnectionPool) -> None:
        self._pool, self.name = pool, "redis"

    async def acquire(self) -> AbstractConnection:
        connection: AbstractConnection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        await self._pool.release(connection)


def _refusal(reply: Exception) -> Exception:
    """What the caller gets for an error that Redis answered."""
    if isinstance(reply, StoreUnavailable):
        # One for each caller: a traceback grows with everyone who raises the same object.
        return StoreUnavailable(str(reply))
    if isinstance(reply, ResponseError) and "STALE" in str(reply):
        return StaleLease("another worker holds this conversation")
    if isinstance(reply, ResponseError) and HALTED in str(reply):
        return Halted(str(reply).rpartition(" ")[2])
    if isinstance(reply, OutOfMemoryError):
        return StoreUnavailable("Redis is out of memory; raise maxmemory")
    if str(reply).startswith("MISCONF"):
        return StoreUnavailable("Redis can't write to its disk (MISCONF): make room, read its log")
    if isinstance(reply, NoPermissionError):
        return StoreUnavailable(f"Redis: its ACL denies a needed command or key: {reply}")
    if isinstance(reply, ReadOnlyError):
        return StoreUnavailable("Redis is a read-only replica; redis.url must reach the primary")
    if str(reply).startswith("WRONGTYPE") or "@user_script" in str(reply):
        return StoreDamaged("Redis: a key holds what was not written there by the ledger")
    return StoreUnavailable(f"Redis refused: {type(reply).__name__}")
