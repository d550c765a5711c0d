"""Records nobody of us wrote, in every key of a conversation (row B7)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.stores.batching import Batcher
from adapters.stores.changes import Changes
from adapters.stores.connection import connect
from adapters.stores.errors import StoreError
from adapters.stores.keys import Keys
from adapters.stores.ledger import Claim, Ledger
from adapters.stores.memory import RedisMemory, UnknownFormat, decode_summary, decode_turns
from bot.records import decode_ending, decode_event, decode_step
from tests.drills.damage import Damage, damages, inflict, names_of
from tests.drills.figures import RecordFigure
from tests.redis_servers import RedisServer
from tools.identity import ConversationKey

FULL = [pytest.mark.drill, pytest.mark.timeout(900)]
KEYS = Keys("t")
PLACES = 15
_TRIES = 4


@pytest.mark.parametrize("records", [250, pytest.param(10_000, marks=FULL)])
def test_no_stored_record_stops_a_conversation_or_is_run(
    records: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    numbers, told = itertools.count(), 0
    server = RedisServer(tmp_path, "--appendonly", "no")
    server.start()
    server.ready()

    with asyncio.Runner() as runner:
        client = connect(server.url, timeout_s=10)
        batcher = Batcher(client, version=(7, 0), timeout_s=10)

        @settings(
            max_examples=records,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(damages(PLACES), st.integers(0, 4))
        def live(damage: list[Damage], stage: int) -> None:
            nonlocal told
            key = ConversationKey(f"slack:T{next(numbers)}", "public", "C1", "1.1")
            told += runner.run(lived(batcher, key, stage, damage))

        try:
            live()
            number = next(numbers)
        finally:
            runner.run(client.aclose())
            server.stop()
    record_figure(
        row="B7",
        promise="a corrupt, foreign or oversized record is set aside; the conversation goes on",
        figure=f"{number} conversations damaged in 1 to 3 places: 0 crashes, 0 records run, "
        f"0 conversations stopped, {told} damages set aside under `:bad`",
    )
    assert told > 0


async def lived(
    batcher: Batcher, key: ConversationKey, stage: int, damage: Sequence[Damage]
) -> int:
    """How many keys were set aside; fails unless the next question is taken up and closed."""
    ledger = Ledger(batcher, KEYS, lease_ms=60_000)
    await begun(ledger, key, stage)
    for each in damage:
        await inflict(batcher, names_of(KEYS, key)[each.place], each)
    assert await goes_on(ledger, key), (stage, damage)
    await looked_at(batcher, key)
    bad = [await batcher.command("EXISTS", f"{name}:bad") for name in names_of(KEYS, key)]
    return sum(bad)


async def begun(ledger: Ledger, key: ConversationKey, stage: int) -> None:
    """A conversation with one question, left as it is after `stage` steps of its turn."""
    await accept(ledger, key, "first", 1.0)
    if stage == 0:
        return
    claim = await ledger.claim(key, owner="w1")
    assert claim is not None
    await ledger.note(claim.lease, "placeholder", "m1")
    await ledger.add_steps(claim.lease, [b"step"])
    if stage >= 2:
        await ledger.ready(claim.lease, ending=b"{}", parts=[b"p0", b"p1"], memory=[b"1{}"])
    if stage >= 3:
        await ledger.sent(claim.lease, 0, "m1", then=1)
    if stage >= 4:
        await ledger.close(
            claim.lease, turn_id="t1", state="answered", reason="", answer=b"a", last=b"l"
        )
    else:
        await ledger.give_back(claim.lease)


async def goes_on(ledger: Ledger, key: ConversationKey) -> bool:
    """Whether a new question is accepted, taken up and closed, whatever lies there."""
    for _ in range(_TRIES):
        with contextlib.suppress(StoreError):
            await accept(ledger, key, "next", 2.0)
        claim = None
        with contextlib.suppress(StoreError):
            claim = await ledger.claim(key, owner="w2")
        if claim is None:
            continue
        read_all(claim)
        await ledger.close(claim.lease, turn_id="t2", state="answered", reason="", answer=b"a")
        if "next" in claim.event_ids:
            return True
    return False


async def accept(ledger: Ledger, key: ConversationKey, event_id: str, at: float) -> None:
    await ledger.accept(
        key, event_id=event_id, group=event_id, record=b"{}", sent_at=at, max_waiting=20
    )


def read_all(claim: Claim) -> None:
    decode_turns(claim.memory)
    with contextlib.suppress(UnknownFormat):
        decode_summary(claim.recap.record)
    for decode, records in (
        (decode_event, claim.events),
        (decode_step, claim.steps),
        (decode_ending, [claim.ending] if claim.ending is not None else []),
    ):
        for record in records:
            with contextlib.suppress(msgspec.MsgspecError, RecursionError):
                decode(record)


async def looked_at(batcher: Batcher, key: ConversationKey) -> None:
    """Everything that reads a conversation outside its turns."""
    memory, changes = RedisMemory(batcher, KEYS), Changes(batcher, KEYS)
    for look in (
        memory.turns(key),
        memory.uncovered(key),
        memory.search(key, "question", 5, audience="public"),
        changes.heard(key.tenant, "next"),
        changes.marks(key.tenant),
        changes.stop(key),
        changes.last(key),
        changes.answer(key, "t1"),
        Ledger(batcher, KEYS).pins(key),
        Ledger(batcher, KEYS).closed(key.tenant),
    ):
        with contextlib.suppress(StoreError):
            await look
