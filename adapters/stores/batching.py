"""One round trip for all commands issued at the same moment.

A turn writes little and often. Commands of all conversations that are issued in one pass of
the event loop travel as one pipeline, which costs a fraction of a round trip each
(`facts/performance.md` G: 24 µs instead of 126 µs a command).
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError, ResponseError

from adapters.stores.connection import Redis
from adapters.stores.errors import StaleLease, StoreUnavailable

log = structlog.get_logger(__name__)

Argument = str | bytes | int | float

STALE = "STALE the fence has moved on"
_MAX_BATCH = 256
_MAX_IN_FLIGHT = 4


class Script:
    """A Lua script, called by its hash; `completes` lets it run when memory is full."""

    def __init__(self, body: str, *, completes: bool = False) -> None:
        self.body, self.completes = body, completes

    def text(self, version: tuple[int, int]) -> str:
        """The script as `version` takes it: the flags line exists from Redis 7.0 on."""
        flags = "#!lua flags=allow-oom\n" if self.completes and version >= (7, 0) else ""
        return flags + self.body


def pairs(answer: object) -> list[tuple[bytes, bytes]]:
    """HGETALL's fields: a flat list through a script or RESP2, a mapping in RESP3."""
    if isinstance(answer, dict):
        return list(answer.items())
    flat = list(answer) if isinstance(answer, (list, tuple)) else []
    return list(zip(flat[::2], flat[1::2], strict=True))


class Batcher:
    """Sends commands and scripts; a cancelled caller never disturbs another's reply (B6)."""

    def __init__(self, redis: Redis, *, version: tuple[int, int]) -> None:
        self._redis, self._version = redis, version
        self._waiting: list[tuple[tuple[Argument, ...], asyncio.Future[Any]]] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._texts: dict[str, str] = {}
        self._hashes: dict[Script, str] = {}
        self.round_trips = 0

    async def command(self, *words: Argument) -> Any:
        """One command; raises `StoreUnavailable`, or `StaleLease` from a fenced script."""
        return await self._enqueue(words)

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """One script, with its keys and arguments."""
        sha = self._hashes.get(script) or self._register(script)
        return await self._enqueue(("EVALSHA", sha, len(keys), *keys, *arguments))

    async def load(self, scripts: Iterable[Script]) -> None:
        """Bring the scripts to the server first: a script that must be loaded in between
        would run after the commands that were issued behind it."""
        for script in scripts:
            self._register(script)
        await asyncio.gather(
            *(self.command("SCRIPT", "LOAD", text) for text in self._texts.values())
        )

    async def aclose(self) -> None:
        """Wait for what is under way."""
        while self._sending:
            await asyncio.wait(self._sending)

    def _register(self, script: Script) -> str:
        text = script.text(self._version)
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._texts[sha] = text
        self._hashes[script] = sha
        return sha

    def _enqueue(self, words: tuple[Argument, ...]) -> asyncio.Future[Any]:
        # Encoded here, so that a word that is not valid Unicode fails its own caller only.
        words = tuple(word.encode() if isinstance(word, str) else word for word in words)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((words, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        while self._waiting and len(self._sending) < _MAX_IN_FLIGHT:
            batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
            task = asyncio.get_running_loop().create_task(self._send(batch), name="redis.batch")
            self._sending.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if self._waiting:
            self._flush()

    async def _send(self, batch: list[tuple[tuple[Argument, ...], asyncio.Future[Any]]]) -> None:
        try:
            replies = await self._round_trip([words for words, _ in batch])
            await self._load_missing(batch, replies)
        except (RedisError, OSError, TimeoutError) as error:
            for _, future in batch:
                _fail(future, StoreUnavailable(f"Redis: {type(error).__name__}"))
            return
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # whatever it is, nobody may wait for ever
            log.exception("redis.batch_failed", error=type(error).__name__)
            for _, future in batch:
                _fail(future, StoreUnavailable(f"Redis client: {type(error).__name__}"))
            return
        for (_, future), reply in zip(batch, replies, strict=True):
            _settle(future, reply)

    async def _load_missing(
        self,
        batch: list[tuple[tuple[Argument, ...], asyncio.Future[Any]]],
        replies: list[Any],
    ) -> None:
        """Load scripts the server has lost (B8) and run those calls again: they never ran."""
        missing = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if not missing:
            return
        shas = {_text(batch[n][0][1]) for n in missing}
        await self._round_trip([("SCRIPT", "LOAD", self._texts[sha]) for sha in sorted(shas)])
        again = await self._round_trip([batch[n][0] for n in missing])
        for n, reply in zip(missing, again, strict=True):
            replies[n] = reply

    async def _round_trip(self, commands: list[tuple[Argument, ...]]) -> list[Any]:
        """Send all, then read all: a third of what the client's own pipeline costs."""
        self.round_trips += 1
        packed = b"".join([pack_command(words) for words in commands])  # type: ignore[arg-type]
        pool = self._redis.connection_pool
        connection: AbstractConnection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(connection.socket_timeout):
                await connection.send_packed_command(packed)
                return [await _reply(connection) for _ in commands]
        finally:
            await pool.release(connection)


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(timeout=math.inf)  # the batch has its own
    except ResponseError as error:
        return error


def _text(word: Argument) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


def _settle(future: asyncio.Future[Any], reply: Any) -> None:
    if future.done():
        return
    if not isinstance(reply, Exception):
        future.set_result(reply)
    elif isinstance(reply, ResponseError) and "STALE" in str(reply):
        future.set_exception(StaleLease("another worker holds this conversation"))
    elif isinstance(reply, OutOfMemoryError):
        future.set_exception(StoreUnavailable("Redis is out of memory; raise maxmemory"))
    else:
        future.set_exception(StoreUnavailable(f"Redis refused: {type(reply).__name__}"))


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
