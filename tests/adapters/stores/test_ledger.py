"""The ledger on real Redis servers."""

from __future__ import annotations

import asyncio

import pytest

from adapters.stores.batching import Batcher
from adapters.stores.changes import Changes
from adapters.stores.connection import Redis
from adapters.stores.errors import StaleLease, StoreUnavailable
from adapters.stores.keys import Keys
from adapters.stores.ledger import Acceptance, Claim, Ledger
from tools.identity import ConversationKey

KEY = ConversationKey("slack:T1", "public", "C1", "171.1")


async def accept(
    ledger: Ledger, event_id: str, *, group: str = "U1", at: float = 1.0, max_waiting: int = 20
) -> Acceptance:
    return await ledger.accept(
        KEY,
        event_id=event_id,
        group=group,
        record=f"record of {event_id}".encode(),
        sent_at=at,
        max_waiting=max_waiting,
    )


async def claimed(ledger: Ledger, owner: str = "w1") -> Claim:
    claim = await ledger.claim(KEY, owner=owner)
    assert claim is not None
    return claim


async def test_an_event_delivered_four_times_at_once_is_accepted_once(ledger: Ledger) -> None:
    answers = await asyncio.gather(*(accept(ledger, "e1") for _ in range(4)))

    assert sorted(answers) == [Acceptance.KNOWN] * 3 + [Acceptance.ACCEPTED]
    assert (await claimed(ledger)).events == (b"record of e1",)


async def test_events_that_waited_are_joined_in_the_platforms_order(ledger: Ledger) -> None:
    await accept(ledger, "second", at=2.0)
    await accept(ledger, "first", at=1.0)

    assert (await claimed(ledger)).events == (b"record of first", b"record of second")


async def test_neighbours_of_another_group_become_the_next_turn(ledger: Ledger) -> None:
    await accept(ledger, "a", group="U1", at=1.0)
    await accept(ledger, "b", group="U2", at=2.0)
    await accept(ledger, "c", group="U1", at=3.0)

    claim = await claimed(ledger)
    assert claim.events == (b"record of a",)
    assert await ledger.close(claim.lease, turn_id="t", state="answered", reason="")
    assert (await claimed(ledger)).events == (b"record of b",)


async def test_a_full_line_refuses_and_the_event_may_come_again(ledger: Ledger) -> None:
    await accept(ledger, "a")

    assert await accept(ledger, "b", max_waiting=1) is Acceptance.FULL
    assert await accept(ledger, "b", max_waiting=2) is Acceptance.ACCEPTED


async def test_only_one_worker_holds_a_conversation(ledger: Ledger) -> None:
    await accept(ledger, "a")

    claims = await asyncio.gather(*(ledger.claim(KEY, owner=f"w{n}") for n in range(8)))

    assert sum(claim is not None for claim in claims) == 1


async def test_an_event_that_comes_while_a_turn_runs_waits_for_the_next(ledger: Ledger) -> None:
    await accept(ledger, "a")
    first = await claimed(ledger)
    await accept(ledger, "b", at=2.0)

    assert await ledger.close(first.lease, turn_id="t1", state="answered", reason="") is True
    second = await claimed(ledger)
    assert second.events == (b"record of b",)
    assert await ledger.close(second.lease, turn_id="t2", state="failed", reason="why") is False
    states = [(row["turn"], row["state"]) for row in await ledger.closed("slack:T1")]
    assert states == [("t2", "failed"), ("t1", "answered")]


async def test_a_dead_workers_turn_is_taken_over_with_all_it_had_stored(ledger: Ledger) -> None:
    await accept(ledger, "a")
    dead = await claimed(ledger, "dead")
    await ledger.note(dead.lease, "placeholder", "m1")
    await ledger.add_steps(dead.lease, [b"step 1", b"step 2"])
    await asyncio.sleep(0.45)

    heir = await claimed(ledger, "heir")

    assert heir.events == dead.events
    assert heir.deaths == 2
    assert heir.notes == {"placeholder": b"m1"}
    assert heir.steps == (b"step 1", b"step 2")


async def test_a_stale_holder_can_write_nothing(ledger: Ledger) -> None:
    await accept(ledger, "a")
    old = (await claimed(ledger, "old")).lease
    await asyncio.sleep(0.45)
    await claimed(ledger, "new")

    for write in (
        ledger.renew(old),
        ledger.add_steps(old, [b"x"]),
        ledger.note(old, "placeholder", "x"),
        ledger.ready(old, ending=b"e", parts=[b"p"], memory=[]),
        ledger.sent(old, 0, "m0", then=None),
        ledger.close(old, turn_id="t", state="answered", reason=""),
        ledger.give_back(old),
    ):
        with pytest.raises(StaleLease):
            await write


async def test_a_renewed_lease_outlives_its_first_term(ledger: Ledger) -> None:
    await accept(ledger, "a")
    lease = (await claimed(ledger)).lease
    for _ in range(3):
        await asyncio.sleep(0.2)
        await ledger.renew(lease)

    assert await ledger.claim(KEY, owner="other") is None


async def test_the_reply_is_made_ready_once_and_its_parts_leave_one_by_one(
    ledger: Ledger,
) -> None:
    await accept(ledger, "a")
    lease = (await claimed(ledger)).lease
    await ledger.ready(lease, ending=b"end", parts=[b"p0", b"p1"], memory=[b"m1"])
    await ledger.sent(lease, 0, "m0", then=1)
    await ledger.ready(lease, ending=b"other", parts=[b"again"], memory=[b"m1"])
    await ledger.give_back(lease)

    heir = await claimed(ledger)

    assert (heir.ending, heir.outbox, heir.memory) == (b"end", {1: b"p1"}, (b"m1",))


async def test_a_turn_given_back_does_not_count_as_a_death(ledger: Ledger) -> None:
    await accept(ledger, "a")
    for _ in range(5):
        claim = await claimed(ledger)
        assert claim.deaths == 1
        await ledger.give_back(claim.lease)


async def test_the_sweeper_finds_what_lost_its_worker_and_gives_it_to_one_sweeper(
    ledger: Ledger,
) -> None:
    await ledger.serve_tenant("slack", "slack:T1")
    await accept(ledger, "a")
    claim = await claimed(ledger)
    assert await ledger.due("slack", again_ms=60_000) == []
    await ledger.give_back(claim.lease)

    assert await ledger.due("slack", again_ms=60_000) == [str(KEY)]
    assert await ledger.due("slack", again_ms=60_000) == []


async def test_finishing_steps_are_recorded_even_when_memory_is_full(
    ledger: Ledger, redis: Redis, batcher: Batcher
) -> None:
    await accept(ledger, "a")
    lease = (await claimed(ledger)).lease
    await redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable):
            await accept(ledger, "b")
        if (await redis.info("server"))["redis_version"] >= "7":
            await ledger.ready(lease, ending=b"end", parts=[b"p0"], memory=[b"m"])
            await ledger.sent(lease, 0, "m0", then=1)
            assert await ledger.close(lease, turn_id="t", state="answered", reason="") is False
    finally:
        await redis.config_set("maxmemory", "0")


async def test_a_lost_script_cache_is_rebuilt(ledger: Ledger, redis: Redis) -> None:
    await accept(ledger, "a")
    await redis.script_flush()

    assert await accept(ledger, "b", at=2.0) is Acceptance.ACCEPTED
    assert len((await claimed(ledger)).events) == 2


async def test_a_cancelled_caller_never_disturbs_anothers_reply(
    batcher: Batcher, redis: Redis
) -> None:
    for n in range(200):
        await redis.set(f"tag:{n}", n)

    async def ask(n: int) -> bool:
        return int(await batcher.command("GET", f"tag:{n}")) == n

    for round_ in range(20):
        tasks = [asyncio.create_task(ask(n)) for n in range(200)]
        await asyncio.sleep(0 if round_ % 2 else 0.0005)
        for task in tasks[::3]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(answer is True for answer in answers if not isinstance(answer, BaseException))


async def test_pins_are_kept_with_the_conversation_and_reset_forgets_only_its_memory(
    ledger: Ledger, batcher: Batcher, keys: Keys
) -> None:
    await ledger.pin(KEY, "planner", "phi")
    await accept(ledger, "a")
    claim = await claimed(ledger)
    assert claim.pins == {"planner": "phi"}
    await ledger.ready(claim.lease, ending=b"e", parts=[], memory=[b"m"])
    await ledger.close(claim.lease, turn_id="t", state="answered", reason="")

    await Changes(batcher, keys).reset(KEY)
    await accept(ledger, "b")

    claim = await claimed(ledger)
    assert (claim.memory, claim.pins) == ((), {"planner": "phi"})


async def test_a_channels_pin_holds_in_its_threads_until_a_thread_has_its_own(
    ledger: Ledger,
) -> None:
    channel = ConversationKey(KEY.tenant, KEY.place, KEY.channel)
    await ledger.pin(channel, "planner", "big")
    await ledger.pin(channel, "vision", "eyes")
    await ledger.pin(KEY, "planner", "small")
    await accept(ledger, "a")

    expected = {"planner": "small", "vision": "eyes"}
    assert (await claimed(ledger)).pins == expected
    assert await ledger.pins(KEY) == expected


async def test_pins_outlive_the_memory_of_the_conversation_in_use(
    ledger: Ledger, batcher: Batcher, keys: Keys
) -> None:
    channel = ConversationKey(KEY.tenant, KEY.place, KEY.channel)
    for key in (KEY, channel):
        await ledger.pin(key, "private", "on")
        await batcher.command("EXPIRE", keys.pins(key), 60)
    await accept(ledger, "a")
    claim = await claimed(ledger)
    await ledger.ready(claim.lease, ending=b"e", parts=[], memory=[b"m"])

    memory_s = await batcher.command("TTL", keys.memory(KEY))
    for key in (KEY, channel):
        assert await batcher.command("TTL", keys.pins(key)) > memory_s + 3600
    await ledger.pin(KEY, "private", None)
    await ledger.pin(KEY, "planner", "phi")
    assert await batcher.command("TTL", keys.pins(KEY)) > memory_s


async def test_nothing_late_brings_a_closed_turn_back_to_life(ledger: Ledger) -> None:
    await accept(ledger, "a")
    lease = (await claimed(ledger)).lease
    await ledger.close(lease, turn_id="t", state="answered", reason="")

    for late in (ledger.renew(lease), ledger.note(lease, "placeholder", "x")):
        with pytest.raises(StaleLease):
            await late
    await accept(ledger, "b")
    assert (await claimed(ledger)).events == (b"record of b",)


async def test_a_turn_given_back_for_later_is_not_due_before(ledger: Ledger) -> None:
    await ledger.serve_tenant("slack", KEY.tenant)
    await accept(ledger, "a")
    await ledger.give_back((await claimed(ledger)).lease, later_s=0.3)

    assert await ledger.due("slack", again_ms=60_000) == []
    await asyncio.sleep(0.35)
    assert await ledger.due("slack", again_ms=60_000) == [str(KEY)]


async def test_a_word_that_can_not_be_sent_fails_its_own_caller_only(batcher: Batcher) -> None:
    results = await asyncio.gather(
        batcher.command("PING"),
        batcher.command("SET", "bad", "\ud800"),
        batcher.command("PING"),
        return_exceptions=True,
    )

    assert [isinstance(result, Exception) for result in results] == [False, True, False]
