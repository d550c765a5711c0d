"""A claim: the right to work on a conversation, and everything stored about its turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.stores.batching import pairs
from adapters.stores.keys import Keys
from adapters.stores.sealing import Seal, is_sealed
from tools.identity import ConversationKey

DAMAGED_PART = b"_(A part of this answer was damaged in my store. Please ask again.)_"


class Lease(msgspec.Struct, frozen=True):
    """The right to work on one conversation; `fence` grows with every holder."""

    key: ConversationKey
    owner: str
    fence: int


class Recap(msgspec.Struct, frozen=True):
    """What stands for the memory's oldest entries. `dropped` entries left the stored list."""

    record: bytes = b""
    covers: int = 0  # entries, counted from the conversation's first
    dropped: int = 0
    epoch: int = 0  # raised by whatever forgets


class Claim(msgspec.Struct, frozen=True):
    """A lease and everything stored about the conversation's running turn."""

    lease: Lease
    events: tuple[bytes, ...]
    event_ids: tuple[str, ...]
    deaths: int  # how many workers began this turn, this one included
    notes: dict[str, bytes]  # small facts kept on the turn, such as the placeholder's id
    ending: bytes | None  # set once the reply is ready (P7)
    halt: str | None  # stop, delete or forget: how it must end
    steps: tuple[bytes, ...]
    outbox: dict[int, bytes]  # parts not yet known to be sent
    tried_s_ago: dict[int, float]  # since the first try to send a part began
    posted: dict[int, str]  # message ids of the parts that are out
    memory: tuple[bytes, ...]  # the newest entries that the recap does not cover, oldest first
    recap: Recap
    pins: dict[str, str]
    facts: dict[bytes, bytes]  # of who asks, as `RedisFacts.read` takes them


def read_claim(key: ConversationKey, owner: str, answer: Any) -> Claim:
    """The claim script's answer, as `scripts.CLAIM` describes it."""
    fence, now_ms, turn, steps, outbox, memory, recap, pins, channel_pins, facts = answer
    fields = {name.decode(): value for name, value in pairs(turn)}
    halt = fields.get("halt")
    numbers = range(1, int(fields["events"]) + 1)
    return Claim(
        lease=Lease(key, owner, fence),
        events=tuple(fields[f"event:{n}"] for n in numbers),
        event_ids=tuple(fields[f"id:{n}"].decode() for n in numbers),
        deaths=int(fields["deaths"]),
        notes=_named(fields, "note:"),
        ending=fields.get("ending"),
        halt=None if halt is None else halt.decode(),
        steps=tuple(steps),
        outbox={int(index): part for index, part in sorted(pairs(outbox))},
        tried_s_ago={
            int(index): (now_ms - int(at)) / 1000 for index, at in _named(fields, "try:").items()
        },
        posted={int(index): at.decode() for index, at in _named(fields, "sent:").items()},
        memory=tuple(memory),
        recap=read_recap(recap),
        pins=read_pins(channel_pins) | read_pins(pins),
        facts=dict(pairs(facts)),
    )


async def opened(claim: Claim, seal: Seal, keys: Keys) -> Claim:
    """The claim with its records as they were before they were sealed.

    Each is bound to its kind, so none can stand for one of another kind.
    """
    key = claim.lease.key

    async def plain(kind: str, *records: bytes) -> tuple[bytes, ...]:
        return tuple(await seal.open(key.tenant, keys.record(key, kind), records))

    parts = await plain("part", *claim.outbox.values())
    [recap] = await plain("recap", claim.recap.record)
    return msgspec.structs.replace(
        claim,
        events=await plain("event", *claim.events),
        ending=None if claim.ending is None else (await plain("ending", claim.ending))[0],
        steps=await plain("step", *claim.steps),
        outbox={
            index: DAMAGED_PART if is_sealed(part) else part
            for index, part in zip(claim.outbox, parts, strict=True)
        },
        memory=await plain("memory", *claim.memory),
        recap=msgspec.structs.replace(claim.recap, record=recap),
    )


def read_recap(answer: object) -> Recap:
    fields = {name.decode(): value for name, value in pairs(answer)}
    return Recap(
        fields.get("record", b""),
        int(fields.get("covers", 0)),
        int(fields.get("dropped", 0)),
        int(fields.get("epoch", 0)),
    )


def _named(fields: Mapping[str, bytes], start: str) -> dict[str, bytes]:
    return {name[len(start) :]: value for name, value in fields.items() if name.startswith(start)}


def read_pins(answer: object) -> dict[str, str]:
    return {
        name.decode(errors="replace"): value.decode(errors="replace")
        for name, value in pairs(answer)
    }
