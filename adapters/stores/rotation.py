"""New data keys for every tenant: each sealed record is opened and sealed again where it lies.

The old key stays until walks over the whole store find nothing under it. It may be interrupted
at any place and run again: what was sealed again is known by the key's id in the record.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from time import monotonic

from adapters.stores.batching import Batcher, Script, pairs
from adapters.stores.connection import Redis
from adapters.stores.installs import SEALED_FOR
from adapters.stores.key_kinds import kind_of, tenant_in
from adapters.stores.keys import Keys, literally
from adapters.stores.scanning import PAGE, pages
from adapters.stores.sealing import AesSeal
from tools.identity import ConversationKey

_AT_ONCE = 64
_KEYS_AT_ONCE = 16  # a picture's key holds megabytes
# An event moves twice at most, from the line to the turn and from there to `last` or the dead
# letters: of three walks that find nothing old, one has seen it.
_CLEAN_WALKS = 3

# KEYS what holds the record · ARGV type, place, the record that was read, the new one
# 1 when it was still there.
_SWAP = Script("""
local kind, at, was, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if kind == 'hash' then
  if redis.call('HGET', KEYS[1], at) ~= was then return 0 end
  redis.call('HSET', KEYS[1], at, now)
elseif kind == 'list' then
  if redis.call('LINDEX', KEYS[1], at) ~= was then return 0 end
  redis.call('LSET', KEYS[1], at, now)
elseif kind == 'zset' then
  local score = redis.call('ZSCORE', KEYS[1], was)
  if not score then return 0 end
  redis.call('ZREM', KEYS[1], was)
  redis.call('ZADD', KEYS[1], score, now)
else
  if redis.call('GET', KEYS[1]) ~= was then return 0 end
  redis.call('SET', KEYS[1], now, 'KEEPTTL')
end
return 1
""")

# The name that the records of a key are bound to; of the rest it is the key's own.
_BOUND = {
    "line": "event",
    "steps": "step",
    "outbox": "part",
    "memory": "memory",
    "recap": "recap",
    "answers": "answers",
    "approvals": "approvals",
    "last": "last",
}
_TYPES = {"line": "zset", "steps": "list", "memory": "list", "last": "string"}
_HASHES = (
    *("turn", "outbox", "recap", "answers", "approvals", "blob"),
    *("dead", "threads", "facts", "feedback", "installs", "reminders", "hand-overs"),
)
_FIELDS = {"recap": b"record", "blob": b"data"}


class Rotation:
    """Raises `StoreUnavailable`, or `StoreRefused` where the ACL denies SCAN."""

    def __init__(self, redis: Redis, batcher: Batcher, keys: Keys, seal: AesSeal) -> None:
        self._redis, self._batcher, self._keys, self._seal = redis, batcher, keys, seal
        self._root = keys.tenants("").removesuffix("tenants:")

    async def rotate(
        self, *, settle_s: float, walked: Callable[[Counter[str]], None]
    ) -> Counter[str]:
        """Counts of tenants, keys, records sealed again, and those that can't be opened.

        Running bots use an old key for `settle_s` yet: no walk counts as clean before that.
        `walked` is told the counts after each page. The old keys stay while anything can't be
        opened.
        """
        found = Counter(tenants=await self._seal.data_keys.begin_rotation())
        self._seal.forget_keys()
        settled_at, clean = monotonic() + settle_s, 0
        while clean < _CLEAN_WALKS:
            began, before = monotonic(), found["sealed again"] + found["moved"]
            found["unreadable"] = found["keys"] = 0
            async for page in pages(self._redis, literally(self._root) + "*"):
                await self._page([name.decode(errors="replace") for name in page], found)
                walked(found)
            if found["unreadable"]:
                return found
            if found["sealed again"] + found["moved"] > before:
                clean = 0
            elif began >= settled_at:
                clean += 1
            else:
                await asyncio.sleep(settled_at - monotonic())
        found["old keys dropped"] = await self._seal.data_keys.end_rotation()
        self._seal.forget_keys()
        return found

    async def _page(self, names: list[str], found: Counter[str]) -> None:
        found["keys"] += len(names)
        for at in range(0, len(names), _KEYS_AT_ONCE):
            some = names[at : at + _KEYS_AT_ONCE]
            await asyncio.gather(*(self._key(name, found) for name in some))

    async def _key(self, name: str, found: Counter[str]) -> None:
        rest = name.removeprefix(self._root)
        conversation, kind, _ = kind_of(rest)
        holds = "hash" if kind in _HASHES else _TYPES.get(kind)
        if holds is None or await self._type(name) != holds:
            return
        tenant = SEALED_FOR if kind == "installs" else tenant_in(rest)
        async for at, member in self._members(name, holds):
            head = b"\n".join(member.split(b"\n", 2)[:2]) + b"\n" if kind == "line" else b""
            bound = self._bound(name, kind, conversation, at)
            record = member[len(head) :]
            if bound is None or not record:
                continue
            try:
                again = await self._seal.renewed(tenant, bound, record)
            except ValueError:
                found["unreadable"] += 1
                continue
            if again != record:
                words: list[str | bytes] = [holds, at, member, head + again]
                done = await self._batcher.run(_SWAP, [name], words)
                found["sealed again" if done else "moved"] += 1

    def _bound(
        self, name: str, kind: str, conversation: ConversationKey | None, at: bytes
    ) -> str | None:
        """What the record at a place is bound to; None when no record lies there."""
        if at != _FIELDS.get(kind, at) or (kind == "facts" and not at.isdigit()):
            return None
        if kind == "installs":
            return f"{name}\n{at.decode(errors='replace')}"
        if kind == "dead":
            return f"{self._root}{at.decode(errors='replace').rpartition(chr(10))[0]}:dead"
        if kind == "turn":
            of = "event" if at.startswith(b"event:") else "ending" if at == b"ending" else ""
            return (of and f"{self._root}{conversation}:{of}") or None
        return f"{self._root}{conversation}:{_BOUND[kind]}" if kind in _BOUND else name

    async def _type(self, name: str) -> str:
        found = await self._batcher.command("TYPE", name)
        return found.decode() if isinstance(found, bytes) else str(found)

    async def _members(self, name: str, holds: str) -> AsyncIterator[tuple[bytes, bytes]]:
        """Every place with what lies there."""
        if holds == "string":
            if (record := await self._batcher.command("GET", name)) is not None:
                yield b"", record
        elif holds == "list":
            at = 0
            while records := await self._batcher.command("LRANGE", name, at, at + _AT_ONCE - 1):
                for number, record in enumerate(records, at):
                    yield b"%d" % number, record
                at += len(records)
        else:
            command, cursor = ("ZSCAN" if holds == "zset" else "HSCAN"), b"0"
            while True:
                cursor, flat = await self._batcher.command(command, name, cursor, "COUNT", PAGE)
                for at_, value in pairs(flat):
                    yield (b"", at_) if holds == "zset" else (at_, value)
                if cursor in (b"0", 0):
                    return
