"""What can't be what the ledger wrote is set aside, so that the conversation goes on (row B7).

A claim that meets it says so with an error; then every key of the conversation is looked at in
one script. What is of a wrong kind, or can't be read, is renamed to `…:bad`, kept for the
retention time and told in the log; nothing that is right is touched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import structlog

from adapters.stores.batching import Batcher, Script, pairs
from adapters.stores.claim import read_pins, read_recap
from adapters.stores.errors import StoreDamaged
from adapters.stores.keys import Keys
from adapters.stores.scripts import SWEEP
from tools.identity import ConversationKey

log = structlog.get_logger(__name__)

_T = TypeVar("_T")
_MENDS = 2  # one for what a script stumbles over, one for what only a reader sees
_REMEDY = "what was there is in the keys that end in :bad"

# KEYS of the conversation, then pins of the channel, closed, dead, marks
# ARGV owner, conversation, retention_s, kind… (that the reader could not read)
# Returns the kinds that were set aside. A fence that is lost goes on from the clock, which is
# higher than any fence that was reached by counting.
MEND = Script("""
local kinds = {'lease', 'fence', 'line', 'turn', 'steps', 'outbox', 'memory', 'pins', 'recap',
  'answers', 'last', 'due', 'pins of the channel', 'closed', 'dead', 'marks'}
local types = {'string', 'string', 'zset', 'hash', 'list', 'hash', 'list', 'hash', 'hash',
  'hash', 'string', 'zset', 'hash', 'stream', 'hash', 'hash'}
local found = {}
local function aside(n)
  local name = KEYS[n] .. ':bad'
  if redis.call('EXISTS', KEYS[n]) == 0 then return end
  redis.call('RENAME', KEYS[n], name)
  redis.call('EXPIRE', name, ARGV[3])
  found[#found + 1] = kinds[n]
end
local function whole_turn() aside(4) aside(5) aside(6) end
local function is_count(text, digits)
  return not text or (string.match(text, '^%d+$') and #text <= digits)
end
for n = 1, #KEYS do
  local kind = redis.call('TYPE', KEYS[n]).ok
  if kind ~= 'none' and kind ~= types[n] then aside(n) end
end
local fence = redis.call('GET', KEYS[2])
if not is_count(fence, 15) then aside(2) end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('SET', KEYS[2], redis.call('TIME')[1] * 1000)
end
for _, member in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  if not string.match(member, '^[^\\n]*\\n[^\\n]*\\n') then
    redis.call('ZREM', KEYS[3], member)
    redis.call('RPUSH', KEYS[3] .. ':bad', string.sub(member, 1, 65536))
    redis.call('LTRIM', KEYS[3] .. ':bad', -100, -1)
    redis.call('EXPIRE', KEYS[3] .. ':bad', ARGV[3])
    found[#found + 1] = 'event'
  end
end
local turn = redis.call('HMGET', KEYS[4], 'events', 'deaths')
if turn[1] then
  local right = is_count(turn[1], 4) and is_count(turn[2], 9)
  for n = 1, right and tonumber(turn[1]) or 0 do
    right = right and redis.call('HMGET', KEYS[4], 'event:' .. n, 'id:' .. n)
    right = right and right[1] and right[2]
  end
  if not right then whole_turn() end
end
local recap = redis.call('HMGET', KEYS[9], 'covers', 'dropped', 'epoch')
for n = 1, 3 do
  if not is_count(recap[n], 12) then aside(9) break end
end
for n = 4, #ARGV do
  if ARGV[n] == 'turn' then whole_turn() end
  for k = 1, #kinds do
    if kinds[k] == ARGV[n] then aside(k) end
  end
end
for _, kind in ipairs(found) do
  if kind == 'turn' or kind == 'event' then
    redis.call('XADD', KEYS[14], 'MAXLEN', '~', 10000, '*', 'turn', 'unreadable',
      'conversation', ARGV[2], 'state', 'failed', 'reason', 'set aside: ' .. kind)
  end
end
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
redis.call('ZADD', KEYS[12], redis.call('TIME')[1] * 1000, ARGV[2])
return found
""")


class Unreadable(StoreDamaged):
    """A claim brought what can't be read; `answer` is all of it."""

    def __init__(self, answer: Any) -> None:
        super().__init__("a conversation's keys can't be read")
        self.answer = answer


async def mended(
    batcher: Batcher,
    keys: Keys,
    key: ConversationKey,
    call: Callable[[], Awaitable[_T]],
    *,
    owner: str,
    retention_s: int,
) -> _T:
    """What `call` gives, if need be after setting aside what is wrong in the conversation."""
    for _ in range(_MENDS):
        try:
            return await call()
        except StoreDamaged as error:
            await _mend(batcher, keys, key, owner=owner, retention_s=retention_s, error=error)
    return await call()


async def sweep(batcher: Batcher, due: str, *, again_ms: int) -> list[str]:
    """What is due of one tenant; a damaged list is set aside, and stops no other tenant's."""
    try:
        found = await batcher.run(SWEEP, [due], [again_ms, 100])
    except StoreDamaged:
        log.error("store.bad_record", kinds=["due"], remedy=_REMEDY)
        await batcher.command("RENAME", due, f"{due}:bad")
        return []
    bad = [member for member in found if not _is_conversation(member)]
    if bad:
        log.warning("store.bad_record", kinds=["due"], count=len(bad))
        await batcher.command("ZREM", due, *bad)
    return [member.decode() for member in found if member not in bad]


def _is_conversation(member: bytes) -> bool:
    try:
        ConversationKey.parse(member.decode())
    except (ValueError, msgspec.ValidationError):
        return False
    return True


async def _mend(
    batcher: Batcher,
    keys: Keys,
    key: ConversationKey,
    *,
    owner: str,
    retention_s: int,
    error: StoreDamaged,
) -> None:
    """Set aside what is wrong in the conversation, `error` being how it was met."""
    unread = _unreadable(error.answer) if isinstance(error, Unreadable) else []
    found = await batcher.run(
        MEND,
        [
            *(*keys.of(key), keys.channel_pins(key), keys.closed(key.tenant)),
            *(keys.dead(key.tenant), keys.marks(key.tenant)),
        ],
        [owner, str(key), retention_s, *unread],
    )
    kinds = sorted(kind.decode() for kind in found)
    log.error("store.bad_record", kinds=kinds, remedy=_REMEDY)


def _unreadable(answer: Any) -> list[str]:
    """The kinds of records that a claim brought and nobody can read."""
    outbox, recap, pins, channel_pins = (answer[place] for place in (4, 6, 7, 8))
    parts: tuple[tuple[str, Callable[[Any], object], Any], ...] = (
        ("outbox", lambda part: [int(index) for index, _ in pairs(part)], outbox),
        ("recap", read_recap, recap),
        ("pins", read_pins, pins),
        ("pins of the channel", read_pins, channel_pins),
    )
    found = [kind for kind, read, part in parts if not _reads(read, part)]
    return found or ["turn"]


def _reads(read: Callable[[Any], object], part: Any) -> bool:
    try:
        read(part)
    except ValueError:
        return False
    return True
