"""What waits for a person's press: a record a turn, decided once, and open only for a while.

A conversation's records lie in one hash: the record under its event, and beside it until when it
is open and how it was decided. Who asked has a set of what is open for them, in the tenant.
"""

from __future__ import annotations

import asyncio
from typing import Literal, NamedTuple

import structlog

from adapters.stores.batching import Batcher, Script
from adapters.stores.keys import Keys
from adapters.stores.ledger import RETENTION_S, one_line
from adapters.stores.scripts import NOW
from adapters.stores.sealing import PLAIN, Seal
from tools.identity import ConversationKey

log = structlog.get_logger(__name__)

MOST_OPEN = 3  # of one person (reliability row G10)
_KEPT = 50  # of one conversation, decided or not
Choice = Literal["approve", "deny"]

# KEYS approvals, open · ARGV member, event, record, open_ms, retention_s, most open, most kept
# 0 when too many are open for this person. What was decided stays decided.
ASK = Script(
    NOW
    + """
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if redis.call('HEXISTS', KEYS[1], 'by:' .. ARGV[2]) == 1 then return 1 end
if not redis.call('ZSCORE', KEYS[2], ARGV[1])
  and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[6]) then return 0 end
local open_till = now + ARGV[4]
if redis.call('HLEN', KEYS[1]) >= 3 * tonumber(ARGV[7]) then
  for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
    local event = string.match(name, '^till:(.*)$')
    if event and tonumber(redis.call('HGET', KEYS[1], name)) < now then
      redis.call('HDEL', KEYS[1], name, 'by:' .. event, 'record:' .. event)
    end
  end
end
redis.call('HSET', KEYS[1], 'record:' .. ARGV[2], ARGV[3], 'till:' .. ARGV[2], open_till)
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('ZADD', KEYS[2], open_till, ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return 1
"""
)

# KEYS approvals, open · ARGV member, event, choice
# The choice that holds: the first one, whoever comes later; 'late' or 'gone' where there is none.
DECIDE = Script(
    NOW
    + """
local known = redis.call('HGET', KEYS[1], 'by:' .. ARGV[2])
if known then return known end
local till = redis.call('HGET', KEYS[1], 'till:' .. ARGV[2])
if not till then return 'gone' end
redis.call('ZREM', KEYS[2], ARGV[1])
if now_ms() > tonumber(till) then return 'late' end
redis.call('HSET', KEYS[1], 'by:' .. ARGV[2], ARGV[3])
return ARGV[3]
""",
    completes=True,
)

ALL = (ASK, DECIDE)


class Open(NamedTuple):
    """Something that waits for one person."""

    key: ConversationKey
    event_id: str


class Decided(NamedTuple):
    record: bytes
    choice: str  # empty while nobody decided


class RedisApprovals:
    """Every method raises `StoreUnavailable`."""

    def __init__(
        self, batcher: Batcher, keys: Keys, *, seal: Seal = PLAIN, retention_s: int = RETENTION_S
    ) -> None:
        self._batcher, self._keys, self._seal = batcher, keys, seal
        self._retention_s = retention_s

    async def ask(
        self, key: ConversationKey, event_id: str, *, user_id: str, record: bytes, open_s: float
    ) -> bool:
        """Keep what the turn of this event wants to do; False when too much is open already.

        A turn that begins anew, after a crash, replaces what it wanted before.
        """
        [sealed] = await self._seal.close(key.tenant, self._name(key), [record])
        words: list[str | bytes | int] = [_member(key, event_id), one_line(event_id), sealed]
        words += [int(open_s * 1000), self._retention_s, MOST_OPEN, _KEPT]
        return bool(await self._batcher.run(ASK, self._names(key, user_id), words))

    async def decide(
        self, key: ConversationKey, event_id: str, choice: Choice, *, user_id: str
    ) -> str:
        """The choice that holds from now on; "late" after its time, "gone" for the unknown."""
        words: list[str | bytes] = [_member(key, event_id), one_line(event_id), choice]
        held = await self._batcher.run(DECIDE, self._names(key, user_id), words)
        return bytes(held).decode()

    async def read(self, key: ConversationKey, event_id: str) -> Decided | None:
        event = one_line(event_id).decode()
        name = self._keys.approvals(key)
        record, by = await self._batcher.command("HMGET", name, f"record:{event}", f"by:{event}")
        if record is None:
            return None
        [opened] = await self._seal.open(key.tenant, self._name(key), [record])
        return Decided(opened, (by or b"").decode())

    async def open_for(self, tenant: str, user_id: str) -> list[Open]:
        """What waits for this person in the tenant, the newest first."""
        name = self._keys.open_approvals(tenant, user_id)
        members = await self._batcher.command("ZRANGE", name, 0, -1, "REV")
        return [found for member in members if (found := _parsed(member)) is not None]

    async def open_in(self, key: ConversationKey) -> str | None:
        """The event of the newest card here that nobody has decided, whoever asked."""
        fields = await self._batcher.command("HKEYS", self._keys.approvals(key))
        decided = {each[3:] for each in fields if each.startswith(b"by:")}
        waiting = [each[5:] for each in fields if each.startswith(b"till:")]
        waiting = [each for each in waiting if each not in decided]
        if not waiting:
            return None
        name = self._keys.approvals(key)
        tills = await self._batcher.command("HMGET", name, *(b"till:" + each for each in waiting))
        _, newest = max(zip((int(till or 0) for till in tills), waiting, strict=True))
        return bytes(newest).decode(errors="replace")

    async def drop(self, key: ConversationKey, event_id: str, *, user_id: str) -> None:
        """Nobody can decide it any more, nor what its press led to; what was not done is not
        done. The events of presses are named after the first, with a '!' behind it."""
        name, waiting = self._names(key, user_id)
        event = one_line(event_id).decode()
        found = [field.decode() for field in await self._batcher.command("HKEYS", name)]
        records = [field for field in found if field.startswith("record:")]
        gone = [
            each[7:] for each in records if each[7:] == event or each[7:].startswith(f"{event}!")
        ]
        for each in gone:
            await asyncio.gather(
                self._batcher.command("HDEL", name, f"record:{each}", f"till:{each}"),
                self._batcher.command("ZREM", waiting, f"{key}\n{each}"),
            )

    def _names(self, key: ConversationKey, user_id: str) -> list[str]:
        return [self._keys.approvals(key), self._keys.open_approvals(key.tenant, user_id)]

    def _name(self, key: ConversationKey) -> str:
        return self._keys.record(key, "approvals")


def _member(key: ConversationKey, event_id: str) -> str:
    return f"{key}\n{one_line(event_id).decode()}"


def _parsed(member: bytes) -> Open | None:
    conversation, _, event_id = member.decode(errors="replace").rpartition("\n")
    try:
        return Open(ConversationKey.parse(conversation), event_id)
    except ValueError:
        log.warning("store.bad_record", kind="open approval", size=len(member))
        return None
