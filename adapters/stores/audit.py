"""The auditor: reads the whole store, writes nothing, and tells what breaks the ledger's rules.

It walks all keys by SCAN and looks at each by itself, so its memory does not grow with the
store. A conversation's work is looked at by one script, so a busy store shows no half states.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import get_args

import msgspec

from adapters.stores.batching import Batcher, Script, pairs
from adapters.stores.connection import Redis
from adapters.stores.key_kinds import kind_of
from adapters.stores.keys import Keys, literally
from adapters.stores.memory import decode_turns
from adapters.stores.scanning import PAGE, pages
from adapters.stores.sealing import PLAIN, Seal
from agents.turns import EndState
from tools.identity import ConversationKey

_RECORDS = 64
_MEMORIES = 16  # read at once
_LISTED = 1000  # violations kept; the rest is counted
_SAME = 50
_LATE_MS = 60_000
_STATES = frozenset(get_args(EndState))

# KEYS lease, fence, line, turn, steps, outbox, due · ARGV conversation
# Returns the lease's and the fence's time left (ms; -1 for ever, -2 gone), waiting events, the
# turn's events (-1 no turn), its events that are missing, 1 if the ending is there, steps,
# parts, the due time (-1 none) and now.
_LOOK = Script("""
local function count(command, key)
  local answer = redis.pcall(command, key)
  return type(answer) == 'number' and answer or 0
end
local t = redis.call('TIME')
local events, missing, ending = -1, 0, 0
if redis.call('EXISTS', KEYS[4]) == 1 then
  events = tonumber(redis.call('HGET', KEYS[4], 'events') or 0) or 0
  for n = 1, math.min(events, 10000) do
    missing = missing + 1 - redis.call('HEXISTS', KEYS[4], 'event:' .. n)
  end
  ending = redis.call('HEXISTS', KEYS[4], 'ending')
end
return {redis.call('PTTL', KEYS[1]), redis.call('PTTL', KEYS[2]), count('ZCARD', KEYS[3]), events,
  missing, ending, count('LLEN', KEYS[5]), count('HLEN', KEYS[6]),
  math.floor(tonumber(redis.call('ZSCORE', KEYS[7], ARGV[1]) or -1)),
  t[1] * 1000 + math.floor(t[2] / 1000)}
""")
_LOOKED = ("lease", "fence", "line", "turn", "steps", "outbox", "due")


class Violation(msgspec.Struct, frozen=True, order=True):
    """A broken rule; `where` is a conversation or a key, `detail` holds numbers, never text."""

    rule: str
    where: str
    detail: str = ""


class Report(msgspec.Struct):
    """What one walk found; `counts` by kind of key, and of what waits or is late."""

    counts: Counter[str] = msgspec.field(default_factory=Counter)
    violations: list[Violation] = msgspec.field(default_factory=list)
    broken: int = 0  # violations in all, listed or not

    def add(self, rule: str, where: str, detail: str = "") -> None:
        found = Violation(rule, where, detail)
        if found in self.violations[-_SAME:]:  # its conversation was looked at before
            return
        self.broken += 1
        if len(self.violations) < _LISTED:
            self.violations.append(found)


class _Look(msgspec.Struct, frozen=True):
    lease_ms: int
    fence_ms: int
    waiting: int
    events: int
    missing: int
    ending: int
    steps: int
    parts: int
    due_at: int
    now: int

    def broken(self, lease_ms: int) -> list[tuple[str, str]]:
        """The rules a conversation breaks, as (rule, detail)."""
        no_turn, idle = self.events < 0, self.events < 0 and not self.waiting
        found = [
            (self.lease_ms == -1, "lease.endless", ""),
            (self.lease_ms > lease_ms, "lease.too_long", f"{self.lease_ms} ms"),
            (self.lease_ms > -2 and no_turn, "lease.without_turn", f"{self.lease_ms} ms left"),
            (self.fence_ms == -1 and idle, "fence.endless", ""),
            (self.events == 0, "turn.without_events", ""),
            (self.missing > 0, "turn.event_missing", f"{self.missing} of {self.events}"),
            (self.steps > 0 and no_turn, "steps.of_closed_turn", f"{self.steps}"),
            (self.parts > 0 and no_turn, "outbox.of_closed_turn", f"{self.parts}"),
            (self.parts > 0 and not no_turn and not self.ending, "outbox.before_ending", ""),
            (self.due_at < 0 and not idle, "work.not_due", f"{self.waiting} waiting"),
            (self.due_at >= 0 and idle, "due.without_work", ""),
        ]
        return [(rule, detail) for is_broken, rule, detail in found if is_broken]


class Auditor:
    """Walks one store. Raises `StoreUnavailable` when Redis does not answer."""

    def __init__(
        self, redis: Redis, batcher: Batcher, keys: Keys, *, lease_ms: int, seal: Seal = PLAIN
    ) -> None:
        self._redis, self._batcher, self._keys, self._seal = redis, batcher, keys, seal
        self._lease_ms = lease_ms
        self._reading = asyncio.Semaphore(_MEMORIES)
        self._root = keys.tenants("").removesuffix("tenants:")

    async def audit(self, *, pause_s: float) -> Report:
        """Walk; what looks broken counts only if it still is after `pause_s`.

        A running bot mends by its sweeper what a stop or a deletion left behind.
        """
        report = await self._walk()
        if not report.broken:
            return report
        await asyncio.sleep(pause_s)
        before = {(each.rule, each.where) for each in report.violations}
        report = await self._walk()
        if report.broken == len(report.violations):  # else there are too many to compare
            still = [each for each in report.violations if (each.rule, each.where) in before]
            report.violations, report.broken = still, len(still)
        return report

    async def _walk(self) -> Report:
        report = Report()
        async for page in pages(self._redis, literally(self._root) + "*"):
            names = (name.decode(errors="replace") for name in page)
            await asyncio.gather(*(self._key(name, report) for name in names))
        report.violations.sort()
        return report

    async def _key(self, name: str, report: Report) -> None:
        conversation, kind, known = kind_of(name.removeprefix(self._root))
        if known is None:
            report.add("key.unknown", name)
            return
        report.counts[kind] += 1
        kept, (expected, life) = await self._facts(name), known
        if kept is None:
            return  # gone since it was listed
        found, ttl_ms = kept
        if expected and found != expected:
            report.add("key.wrong_type", name, f"{found}, not {expected}")
        elif life == "expires" and ttl_ms == -1:
            report.add("key.never_expires", name)
        elif conversation is not None and life == "work":
            await self._conversation(conversation, kind, report)
        elif kind == "memory" and conversation is not None:
            async with self._reading:
                await self._memory(name, conversation, report)
        elif kind == "due":
            await self._due(name, report)
        elif kind == "closed":
            await self._closed(name, report)
        elif kind == "dead":
            report.counts["dead letters"] += await self._batcher.command("HLEN", name)

    async def _facts(self, name: str) -> tuple[str, int] | None:
        found, ttl_ms = await asyncio.gather(
            self._batcher.command("TYPE", name), self._batcher.command("PTTL", name)
        )
        kind = found.decode() if isinstance(found, bytes) else str(found)
        return None if kind == "none" or ttl_ms == -2 else (kind, ttl_ms)

    async def _conversation(self, key: ConversationKey, kind: str, report: Report) -> None:
        names = {name.rpartition(":")[2]: name for name in self._keys.of(key)}
        answer = await self._batcher.run(_LOOK, [names[part] for part in _LOOKED], [str(key)])
        look = _Look(*answer)
        if kind == "line":
            report.counts["events waiting"] += look.waiting
        if kind in ("turn", "line") and 0 <= look.due_at < look.now - _LATE_MS:
            report.counts["late conversations"] += 1
        for rule, detail in look.broken(self._lease_ms):
            report.add(rule, str(key), detail)

    async def _memory(self, name: str, key: ConversationKey, report: Report) -> None:
        """Every record can be read, and no question was written twice."""
        where, bound = str(key), self._keys.record(key, "memory")
        asked: Counter[str] = Counter()
        at = bad = 0
        while records := await self._batcher.command("LRANGE", name, at, at + _RECORDS - 1):
            turns = decode_turns(await self._seal.open(key.tenant, bound, records))
            bad += len(records) - len(turns)
            asked.update(turn.turn_id for turn in turns if turn.role == "user" and turn.turn_id)
            at += len(records)
        report.counts["memory records"] += at
        if bad:
            report.add("memory.unreadable", where, f"{bad} of {at} records")
        if twice := sum(times > 1 for times in asked.values()):
            report.add("memory.turn_twice", where, f"{twice} turns")

    async def _due(self, name: str, report: Report) -> None:
        """Every due entry has work behind it; the other way round is `_conversation`'s."""
        cursor = b"0"
        while True:
            cursor, found = await self._batcher.command("ZSCAN", name, cursor, "COUNT", PAGE)
            await asyncio.gather(*(self._due_entry(member, report) for member, _ in pairs(found)))
            if cursor in (b"0", 0):
                return

    async def _due_entry(self, member: bytes, report: Report) -> None:
        try:
            key = ConversationKey.parse(member.decode())
        except ValueError:
            report.add("due.bad_entry", "due", f"{len(member)} bytes")
            return
        await self._conversation(key, "due", report)

    async def _closed(self, name: str, report: Report) -> None:
        """Every turn ended once, in a state that is one."""
        ended: Counter[bytes] = Counter()
        start = "-"
        while page := await self._batcher.command("XRANGE", name, start, "+", "COUNT", PAGE):
            for entry_id, flat in page:
                fields = dict(pairs(flat))
                ended[fields.get(b"turn", b"")] += 1
                if fields.get(b"state", b"").decode() not in _STATES:
                    report.add("closed.unknown_state", _shown(fields), entry_id.decode())
            start = f"({page[-1][0].decode()}"
        report.counts["turns closed"] += ended.total()
        for turn, times in ended.items():
            if times > 1 and turn != b"unreadable":
                report.add("closed.twice", turn.decode(), f"{times} times")


def _shown(fields: dict[bytes, bytes]) -> str:
    return fields.get(b"conversation", b"?").decode(errors="replace")
