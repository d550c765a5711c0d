"""The way to one server: what is issued at the same moment travels as one pipeline.

A lane keeps few pipelines under way and knows when its server is down: then one pipeline at a
time finds out whether it is back, and everything behind it fails together with it, so nobody
waits longer than one timeout (row B2). A pipeline that broke is never sent again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import structlog
from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from adapters.stores.errors import StoreUnavailable

log = structlog.get_logger(__name__)

Argument = str | bytes | int | float
Words = tuple[Argument, ...]

_MAX_BATCH = 256
_MAX_IN_FLIGHT = 4
_DOWN_AFTER = 3  # broken pipelines in a row; one that timed out is enough


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many replicas must have a change before it counts, and how long they have for it."""

    count: int = 0
    timeout_ms: int = 1000


class Call(NamedTuple):
    words: Words
    future: asyncio.Future[Any]
    replicated: bool = False
    hops: int = 0  # how often a cluster has sent it elsewhere


class Source(Protocol):
    """Where a lane's connections come from."""

    name: str

    async def acquire(self) -> AbstractConnection: ...

    async def release(self, connection: AbstractConnection) -> None: ...


class Lane:
    """Sends calls to one server; `settle` gets each call that failed, with the error."""

    def __init__(
        self,
        source: Source,
        *,
        timeout_s: float,
        replicas: Replicas,
        texts: Mapping[str, str],
        settle: Callable[[Call, Exception], None],
        count: Callable[[], None],
    ) -> None:
        self._source, self._replicas, self._texts = source, replicas, texts
        self._settle, self._count = settle, count
        self._timeout_s = timeout_s + replicas.timeout_ms / 1000 * bool(replicas.count)
        self._waiting: list[Call] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._failures = 0

    def add(self, call: Call) -> None:
        self._waiting.append(call)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    async def aclose(self) -> None:
        """Wait for what is under way."""
        while self._sending or self._waiting:
            await (asyncio.wait(self._sending) if self._sending else asyncio.sleep(0))

    def _flush(self) -> None:
        limit = 1 if self._failures else _MAX_IN_FLIGHT
        while self._waiting and len(self._sending) < limit:
            batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
            task = asyncio.get_running_loop().create_task(self._send(batch), name="redis.batch")
            self._sending.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if self._waiting:
            self._flush()

    async def _send(self, batch: Sequence[Call]) -> None:
        try:
            replies = await self.round_trip([call.words for call in batch])
            await self._load_missing(batch, replies)
        except (RedisError, OSError, TimeoutError) as error:
            self._broke(batch, error)
            return
        except asyncio.CancelledError:
            for call in batch:
                call.future.cancel()
            raise
        except Exception as error:  # whatever it is, nobody may wait for ever
            log.exception("redis.batch_failed", error=type(error).__name__)
            self._fail(batch, StoreUnavailable(f"Redis client: {type(error).__name__}"))
            return
        if self._failures >= _DOWN_AFTER:
            log.info("redis.back", server=self._source.name)
        self._failures = 0
        for call, reply in zip(batch, replies, strict=True):
            if isinstance(reply, Exception):
                self._settle(call, reply)
            elif not call.future.done():
                call.future.set_result(reply)

    def _broke(self, batch: Sequence[Call], error: Exception) -> None:
        was_up = self._failures < _DOWN_AFTER
        timed_out = isinstance(error, TimeoutError) or "Timeout" in type(error).__name__
        self._failures = max(self._failures + 1, _DOWN_AFTER * timed_out)
        why = StoreUnavailable(f"Redis: {type(error).__name__}")
        if self._failures >= _DOWN_AFTER:
            if was_up:
                log.warning("redis.down", server=self._source.name, error=type(error).__name__)
            batch, self._waiting = [*batch, *self._waiting], []
        self._fail(batch, why)

    def _fail(self, batch: Sequence[Call], error: StoreUnavailable) -> None:
        for call in batch:
            self._settle(call, error)

    async def _load_missing(self, batch: Sequence[Call], replies: list[Any]) -> None:
        """Load scripts the server has lost (B8) and run those calls again: they never ran."""
        missing = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if not missing:
            return
        shas = {str(batch[n].words[1], "ascii") for n in missing}  # type: ignore[arg-type]
        await self.round_trip([("SCRIPT", "LOAD", self._texts[sha]) for sha in sorted(shas)])
        again = await self.round_trip([batch[n].words for n in missing])
        for n, reply in zip(missing, again, strict=True):
            replies[n] = reply

    async def round_trip(self, commands: list[Words]) -> list[Any]:
        """Send all, then read all: a third of what the client's own pipeline costs.

        Errors of single commands are replies. With `replicas`, a change that too few of them
        have in time becomes `StoreUnavailable`, though the server itself has made it.
        """
        self._count()
        replicas = self._replicas
        sent = (
            [*commands, ("WAIT", replicas.count, replicas.timeout_ms)]
            if replicas.count
            else commands
        )
        packed = b"".join([pack_command(words) for words in sent])  # type: ignore[arg-type]
        async with asyncio.timeout(self._timeout_s):
            replies = await self._exchange(packed, len(sent))
        return _with_replicas(replies, replicas) if replicas.count else replies

    async def _exchange(self, packed: bytes, count: int) -> list[Any]:
        connection = await self._source.acquire()
        try:
            await connection.send_packed_command(packed)
            return [await _reply(connection) for _ in range(count)]
        except BaseException:
            # What is still to come on it belongs to nobody (B6).
            await connection.disconnect(nowait=True)
            raise
        finally:
            await self._source.release(connection)


def _with_replicas(replies: list[Any], replicas: Replicas) -> list[Any]:
    acknowledged = replies.pop()
    if isinstance(acknowledged, int) and acknowledged >= replicas.count:
        return replies
    if isinstance(acknowledged, int):
        found = f"{acknowledged} of {replicas.count} replicas have it in {replicas.timeout_ms} ms"
    else:
        found = f"WAIT was refused ({type(acknowledged).__name__})"
    error = StoreUnavailable(
        f"Redis setting redis.wait_replicas = {replicas.count}: {found}; start the replicas, "
        "raise redis.wait_timeout_s, or lower redis.wait_replicas"
    )
    return [reply if isinstance(reply, Exception) else error for reply in replies]


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(timeout=math.inf)  # the batch has its own
    except ResponseError as error:
        if isinstance(error, ReadOnlyError):  # a primary that was demoted: look again who is one
            connection.mark_for_reconnect()  # type: ignore[no-untyped-call]
        return error
