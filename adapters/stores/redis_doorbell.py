"""The doorbell on Redis Streams: a consumer group on each shard of an adapter's conversations.

The shards of one adapter share a hash tag: one XREADGROUP reads them all, in a cluster too.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import zlib
from collections.abc import Iterator
from itertools import chain
from time import monotonic
from typing import Any

from redis.exceptions import RedisError, ResponseError

from adapters.stores.batching import Batcher, Script
from adapters.stores.connection import Redis
from adapters.stores.doorbell import Ring
from adapters.stores.errors import StoreUnavailable
from adapters.stores.keys import Keys

_GROUP = "workers"
_FORGET_MS = 24 * 3600 * 1000  # a consumer that was killed so long ago is removed
_MAX_RINGS = 100_000  # a ring that falls off is repaired by the sweeper
_ADOPT_S = 0.5  # how often a process looks for the rings of dead ones
_ENTRY = re.compile(rb"\d+-\d+")
_GONE = ("NOGROUP", "UNBLOCKED")  # the stream or its group was deleted

# KEYS stream · ARGV group, consumer, forget_ms
_OPEN = Script("""
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP') then
  return redis.error_reply(made.err)
end
redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], ARGV[1], ARGV[2])
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local of = {}
  for n = 1, #flat, 2 do of[flat[n]] = flat[n + 1] end
  if of.idle > tonumber(ARGV[3]) and of.pending == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], of.name)
  end
end
""")

# KEYS stream · ARGV group, consumer, id. One that was adopted meanwhile stays adopted.
_RENEW = Script("""
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2]) == 1 then
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'JUSTID')
end
""")

# KEYS stream · ARGV group, id, conversation, max_rings
_GIVE_BACK = Script(
    """
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 1 then
  redis.call('XDEL', KEYS[1], ARGV[2])
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', 'k', ARGV[3])
end
""",
    completes=True,
)

# KEYS stream · ARGV group, consumer, max_rings. Give everything back and leave; the last to
# leave an empty stream takes it along, since terminals come and go.
_LEAVE = Script(
    """
if redis.call('EXISTS', KEYS[1]) == 0 then return end
for _, held in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 10000, ARGV[2])) do
  local entry = redis.call('XRANGE', KEYS[1], held[1], held[1])[1]
  redis.call('XACK', KEYS[1], ARGV[1], held[1])
  redis.call('XDEL', KEYS[1], held[1])
  if entry then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', unpack(entry[2]))
  end
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
local others = redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if #others == 0 and redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[1])
end
""",
    completes=True,
)

ALL = (_OPEN, _RENEW, _GIVE_BACK, _LEAVE)


class RedisDoorbell:
    """`consumer` names this process; all processes must be given the same `shards`.

    Rings of a shard that nobody reads are repaired by the sweeper, only later.
    """

    def __init__(
        self,
        redis: Redis,
        batcher: Batcher,
        keys: Keys,
        *,
        adapter: str,
        consumer: str,
        shards: int = 4,
        idle_ms: int = 31_000,
        longest_wait_ms: int = 1000,
    ) -> None:
        self._redis, self._batcher, self._consumer = redis, batcher, consumer
        self._streams = [keys.bell(adapter, shard) for shard in range(shards)]
        self._idle_ms, self._longest_wait_ms = idle_ms, longest_wait_ms
        self._cursors = [b"0-0"] * shards
        self._adopt_at = 0.0
        self.is_in_step = True  # a claim comes a round trip later

    async def open(self) -> None:
        await self._everywhere(_OPEN, _GROUP, self._consumer, _FORGET_MS)

    async def ring(self, conversation: str) -> None:
        stream = self._streams[shard_of(conversation, len(self._streams))]
        await self._batcher.command(
            "XADD", stream, "MAXLEN", "~", _MAX_RINGS, "*", "k", conversation
        )

    async def take(self, *, limit: int = 64, wait_ms: int) -> list[Ring]:
        rings: list[Ring] = []
        if monotonic() >= self._adopt_at:
            self._adopt_at = monotonic() + _ADOPT_S
            rings = await self._adopt(limit)
        rings = rings or await self._read(limit, wait_ms)
        # Streams count for themselves, so there may be a few more than this process has room for.
        await asyncio.gather(*map(self.give_back, rings[limit:]))
        return rings[:limit]

    async def renew(self, ring: Ring) -> None:
        words = (_GROUP, self._consumer, ring.entry_id)
        await self._batcher.run(_RENEW, [self._streams[ring.shard]], words)

    async def done(self, ring: Ring) -> None:
        stream = self._streams[ring.shard]
        await asyncio.gather(
            self._batcher.command("XACK", stream, _GROUP, ring.entry_id),
            self._batcher.command("XDEL", stream, ring.entry_id),
        )

    async def give_back(self, ring: Ring) -> None:
        words = (_GROUP, ring.entry_id, ring.conversation, _MAX_RINGS)
        await self._batcher.run(_GIVE_BACK, [self._streams[ring.shard]], words)

    async def aclose(self) -> None:
        with contextlib.suppress(StoreUnavailable):
            await self._everywhere(_LEAVE, _GROUP, self._consumer, _MAX_RINGS)

    async def _everywhere(self, script: Script, *words: str | int) -> None:
        await asyncio.gather(*(self._batcher.run(script, [name], words) for name in self._streams))

    async def _read(self, limit: int, wait_ms: int) -> list[Ring]:
        each = max(1, limit // len(self._streams))
        wait_ms = max(1, min(wait_ms, self._longest_wait_ms))
        names: dict[Any, Any] = dict.fromkeys(self._streams, ">")
        try:
            answer: Any = await self._redis.xreadgroup(
                _GROUP, self._consumer, names, count=each, block=wait_ms
            )
        except ResponseError as error:
            if not any(word in str(error) for word in _GONE):
                raise StoreUnavailable(f"Redis refused: {type(error).__name__}") from error
            await self.open()  # after FLUSHALL the groups are made again (B8)
            return []
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis: {type(error).__name__}") from error
        found = answer.items() if isinstance(answer, dict) else answer or ()
        shards = {name.encode(): shard for shard, name in enumerate(self._streams)}
        return list(chain.from_iterable(_entries(entries, shards[name]) for name, entries in found))

    async def _adopt(self, limit: int) -> list[Ring]:
        """Rings that another process took and neither renewed nor finished."""
        calls = (
            self._batcher.command(
                *("XAUTOCLAIM", stream, _GROUP, self._consumer),
                *(self._idle_ms, cursor, "COUNT", limit),
            )
            for stream, cursor in zip(self._streams, self._cursors, strict=True)
        )
        try:
            answers = await asyncio.gather(*calls)
        except StoreUnavailable:
            await self.open()  # tells whether a group was missing, or Redis is
            return []
        self._cursors = [answer[0] for answer in answers]
        return [ring for shard, answer in enumerate(answers) for ring in _entries(answer[1], shard)]


def shard_of(conversation: str, shards: int) -> int:
    """The same in every process and version."""
    return zlib.crc32(conversation.encode()) % shards


def _entries(found: object, shard: int) -> Iterator[Ring]:
    """The rings in a reply of RESP2 or RESP3, which nest entries differently."""
    if not isinstance(found, (list, tuple)):
        return
    if len(found) == 2 and isinstance(found[0], bytes) and _ENTRY.fullmatch(found[0]):
        fields = found[1]
        if isinstance(fields, list):
            fields = dict(zip(fields[::2], fields[1::2], strict=True))
        if fields:  # else it was trimmed away
            text = fields.get(b"k", b"").decode(errors="replace")
            yield Ring(found[0].decode(), text, shard)
        return
    for inner in found:
        yield from _entries(inner, shard)
