"""What people said of answers: one rating and one text for a person and an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import structlog

from adapters.stores.batching import Batcher, Script
from adapters.stores.errors import READ_ERRORS
from adapters.stores.keys import Keys
from adapters.stores.ledger import RETENTION_S
from adapters.stores.sealing import PLAIN, Seal

log = structlog.get_logger(__name__)

MOST = 1000  # of a tenant; then the oldest goes
MAX_CHARS = 1000
_FORMAT = b"1"
_NAME_PARTS = 4

# KEYS feedback, feedback-order · ARGV name, record, now, retention_s, most
# Keeps the record, and drops what is too old or too much.
KEEP = Script("""
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[3] - ARGV[4])
for _, name in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1 - ARGV[5])) do
  gone[#gone + 1] = name
end
for _, name in ipairs(gone) do
  redis.call('HDEL', KEYS[1], name)
  redis.call('ZREM', KEYS[2], name)
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return #gone
""")


class Feedback(msgspec.Struct, frozen=True):
    """What one person said; `turn_id` is empty where they spoke of no answer."""

    kind: Literal["up", "down", "text"]
    user_id: str
    conversation: str
    turn_id: str
    at: float  # epoch seconds
    text: str = ""


_decoder = msgspec.json.Decoder(Feedback)


class RedisFeedback:
    """A hash a tenant, and the order of its entries. Raises `StoreUnavailable`."""

    def __init__(
        self,
        batcher: Batcher,
        keys: Keys,
        *,
        seal: Seal = PLAIN,
        retention_s: int = RETENTION_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._batcher, self._keys, self._seal = batcher, keys, seal
        self._retention_s, self._clock = retention_s, clock

    async def keep(self, tenant: str, said: Feedback) -> None:
        """In the place of what the same person said of the same answer before."""
        [record] = await self._seal.close(
            tenant, self._keys.feedback(tenant), [_FORMAT + msgspec.json.encode(said)]
        )
        what = "text" if said.kind == "text" else "rating"
        name = "\n".join((said.conversation, said.turn_id, said.user_id, what))
        words: list[str | bytes | int] = [name, record, int(said.at), self._retention_s, MOST]
        await self._batcher.run(KEEP, self._names(tenant), words)

    async def of(self, tenant: str) -> list[Feedback]:
        """All that is kept, oldest first."""
        since = int(self._clock()) - self._retention_s
        order = self._keys.feedback_order(tenant)
        names = await self._batcher.command("ZRANGEBYSCORE", order, f"({since}", "+inf")
        if not names:
            return []
        found = await self._batcher.command("HMGET", self._keys.feedback(tenant), *names)
        records = [record for record in found if record is not None]
        opened = await self._seal.open(tenant, self._keys.feedback(tenant), records)
        return [said for record in opened if (said := _read(record)) is not None]

    async def forget(
        self, tenant: str, *, conversation: str | None = None, user_id: str | None = None
    ) -> int:
        """Drop what was said in a conversation, or by a person; returns how many."""
        names = await self._batcher.command("ZRANGE", self._keys.feedback_order(tenant), 0, -1)
        gone = [name for name in names if _is_of(name, conversation, user_id)]
        if gone:
            await self._batcher.command("HDEL", self._keys.feedback(tenant), *gone)
            await self._batcher.command("ZREM", self._keys.feedback_order(tenant), *gone)
        return len(gone)

    def _names(self, tenant: str) -> Sequence[str]:
        return [self._keys.feedback(tenant), self._keys.feedback_order(tenant)]


def _is_of(name: bytes, conversation: str | None, user_id: str | None) -> bool:
    parts = name.decode(errors="replace").split("\n")
    if len(parts) != _NAME_PARTS:
        return False
    return parts[0] == conversation if conversation is not None else parts[2] == user_id


def _read(record: bytes) -> Feedback | None:
    if record[:1] != _FORMAT:
        log.warning("store.unknown_record", format=record[:1].hex())
        return None
    try:
        return _decoder.decode(record[1:])
    except READ_ERRORS as error:
        log.warning("store.bad_record", error=type(error).__name__, size=len(record))
        return None
