"""The list of threads that a local page shows: title and last activity, per tenant."""

from __future__ import annotations

import msgspec

from adapters.stores.batching import Batcher, pairs
from adapters.stores.keys import Keys


class StoredThread(msgspec.Struct, frozen=True):
    title: str
    last_active: float  # epoch seconds


class RedisThreads:
    """One hash per tenant, a small record per thread."""

    def __init__(self, batcher: Batcher, keys: Keys) -> None:
        self._batcher, self._keys = batcher, keys

    async def remember(self, tenant: str, thread: str, known: StoredThread) -> None:
        record = msgspec.json.encode(known)
        await self._batcher.command("HSET", self._keys.threads(tenant), thread, record)

    async def of(self, tenant: str) -> list[tuple[str, StoredThread]]:
        """(thread, what is known of it), newest first."""
        answer = await self._batcher.command("HGETALL", self._keys.threads(tenant))
        rows = [(name.decode(), _read(record)) for name, record in pairs(answer)]
        return sorted(rows, key=lambda row: row[1].last_active, reverse=True)


def _read(record: bytes) -> StoredThread:
    try:
        return msgspec.json.decode(record, type=StoredThread)
    except msgspec.DecodeError:
        return StoredThread("", 0.0)
