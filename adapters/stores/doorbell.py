"""The doorbell: a Redis Stream that only says "look at conversation K".

Ringing twice is harmless, and a lost ring is repaired by the sweeper, so nothing here
carries the product's promise. One stream per chat adapter: only a process that serves the
adapter can answer there.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
from redis.exceptions import RedisError, ResponseError

from adapters.stores.batching import Batcher
from adapters.stores.connection import Redis
from adapters.stores.errors import StoreUnavailable
from adapters.stores.keys import Keys

_GROUP = "workers"
_BATCH = 64
_FORGET_MS = 24 * 3600 * 1000
_MAX_RINGS = 100_000  # a ring that falls off is repaired by the sweeper


class Ring(msgspec.Struct, frozen=True):
    entry_id: str
    conversation: str


class Doorbell:
    """ring, take, done of one adapter's stream; `consumer` names this process."""

    def __init__(
        self, redis: Redis, batcher: Batcher, keys: Keys, *, adapter: str, consumer: str
    ) -> None:
        self._redis, self._batcher = redis, batcher
        self._stream, self._consumer = keys.bell(adapter), consumer

    async def open(self) -> None:
        """Create the stream and its group; a second call changes nothing."""
        try:
            await self._redis.xgroup_create(self._stream, _GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise StoreUnavailable(f"Redis refused the doorbell: {error}") from error
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis: {type(error).__name__}") from error
        await self._join()

    async def ring(self, conversation: str) -> None:
        await self._batcher.command(
            "XADD", self._stream, "MAXLEN", "~", _MAX_RINGS, "*", "k", conversation
        )

    async def take(self, *, wait_ms: int) -> list[Ring]:
        """New rings, oldest first; empty after `wait_ms` without one."""
        try:
            answer = await self._redis.xreadgroup(
                _GROUP, self._consumer, {self._stream: ">"}, count=_BATCH, block=wait_ms
            )
        except ResponseError as error:
            if "NOGROUP" not in str(error):  # after FLUSHALL the group is made again (B8)
                raise StoreUnavailable(f"Redis refused: {type(error).__name__}") from error
            await self.open()
            return []
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis: {type(error).__name__}") from error
        return _rings(answer)

    async def adopt(self, *, idle_ms: int) -> list[Ring]:
        """Rings that a dead worker took and never finished."""
        answer = await self._batcher.command(
            "XAUTOCLAIM", self._stream, _GROUP, self._consumer, idle_ms, "0", "COUNT", _BATCH
        )
        return _entries(answer[1]) if answer and len(answer) > 1 else []

    async def done(self, ring: Ring) -> None:
        await asyncio.gather(
            self._batcher.command("XACK", self._stream, _GROUP, ring.entry_id),
            self._batcher.command("XDEL", self._stream, ring.entry_id),
        )

    async def aclose(self) -> None:
        """Leave the group; what was taken and not done stays for another worker.

        The last to leave an empty stream takes it along: terminals come and go.
        """
        with contextlib.suppress(RedisError, OSError):
            if await self._redis.xpending_range(
                self._stream, _GROUP, "-", "+", 1, consumername=self._consumer
            ):
                return
            await self._redis.xgroup_delconsumer(self._stream, _GROUP, self._consumer)
            others = await self._redis.xinfo_consumers(self._stream, _GROUP)
            if not others and not await self._redis.xlen(self._stream):
                await self._redis.delete(self._stream)

    async def _join(self) -> None:
        """Be known to the others, and remove consumers that were killed long ago."""
        with contextlib.suppress(RedisError, OSError):
            await self._redis.xgroup_createconsumer(self._stream, _GROUP, self._consumer)
            for consumer in await self._redis.xinfo_consumers(self._stream, _GROUP):
                if consumer["idle"] > _FORGET_MS and not consumer["pending"]:
                    await self._redis.xgroup_delconsumer(self._stream, _GROUP, consumer["name"])


def _rings(answer: object) -> list[Ring]:
    """RESP2 gives a list of (stream, entries), RESP3 a mapping; both mean the same."""
    if isinstance(answer, dict):
        groups = [entry for value in answer.values() for entry in value]
        flat = groups[0] if groups and isinstance(groups[0], list) else groups
        return _entries(flat)
    rings: list[Ring] = []
    for _, entries in answer if isinstance(answer, list) else []:
        rings += _entries(entries)
    return rings


def _entries(entries: object) -> list[Ring]:
    rings: list[Ring] = []
    for entry in entries if isinstance(entries, list) else []:
        if entry is None or entry[1] is None:
            continue
        fields = entry[1]
        if isinstance(fields, list):  # a raw command's reply
            fields = dict(zip(fields[::2], fields[1::2], strict=True))
        if b"k" in fields:
            rings.append(Ring(entry[0].decode(), fields[b"k"].decode(errors="replace")))
    return rings
