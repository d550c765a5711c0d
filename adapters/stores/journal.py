"""The audit log: what was decided, in a chain of hashes that shows every later change.

Each tenant has one stream whose ids count from 1, and a head that says how far it goes. An entry's
hash covers the one before it, so nothing can be altered, taken out, moved or put in between without
showing; whoever can rewrite the whole chain is found by a head that was kept elsewhere.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Literal, NamedTuple

import msgspec

from adapters.stores.batching import Batcher, Script, pairs
from adapters.stores.keys import Keys

RETENTION_S = 365 * 24 * 3600
_PAGE = 500
_TRIM_EVERY = 200  # appends of a process
_TRIM_AT_ONCE = 1000
_TRIES = 50  # against other processes that append at the same moment

# KEYS journal, head · ARGV seq and hash the writer saw, body, hash, retention_s
# {1} when it was appended, else {0, seq, hash} as they are.
APPEND = Script(
    """
local seq = redis.call('HGET', KEYS[2], 'seq') or '0'
local hash = redis.call('HGET', KEYS[2], 'hash') or ''
if seq ~= ARGV[1] or hash ~= ARGV[2] then return {0, seq, hash} end
local id = string.format('%d-0', tonumber(seq) + 1)
redis.call('XADD', KEYS[1], id, 'b', ARGV[3], 'h', ARGV[4])
redis.call('HSET', KEYS[2], 'seq', tonumber(seq) + 1, 'hash', ARGV[4])
return {1}
"""
)

# KEYS journal, head · ARGV the newest id to drop, its hash
# What is left begins after it: the head keeps the link.
TRIM = Script(
    """
local seq = string.match(ARGV[1], '^(%d+)')
if tonumber(seq) <= tonumber(redis.call('HGET', KEYS[2], 'from') or 0) then return 0 end
redis.call('HSET', KEYS[2], 'from', seq, 'from_hash', ARGV[2])
return redis.call('XTRIM', KEYS[1], 'MINID', string.format('%d-0', tonumber(seq) + 1))
""",
    completes=True,
)

ALL = (APPEND, TRIM)
FaultKind = Literal["altered", "missing", "inserted", "head", "rewritten"]


class Judged(msgspec.Struct, frozen=True):
    """One call as the rules saw it."""

    tool: str
    arguments: str  # SHA-256 of name and arguments
    verdict: str
    rule: int
    reason: str = ""


class JournalEntry(msgspec.Struct, frozen=True):
    """Ids and hashes; never what was said."""

    kind: Literal["turn", "calls", "asked", "pressed", "refused"]
    at: float  # epoch seconds
    turn_id: str
    who: str
    where: str
    asked: str = ""  # SHA-256 of the question
    sources: tuple[str, ...] = ()  # SHA-256 of each
    calls: tuple[Judged, ...] = ()
    outcome: str = ""


class Head(NamedTuple):
    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


class Fault(msgspec.Struct, frozen=True):
    kind: FaultKind
    seq: int
    detail: str


class Verified(msgspec.Struct, frozen=True):
    """What a walk along the chain found."""

    entries: int
    head: str
    faults: tuple[Fault, ...]
    since: float | None = None  # of the oldest entry that is kept


def hash_of(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


class Journal:
    """Raises `StoreUnavailable`."""

    def __init__(
        self,
        batcher: Batcher,
        keys: Keys,
        *,
        retention_s: float = RETENTION_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._batcher, self._keys, self._clock = batcher, keys, clock
        self._retention_s, self._appended = retention_s, 0
        self._heads: dict[str, Head] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def append(self, tenant: str, entry: JournalEntry) -> None:
        """After everything that this or another process appended before."""
        body = msgspec.json.encode(entry)
        async with self._locks[tenant]:
            head = self._heads.get(tenant) or await self.head(tenant)
            for n in range(_TRIES):
                linked = _linked(head.hash, body)
                words: list[str | bytes | int] = [head.seq, head.hash, body, linked]
                answer = await self._batcher.run(APPEND, self._names(tenant), words)
                if answer[0] == 1:
                    self._heads[tenant] = Head(head.seq + 1, linked)
                    break
                head = Head(int(answer[1]), bytes(answer[2]).decode())
                await asyncio.sleep(random.uniform(0, 0.001 * n))  # noqa: S311 (to be apart)
            else:
                raise RuntimeError("the audit log is appended to faster than it can be")
        self._appended += 1
        if self._appended % _TRIM_EVERY == 0:
            await self.trim(tenant)

    async def head(self, tenant: str) -> Head:
        """How far the chain goes; kept elsewhere, it shows a chain that was rewritten."""
        found = dict(pairs(await self._batcher.command("HGETALL", self._keys.journal_head(tenant))))
        return Head(int(found.get(b"seq", b"0")), found.get(b"hash", b"").decode())

    async def trim(self, tenant: str) -> None:
        """Drop what is older than the retention, and remember where the rest begins."""
        oldest, last = self._clock() - self._retention_s, None
        name = self._keys.journal(tenant)
        found = await self._batcher.command("XRANGE", name, "-", "+", "COUNT", _TRIM_AT_ONCE)
        for name_of, fields in found:
            body, linked = _fields(fields)
            if _at(body) >= oldest:
                break
            last = (name_of, linked)
        if last is not None:
            await self._batcher.run(TRIM, self._names(tenant), list(last))

    async def verify(self, tenant: str, *, expected: Head | None = None) -> Verified:
        """Walk the whole chain; `expected` is a head that was noted before."""
        head = dict(pairs(await self._batcher.command("HGETALL", self._keys.journal_head(tenant))))
        seq, linked = int(head.get(b"from", b"0")), head.get(b"from_hash", b"").decode()
        faults, entries, since, met = list[Fault](), 0, None, expected is None
        async for entry_id, body, told in self._entries(tenant):
            number, _, part = entry_id.partition("-")
            if part != "0":
                faults.append(Fault("inserted", int(number), "between two entries"))
                continue
            if int(number) != seq + 1:
                faults.append(Fault("missing", seq + 1, f"the next one kept is {number}"))
            elif told != _linked(linked, body):
                faults.append(Fault("altered", int(number), "its hash does not fit"))
            seq, linked, entries = int(number), told, entries + 1
            since = _at(body) if since is None else since
            met = met or Head(seq, linked) == expected
        if (seq, linked) != (int(head.get(b"seq", b"0")), head.get(b"hash", b"").decode()):
            kept = head.get(b"seq", b"0").decode()
            faults.append(Fault("head", seq, f"the chain ends here, its head says {kept}"))
        if expected is not None and not met:
            faults.append(Fault("rewritten", expected.seq, "the noted head is not in the chain"))
        return Verified(entries, str(Head(seq, linked)), tuple(faults), since)

    async def _entries(self, tenant: str) -> AsyncIterator[tuple[str, bytes, str]]:
        start, name = "-", self._keys.journal(tenant)
        while found := await self._batcher.command("XRANGE", name, start, "+", "COUNT", _PAGE):
            for entry_id, fields in found:
                yield entry_id.decode(), *_fields(fields)
            start = f"({found[-1][0].decode()}"

    def _names(self, tenant: str) -> list[str]:
        return [self._keys.journal(tenant), self._keys.journal_head(tenant)]


def _linked(before: str, body: bytes) -> str:
    return hash_of(before.encode() + b"\n" + body)


def _fields(fields: object) -> tuple[bytes, str]:
    found = dict(pairs(fields))
    return found.get(b"b", b""), found.get(b"h", b"").decode(errors="replace")


class _Stamp(msgspec.Struct):
    at: float = 0.0


def _at(body: bytes) -> float:
    try:
        return msgspec.json.decode(body, type=_Stamp).at
    except msgspec.DecodeError:
        return 0.0
