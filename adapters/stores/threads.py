"""The list of threads that a local page shows: title and last activity, per tenant."""

from __future__ import annotations

import msgspec

from adapters.stores.batching import Batcher, pairs
from adapters.stores.keys import Keys

_TITLE_CHARS = 60


class StoredThread(msgspec.Struct, frozen=True):
    title: str
    last_active: float  # epoch seconds


class RedisThreads:
    """One hash per tenant; the title is the first words ever said in the thread."""

    def __init__(self, batcher: Batcher, keys: Keys) -> None:
        self._batcher, self._keys = batcher, keys

    async def touch(self, tenant: str, thread: str, *, text: str, at: float) -> None:
        """Remember that something was said; the first text becomes the title."""
        name = self._keys.threads(tenant)
        stored = await self._batcher.command("HGET", name, thread)
        title = _read(stored).title if stored else _title(text)
        record = msgspec.json.encode(StoredThread(title, at))
        await self._batcher.command("HSET", name, thread, record)

    async def of(self, tenant: str) -> list[tuple[str, StoredThread]]:
        """(thread, what is known of it), newest first."""
        answer = await self._batcher.command("HGETALL", self._keys.threads(tenant))
        rows = [(name.decode(), _read(record)) for name, record in pairs(answer)]
        return sorted(rows, key=lambda row: row[1].last_active, reverse=True)


def _title(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _TITLE_CHARS else line[: _TITLE_CHARS - 1] + "…"


def _read(record: bytes) -> StoredThread:
    try:
        return msgspec.json.decode(record, type=StoredThread)
    except msgspec.DecodeError:
        return StoredThread("", 0.0)
