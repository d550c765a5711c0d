"""What the bot will say at a later time: a record each, found by when it is due.

A tenant has one hash of records and one order of times. What is due goes into the ledger first
and is dropped here after, so it is said once whatever dies in between.
"""

from __future__ import annotations

from typing import NamedTuple

import structlog

from adapters.stores.batching import Batcher, Script
from adapters.stores.keys import Keys
from adapters.stores.sealing import PLAIN, Seal
from tools.identity import ConversationKey

log = structlog.get_logger(__name__)

MOST_OF_ONE = 20  # reminders that wait for one person
_MOST = 5000  # of a tenant
_DUE_AT_ONCE = 100
_NAME_PARTS = 3

# KEYS reminders, later · ARGV name, record, due (ms), how names of this person begin, most of one,
# most of all · 0 when too many wait.
KEEP_REMINDER = Script(
    """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 1 end
local mine = 0
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(name, 1, #ARGV[4]) == ARGV[4] then mine = mine + 1 end
end
if mine >= tonumber(ARGV[5]) or redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[6]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
return 1
"""
)

# KEYS reminders, later · ARGV name… · how many there were
DROP_REMINDERS = Script(
    """
redis.call('ZREM', KEYS[2], unpack(ARGV))
return redis.call('HDEL', KEYS[1], unpack(ARGV))
""",
    completes=True,
)

ALL = (KEEP_REMINDER, DROP_REMINDERS)


class Waiting(NamedTuple):
    """One of them; `record` is the bot's own."""

    name: str
    due_at: float  # epoch seconds
    record: bytes


class RedisReminders:
    """Every method raises `StoreUnavailable`."""

    def __init__(self, batcher: Batcher, keys: Keys, *, seal: Seal = PLAIN) -> None:
        self._batcher, self._keys, self._seal = batcher, keys, seal

    async def keep(
        self, key: ConversationKey, event_id: str, *, user_id: str, record: bytes, due_at: float
    ) -> bool:
        """False when too many wait already; what is kept again changes nothing."""
        tenant = key.tenant
        [sealed] = await self._seal.close(tenant, self._keys.reminders(tenant), [record])
        words: list[str | bytes | int] = [_name(user_id, key, event_id), sealed]
        words += [int(due_at * 1000), f"{user_id}\n", MOST_OF_ONE, _MOST]
        return bool(await self._batcher.run(KEEP_REMINDER, self._names(tenant), words))

    async def due(self, tenant: str, now: float) -> list[Waiting]:
        """What should have been said by `now`, the oldest first; not more than a hundred."""
        return await self._found(tenant, "-inf", str(int(now * 1000)), _DUE_AT_ONCE)

    async def of(self, tenant: str, user_id: str) -> list[Waiting]:
        """What waits for one person, the next first."""
        everything = await self._found(tenant, "-inf", "+inf", _MOST)
        return [each for each in everything if each.name.partition("\n")[0] == user_id]

    async def drop(self, tenant: str, *names: str) -> int:
        """How many there were."""
        if not names:
            return 0
        return int(await self._batcher.run(DROP_REMINDERS, self._names(tenant), list(names)))

    async def forget(
        self,
        tenant: str,
        *,
        user_id: str | None = None,
        conversation: str | None = None,
        event: str | None = None,
    ) -> int:
        """Drop what one person is told, what one conversation is, or what has an event id that
        begins so; returns how many."""
        found = await self._batcher.command("HKEYS", self._keys.reminders(tenant))
        names = [name.decode(errors="replace") for name in found]
        gone = [name for name in names if _is_of(name, user_id, conversation, event)]
        return await self.drop(tenant, *gone)

    async def _found(self, tenant: str, since: str, until: str, most: int) -> list[Waiting]:
        later = await self._batcher.command(
            "ZRANGEBYSCORE", self._keys.later(tenant), since, until, "WITHSCORES", "LIMIT", 0, most
        )
        if not later:
            return []
        names, scores = _split(later)
        records = await self._batcher.command("HMGET", self._keys.reminders(tenant), *names)
        lost = [name for name, record in zip(names, records, strict=True) if record is None]
        if lost:
            log.warning("store.bad_record", kind="reminder", size=0)
            await self.drop(tenant, *lost)
        kept = [each for each in zip(names, scores, records, strict=True) if each[2] is not None]
        opened = await self._seal.open(
            tenant, self._keys.reminders(tenant), [record for _, _, record in kept]
        )
        return [
            Waiting(name, score / 1000, record)
            for (name, score, _), record in zip(kept, opened, strict=True)
        ]

    def _names(self, tenant: str) -> list[str]:
        return [self._keys.reminders(tenant), self._keys.later(tenant)]


def _name(user_id: str, key: ConversationKey, event_id: str) -> str:
    return "\n".join((user_id, str(key), event_id))


def _is_of(name: str, user_id: str | None, conversation: str | None, event: str | None) -> bool:
    parts = name.split("\n")
    if len(parts) != _NAME_PARTS:
        return False
    if event is not None:
        return parts[2].startswith(event)
    return parts[0] == user_id if user_id is not None else parts[1] == conversation


def _split(later: list[object]) -> tuple[list[str], list[float]]:
    """Names and times: pairs in RESP3, a flat list in RESP2."""
    flat: list[object] = []
    for each in later:
        flat += each if isinstance(each, (list, tuple)) else [each]
    names = [bytes(each).decode(errors="replace") for each in flat[::2]]  # type: ignore[call-overload]
    return names, [float(each) for each in flat[1::2]]  # type: ignore[arg-type]
