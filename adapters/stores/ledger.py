"""The ledger: what was accepted, who works on it, and how it ended.

The truth of every turn lies here and changes only by the scripts of `scripts.py`; the
doorbell only says where to look. Records of events, steps and parts are opaque bytes to the
ledger: the bot writes and reads them. The persist points P1–P9 are those of the design.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import IntEnum
from typing import NamedTuple, TypeVar

from adapters.stores import scripts
from adapters.stores.batching import Argument, Batcher, pairs
from adapters.stores.claim import Claim, Lease, opened, read_claim, read_pins
from adapters.stores.keys import Keys
from adapters.stores.mending import Unreadable, mended, sweep
from adapters.stores.sealing import PLAIN, Seal
from tools.identity import ConversationKey

__all__ = ["DELETED", "RETENTION_S", "Acceptance", "Claim", "Lease", "Ledger", "one_line"]

_T = TypeVar("_T")
_TENANTS_TTL_S = 30 * 24 * 3600  # renewed by every sweep; adapters that are gone fade away
_GRACE_MS = 1000  # a lease's holder gets this long before the sweeper rings
_FIRST_RING_MS = 5000  # a ring lost at acceptance is repaired after this time
DELETED = "deleted"  # the reason of a turn whose question was taken back
RETENTION_S = 30 * 24 * 3600
_SEEN_TTL_S = RETENTION_S  # P1: by it an edit or a deletion finds its conversation


class Closed(NamedTuple):
    """One end state."""

    turn_id: str
    conversation: ConversationKey
    state: str
    reason: str
    at: float  # epoch seconds


class Acceptance(IntEnum):
    FULL = -1
    KNOWN = 0
    ACCEPTED = 1


class Ledger:
    """Every durable change of a turn. All methods raise `StoreUnavailable`, and those that
    take a lease raise `StaleLease` when another worker took over.

    A claim brings between half of `window` and `window` memory entries; where they begin moves
    half a window at a time.
    """

    def __init__(
        self,
        batcher: Batcher,
        keys: Keys,
        *,
        lease_ms: int = 30_000,
        window: int = 100,
        retention_s: int = RETENTION_S,
        seal: Seal = PLAIN,
    ) -> None:
        self._batcher, self._keys, self._seal = batcher, keys, seal
        self._lease_ms, self._window, self._retention_s = lease_ms, window, retention_s

    async def accept(
        self,
        key: ConversationKey,
        *,
        event_id: str,
        group: str,
        record: bytes,
        sent_at: float,
        max_waiting: int,
        author: str = "",
        is_heard: bool = True,
    ) -> Acceptance:
        """P1: dedupe mark, event, place in the line and due time, before any ack.

        Neighbours in the line that share a `group` are taken together, as one turn; a group
        that begins with `!` is a command, which nothing stops. What a platform said (`is_heard`)
        moves the channel's mark.
        """
        [record] = await self._sealed(key, "event", record)
        names = [
            self._keys.seen(key.tenant, event_id),
            self._keys.of(key)[2],
            self._keys.due(key.tenant),
            self._keys.marks(key.tenant),
        ]
        words: list[Argument] = [
            str(key),
            b"\n".join((one_line(event_id), one_line(group), record)),
            sent_at,
            _SEEN_TTL_S,
            max_waiting,
            _FIRST_RING_MS,
            key.channel if is_heard else "",
            author,
        ]
        return Acceptance(
            await self._mended(
                key,
                "",
                lambda: self._batcher.run(scripts.ACCEPT, names, words, replicated=True),
            )
        )

    async def claim(self, key: ConversationKey, *, owner: str) -> Claim | None:
        """P2: the lease and the turn to run; None when held elsewhere or nothing waits.

        What lies there and can't be read is set aside first.
        """
        return await self._mended(key, owner, lambda: self._claim(key, owner))

    async def _claim(self, key: ConversationKey, owner: str) -> Claim | None:
        answer = await self._batcher.run(
            scripts.CLAIM,
            [*self._keys.of(key), self._keys.channel_pins(key)],
            [
                owner,
                self._lease_ms,
                str(key),
                self._window,
                _GRACE_MS,
                self._pins_ttl_s,
                self._keys.facts_start(key.tenant),
            ],
        )
        try:
            claim = read_claim(key, owner, answer) if answer else None
        except (ValueError, KeyError) as error:
            raise Unreadable(answer) from error
        return claim and await opened(claim, self._seal, self._keys)

    async def _sealed(self, key: ConversationKey, kind: str, *records: bytes) -> list[bytes]:
        return await self._seal.close(key.tenant, self._keys.record(key, kind), records)

    @property
    def _pins_ttl_s(self) -> int:
        """What keeps a memory private must outlive it."""
        return self._retention_s + 24 * 3600

    async def _mended(
        self, key: ConversationKey, owner: str, call: Callable[[], Awaitable[_T]]
    ) -> _T:
        return await mended(
            self._batcher, self._keys, key, call, owner=owner, retention_s=RETENTION_S
        )

    async def renew(self, lease: Lease) -> None:
        await self._batcher.run(
            scripts.RENEW,
            self._keys.of(lease.key),
            [lease.fence, lease.owner, self._lease_ms, str(lease.key), _GRACE_MS],
        )

    async def halted(self, lease: Lease) -> str | None:
        """How the running turn must end, if somebody said so; `Halted` tells it too."""
        halt = await self._batcher.command("HGET", self._keys.turn(lease.key), "halt")
        return None if halt is None else str(halt.decode(errors="replace"))

    async def add_steps(
        self, lease: Lease, records: Sequence[bytes], *, has_effect: bool = False
    ) -> None:
        """P3 and P5: what was planned, and what the calls gave. Raises `Halted`.

        With `has_effect` it is P4 too: from here on the turn is not begun anew by an edit.
        """
        records = await self._sealed(lease.key, "step", *records)
        await self._batcher.run(
            scripts.APPEND_STEPS, self._keys.of(lease.key), [lease.fence, int(has_effect), *records]
        )

    async def note(self, lease: Lease, name: str, value: str) -> None:
        """Keep a small fact on the running turn."""
        await self._batcher.run(
            scripts.NOTE, self._keys.of(lease.key), [lease.fence, f"note:{name}", value]
        )

    async def ready(
        self,
        lease: Lease,
        *,
        ending: bytes,
        parts: Sequence[bytes],
        memory: Sequence[bytes],
        despite: str = "",
    ) -> None:
        """P7: end state, final parts and memory in one script; a second call does nothing.

        The first part counts as tried from here on (P8). Raises `Halted`, unless the turn
        ends so because of it (`despite`).
        """
        key = lease.key
        [ending] = await self._sealed(key, "ending", ending)
        parts = await self._sealed(key, "part", *parts)
        memory = await self._sealed(key, "memory", *memory)
        await self._batcher.run(
            scripts.READY,
            self._keys.of(key),
            [lease.fence, ending, despite, self._retention_s, len(parts), *parts, *memory],
            replicated=True,
        )

    async def sent(self, lease: Lease, part: int, message_id: str, *, then: int | None) -> None:
        """P9: the part is out, recorded by removal, which works with memory full too; and P8
        of the part that comes `then`. Raises `Halted`."""
        after = "" if then is None else then
        await self._batcher.run(
            scripts.SENT,
            self._keys.of(lease.key),
            [lease.fence, part, message_id, after],
            replicated=True,
        )

    async def close(
        self,
        lease: Lease,
        *,
        turn_id: str,
        state: str,
        reason: str,
        answer: bytes = b"",
        last: bytes = b"",
        dead: bytes = b"",
        also: Sequence[str] = (),
    ) -> bool:
        """End the turn in its one end state and free the lease; True when more waits.

        Kept for later: `answer` says where the reply stands (found by `turn_id`, and by the ids
        in `also`), `last` is what it takes to answer anew, `dead` makes it a dead letter.
        Raises `Halted` when the question was deleted at the last instant, unless that is the
        `reason` given (`DELETED`).
        """
        tenant = lease.key.tenant
        [answer] = await self._sealed(lease.key, "answers", answer)
        [last] = await self._sealed(lease.key, "last", last)
        [dead] = await self._sealed(lease.key, "dead", dead)
        names = [*self._keys.of(lease.key), self._keys.closed(tenant), self._keys.dead(tenant)]
        words: list[Argument] = [lease.fence, lease.owner, str(lease.key)]
        words += [turn_id, state, reason, self._retention_s, answer, last, dead, *also]
        more = await self._mended(
            lease.key, "", lambda: self._batcher.run(scripts.CLOSE, names, words, replicated=True)
        )
        return bool(more)

    async def give_back(self, lease: Lease, *, later_s: float = 0.0) -> None:
        """Free the lease of a turn that goes on elsewhere or later; not counted as a death."""
        await self._batcher.run(
            scripts.GIVE_BACK,
            self._keys.of(lease.key),
            [lease.fence, lease.owner, str(lease.key), int(later_s * 1000)],
        )

    async def pin(self, key: ConversationKey, role: str, route: str | None) -> None:
        """Choose a route for a role in this conversation; None goes back to the chain.

        Kept while the conversation is used. Other small choices are kept in the same way.
        """
        name = self._keys.pins(key)
        if route is None:
            await self._batcher.command("HDEL", name, role)
            return
        await asyncio.gather(
            self._batcher.command("HSET", name, role, route),
            self._batcher.command("EXPIRE", name, self._pins_ttl_s),
        )

    async def pins(self, key: ConversationKey) -> dict[str, str]:
        """What is pinned here; a pin of the conversation wins over one of its channel."""
        channel, own = await asyncio.gather(
            self._batcher.command("HGETALL", self._keys.channel_pins(key)),
            self._batcher.command("HGETALL", self._keys.pins(key)),
        )
        return read_pins(channel) | read_pins(own)

    async def serve_tenant(self, adapter: str, tenant: str) -> None:
        """Remember that the adapter's sweeper must look after this tenant."""
        name = self._keys.tenants(adapter)
        await asyncio.gather(
            self._batcher.command("SADD", name, tenant),
            self._batcher.command("EXPIRE", name, _TENANTS_TTL_S),
        )

    async def tenants(self, adapter: str) -> list[str]:
        """The tenants that the adapter serves; asked for, they are remembered anew."""
        key = self._keys.tenants(adapter)
        tenants, _ = await asyncio.gather(
            self._batcher.command("SMEMBERS", key),
            self._batcher.command("EXPIRE", key, _TENANTS_TTL_S),
        )
        return [tenant.decode(errors="replace") for tenant in tenants]

    async def due(self, adapter: str, *, again_ms: int) -> list[str]:
        """Conversations whose ring or worker was lost; each is given to one sweeper only."""
        names = [self._keys.due(tenant) for tenant in await self.tenants(adapter)]
        found = await asyncio.gather(
            *(sweep(self._batcher, name, again_ms=again_ms) for name in names)
        )
        return [conversation for answer in found for conversation in answer]

    async def closed_since(self, tenant: str, since: float) -> list[Closed]:
        """The turns that ended since then (epoch seconds), oldest first; of the newest 10,000."""
        answer = await self._batcher.command(
            "XRANGE", self._keys.closed(tenant), int(since * 1000), "+"
        )
        found = []
        for entry, fields in answer:
            told = {name.decode(): value.decode(errors="replace") for name, value in pairs(fields)}
            try:
                key = ConversationKey.parse(told["conversation"])
            except (KeyError, ValueError):
                continue
            at = int(entry.partition(b"-")[0]) / 1000
            found.append(Closed(told["turn"], key, told["state"], told["reason"], at))
        return found

    async def closed(self, tenant: str, *, limit: int = 100) -> list[dict[str, str]]:
        """The newest end states of a tenant's turns, newest first."""
        answer = await self._batcher.command(
            "XREVRANGE", self._keys.closed(tenant), "+", "-", "COUNT", limit
        )
        return [
            {n.decode(errors="replace"): v.decode(errors="replace") for n, v in pairs(fields)}
            for _, fields in answer
        ]


def one_line(text: str) -> bytes:
    """An id as the line's members hold it."""
    return text.encode().replace(b"\n", b"\\n")
