"""The list of threads that a local page shows: title and last activity, per tenant."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from adapters.stores.batching import Batcher, pairs
from adapters.stores.errors import READ_ERRORS
from adapters.stores.keys import Keys
from adapters.stores.ledger import RETENTION_S
from adapters.stores.sealing import PLAIN, Seal


class StoredThread(msgspec.Struct, frozen=True):
    title: str
    last_active: float  # epoch seconds


class RedisThreads:
    """One hash per tenant, a small record per thread, listed as long as its memory is kept."""

    def __init__(
        self,
        batcher: Batcher,
        keys: Keys,
        *,
        retention_s: int = RETENTION_S,
        seal: Seal = PLAIN,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._batcher, self._keys, self._seal = batcher, keys, seal
        self._retention_s, self._clock = retention_s, clock

    async def remember(self, tenant: str, thread: str, known: StoredThread) -> None:
        name = self._keys.threads(tenant)
        [record] = await self._seal.close(tenant, name, [msgspec.json.encode(known)])
        await self._batcher.command("HSET", name, thread, record)

    async def of(self, tenant: str) -> list[tuple[str, StoredThread]]:
        """(thread, what is known of it), newest first."""
        name = self._keys.threads(tenant)
        known = pairs(await self._batcher.command("HGETALL", name))
        records = await self._seal.open(tenant, name, [record for _, record in known])
        rows = [
            (thread.decode(errors="replace"), _read(record))
            for (thread, _), record in zip(known, records, strict=True)
        ]
        oldest = self._clock() - self._retention_s
        if gone := [thread for thread, known in rows if 0 < known.last_active < oldest]:
            await self._batcher.command("HDEL", name, *gone)
            rows = [row for row in rows if row[0] not in gone]
        return sorted(rows, key=lambda row: row[1].last_active, reverse=True)


def _read(record: bytes) -> StoredThread:
    try:
        return msgspec.json.decode(record, type=StoredThread)
    except READ_ERRORS:
        return StoredThread("", 0.0)
