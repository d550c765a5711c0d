"""The memory in Redis: recaps that never bring anything back, pictures, facts, and the purge."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.stores.batching import Batcher
from adapters.stores.blobs import Blob, RedisBlobs
from adapters.stores.changes import Changes
from adapters.stores.claim import Claim, Lease
from adapters.stores.connection import Redis
from adapters.stores.errors import Halted, StaleLease
from adapters.stores.facts import MAX_FACTS, Fact, RedisFacts
from adapters.stores.keys import Keys
from adapters.stores.ledger import Ledger
from adapters.stores.memory import (
    RedisMemory,
    UnknownFormat,
    decode_summary,
    decode_turns,
    encode_summary,
    encode_turn,
)
from adapters.stores.retention import TenantPurge
from adapters.stores.threads import RedisThreads, StoredThread
from agents.summary import Summary
from agents.turns import Text, Turn
from tools.identity import ConversationKey
from tools.labels import Label

KEY = ConversationKey("slack:T1", "dm", "D1")
SUMMARY = Summary("They spoke of printers.", Label(), 1.0, "small")
PICTURE = Blob(b"pixels", "image/png", Label())


@pytest.fixture
def memory(batcher: Batcher, keys: Keys) -> RedisMemory:
    return RedisMemory(batcher, keys)


@pytest.fixture
def blobs(batcher: Batcher, keys: Keys) -> RedisBlobs:
    return RedisBlobs(batcher, keys)


@pytest.fixture
def changes(batcher: Batcher, keys: Keys) -> Changes:
    return Changes(batcher, keys)


def said(number: int) -> Sequence[Turn]:
    turn_id = f"t{number}"
    return (
        Turn("user", (Text(f"question {number}"),), Label(), number, turn_id),
        Turn("assistant", (Text(f"answer {number}"),), Label(), number, turn_id),
    )


async def claim(
    ledger: Ledger, number: int = 1, key: ConversationKey = KEY, author: str = "U1"
) -> Claim:
    await ledger.accept(
        key,
        event_id=f"e{number}",
        group=f"={author}",
        record=b"{}",
        sent_at=number,
        max_waiting=9,
        author=author,
    )
    claimed = await ledger.claim(key, owner=f"w{number}")
    assert claimed is not None
    return claimed


async def close(
    ledger: Ledger, lease: Lease, number: int, *, answer: bytes = b"", last: bytes = b""
) -> None:
    await ledger.close(
        lease, turn_id=f"t{number}", state="answered", reason="", answer=answer, last=last
    )


async def talk(ledger: Ledger, numbers: Sequence[int], key: ConversationKey = KEY) -> None:
    for number in numbers:
        lease = (await claim(ledger, number, key)).lease
        records = [encode_turn(turn) for turn in said(number)]
        await ledger.ready(lease, ending=b"{}", parts=[], memory=records)
        await close(ledger, lease, number)


async def test_a_claim_brings_the_recap_and_all_that_it_does_not_cover(
    ledger: Ledger, memory: RedisMemory
) -> None:
    await talk(ledger, range(1, 41))
    known = await memory.uncovered(KEY)
    await memory.write_recap(KEY, SUMMARY, was=known.recap, covers=30)
    await talk(ledger, range(41, 61))
    claimed = await claim(ledger, 99)

    assert decode_summary(claimed.recap.record) == SUMMARY
    assert decode_turns(claimed.memory)[0].text == "question 16"
    assert len(claimed.memory) == 90


async def test_of_two_compactions_at_once_one_is_written(
    ledger: Ledger, memory: RedisMemory
) -> None:
    await talk(ledger, range(1, 6))
    known = await memory.uncovered(KEY)
    wrote = await asyncio.gather(
        *(memory.write_recap(KEY, SUMMARY, was=known.recap, covers=4) for _ in range(5))
    )

    assert sorted(wrote) == [False, False, False, False, True]


@pytest.mark.parametrize("how", ["reset", "forget", "erase"])
async def test_a_recap_begun_before_anything_was_forgotten_is_not_written_after(
    ledger: Ledger, memory: RedisMemory, changes: Changes, how: str
) -> None:
    await talk(ledger, range(1, 6))
    known = await memory.uncovered(KEY)
    match how:
        case "reset":
            await changes.reset(KEY)
        case "forget":
            await changes.forget(KEY)
        case _:
            await memory.erase(KEY, "t2")
    await talk(ledger, range(6, 12))

    assert not await memory.write_recap(KEY, SUMMARY, was=known.recap, covers=4)
    assert (await memory.uncovered(KEY)).recap.record == b""


async def test_a_recap_never_covers_more_than_there_is(ledger: Ledger, memory: RedisMemory) -> None:
    await talk(ledger, [1])
    known = await memory.uncovered(KEY)

    assert not await memory.write_recap(KEY, SUMMARY, was=known.recap, covers=3)


async def test_after_a_deletion_the_originals_are_there_to_sum_up_anew(
    ledger: Ledger, memory: RedisMemory
) -> None:
    await talk(ledger, range(1, 6))
    known = await memory.uncovered(KEY)
    await memory.write_recap(KEY, SUMMARY, was=known.recap, covers=8)
    assert await memory.erase(KEY, "t2") == 2
    again = await memory.uncovered(KEY)

    assert (again.recap.record, again.recap.covers, again.first) == (b"", 0, 0)
    assert [turn.turn_id for turn in again.turns if turn][::2] == ["t1", "t3", "t4", "t5"]


async def test_closing_a_turn_that_was_forgotten_meanwhile_keeps_nothing_of_it(
    ledger: Ledger, changes: Changes
) -> None:
    lease = (await claim(ledger)).lease
    await ledger.ready(lease, ending=b"{}", parts=[b"part"], memory=[])
    await changes.forget(KEY)
    await close(ledger, lease, 1, answer=b"where it stands", last=b"the question")

    assert await changes.last(KEY) is None
    assert await changes.answer(KEY, "t1") is None


async def test_a_search_finds_only_what_everyone_there_may_read(
    ledger: Ledger, memory: RedisMemory
) -> None:
    mine = Label(readers=frozenset(("user:slack:T1/U1",)))
    turns = [
        Turn("user", (Text("my printer pin"),), mine, 1.0, "a"),
        Turn("user", (Text("the printer"),), Label(), 2.0, "b"),
    ]
    lease = (await claim(ledger)).lease
    records = [encode_turn(turn) for turn in turns]
    await ledger.ready(lease, ending=b"{}", parts=[], memory=records)
    to_me = await memory.search(KEY, "printer", 5, audience="user:slack:T1/U1")
    to_all = await memory.search(KEY, "printer", 1, audience="tenant:slack:T1")

    assert {found.text for found in to_me} == {"my printer pin", "the printer"}
    assert [found.text for found in to_all] == ["the printer"]


async def test_a_picture_goes_with_its_turn_unless_another_turn_has_it_too(
    ledger: Ledger, memory: RedisMemory, blobs: RedisBlobs
) -> None:
    lease = (await claim(ledger)).lease
    other = Blob(b"other", "image/png", Label())
    shared = await blobs.put(lease, "t1", PICTURE)
    await blobs.put(lease, "t2", PICTURE)
    own = await blobs.put(lease, "t1", other)
    await memory.erase(KEY, "t1")

    assert await blobs.get(KEY, own) is None
    assert await blobs.get(KEY, shared) == PICTURE
    await memory.erase(KEY, "t2")
    assert await blobs.get(KEY, shared) is None
    assert await blobs.count(KEY) == 0


@pytest.mark.parametrize("how", ["reset", "forget"])
async def test_pictures_go_when_their_conversation_is_forgotten(
    ledger: Ledger, changes: Changes, blobs: RedisBlobs, how: str
) -> None:
    lease = (await claim(ledger)).lease
    name = await blobs.put(lease, "t1", PICTURE)
    await (changes.reset(KEY) if how == "reset" else changes.forget(KEY))

    assert await blobs.get(KEY, name) is None
    if how == "forget":  # and its turn brings none back
        with pytest.raises(Halted):
            await blobs.put(lease, "t1", PICTURE)


async def test_a_worker_that_lost_its_lease_keeps_no_picture(
    ledger: Ledger, blobs: RedisBlobs
) -> None:
    lease = (await claim(ledger)).lease
    await close(ledger, lease, 1)

    with pytest.raises(StaleLease):
        await blobs.put(lease, "t1", PICTURE)


async def test_a_claim_brings_the_facts_of_who_asks_and_keeps_them_longer(
    batcher: Batcher, keys: Keys, ledger: Ledger
) -> None:
    facts = RedisFacts(batcher, keys)
    fact = Fact("works in Trondheim", Label(), 1.0, str(KEY))
    for user in ("U1", "Ü2"):
        await facts.add("slack:T1", user, fact)
    await batcher.command("EXPIRE", keys.facts("slack:T1", "U1"), 9)
    mine = await claim(ledger, 1, author="U1")
    await close(ledger, mine.lease, 1)
    theirs = await claim(ledger, 2, author="Ü2")
    await close(ledger, theirs.lease, 2)
    nobodys = await claim(ledger, 3, author="U3")

    assert (await facts.read("slack:T1", "U1", mine.facts)).facts == {"1": fact}
    assert (await facts.read("slack:T1", "Ü2", theirs.facts)).facts == {"1": fact}
    assert nobodys.facts == {}
    assert int(await batcher.command("TTL", keys.facts("slack:T1", "U1"))) > 1000


async def test_facts_of_a_wrong_kind_cost_nobody_a_turn(
    batcher: Batcher, keys: Keys, ledger: Ledger
) -> None:
    await batcher.command("SADD", keys.facts("slack:T1", "U1"), "x")

    assert (await claim(ledger)).facts == {}


async def test_a_title_goes_with_its_conversation_or_with_its_retention(
    batcher: Batcher, keys: Keys, changes: Changes
) -> None:
    threads = RedisThreads(batcher, keys, retention_s=100, clock=lambda: 1000.0)
    for name, last_active in (("D1", 990.0), ("D2", 950.0), ("D3", 899.0)):
        await threads.remember("slack:T1", name, StoredThread("said first", last_active))
    await changes.forget(KEY)

    assert [thread for thread, _ in await threads.of("slack:T1")] == ["D2"]
    assert int(await batcher.command("HLEN", keys.threads("slack:T1"))) == 1


IDS = st.text(max_size=6) | st.sampled_from(["T1", "1", "T1:facts:2", "{1:a}", "U1:", "*"])


@settings(max_examples=200, deadline=None)
@given(one=st.tuples(IDS, IDS, IDS, IDS), two=st.tuples(IDS, IDS, IDS, IDS))
def test_equal_ids_in_two_tenants_never_meet(
    one: tuple[str, str, str, str], two: tuple[str, str, str, str]
) -> None:
    keys = Keys("p")

    def names(ids: tuple[str, str, str, str]) -> set[str]:
        tenant, channel, thread, user = ids
        key = ConversationKey(tenant, "dm", channel, thread)
        kinds = [keys.record(key, kind) for kind in ("event", "memory", "recap", "last")]
        return {keys.facts(tenant, user), keys.blobs(key), keys.blob(key, "a"), *kinds}

    if one[0] != two[0]:
        assert names(one).isdisjoint(names(two))
        assert not any(name.startswith(keys.tenant_start(one[0])) for name in names(two))
    if one[1:3] == two[1:3] and one[0] == two[0] and one[3] != two[3]:
        assert names(one) != names(two)


async def test_what_was_set_aside_is_forgotten_too(
    batcher: Batcher, keys: Keys, ledger: Ledger, changes: Changes
) -> None:
    await batcher.command("RPUSH", keys.record(KEY, "recap"), "1{}")  # a recap is a hash
    await talk(ledger, [1])
    aside = keys.record(KEY, "recap:bad")
    assert await batcher.command("EXISTS", aside)
    await changes.forget(KEY)

    assert not await batcher.command("EXISTS", aside)


async def test_facts_stay_within_their_number_however_many_come_at_once(
    batcher: Batcher, keys: Keys
) -> None:
    facts = RedisFacts(batcher, keys)
    fact = Fact("one of many", Label(), 1.0, str(KEY))
    kept = await asyncio.gather(*(facts.add("slack:T1", "U1", fact) for _ in range(MAX_FACTS + 9)))

    assert sum(kept) == MAX_FACTS
    assert len((await facts.of("slack:T1", "U1")).facts) == MAX_FACTS


async def test_everything_of_a_conversation_ends_with_its_retention(
    redis: Redis, batcher: Batcher, keys: Keys
) -> None:
    ledger = Ledger(batcher, keys, retention_s=86_400)
    memory = RedisMemory(batcher, keys, retention_s=86_400)
    blobs = RedisBlobs(batcher, keys, retention_s=86_400)
    lease = (await claim(ledger)).lease
    name = await blobs.put(lease, "t1", PICTURE)
    records = [encode_turn(turn) for turn in said(1)]
    await ledger.ready(lease, ending=b"{}", parts=[], memory=records)
    await close(ledger, lease, 1, answer=b"a", last=b"l")
    known = await memory.uncovered(KEY)
    await memory.write_recap(KEY, SUMMARY, was=known.recap, covers=2)
    names = [keys.memory(KEY), keys.recap(KEY), keys.answers(KEY), keys.last(KEY), keys.blobs(KEY)]
    left = [int(await batcher.command("TTL", each)) for each in [*names, keys.blob(KEY, name)]]

    assert all(86_000 < seconds <= 86_400 for seconds in left)


@pytest.mark.parametrize("tenant", ["slack:T1", "slack:T*", "discord:[12]", "slack:T?\n{x}"])
async def test_a_purge_leaves_no_key_of_its_tenant_and_every_key_of_another(
    redis: Redis, batcher: Batcher, keys: Keys, ledger: Ledger, blobs: RedisBlobs, tenant: str
) -> None:
    purge = TenantPurge(redis, batcher, keys)
    other = "slack:T12" if tenant != "discord:[12]" else "discord:1"
    for number, name in enumerate((tenant, other), 1):
        key = ConversationKey(name, "public", "C*", "1.0")
        lease = (await claim(ledger, number, key)).lease
        await blobs.put(lease, "t1", PICTURE)
        await RedisFacts(batcher, keys).add(name, "U1", Fact("x", Label(), 1.0, str(key)))
        await ledger.serve_tenant(name.partition(":")[0], name)
        await batcher.command("HSET", keys.sealing(), name, "{}")
    before = await purge.count(other)
    assert (await purge.count(tenant)).total() == before.total()

    assert await purge.purge(tenant) == 0
    assert await purge.count(tenant) == {}
    assert await purge.count(other) == before


MUTATED = st.binary(max_size=80) | st.builds(
    lambda at, byte: _flipped(encode_turn(said(1)[0]), at, byte),
    st.integers(0, 10_000),
    st.integers(0, 255),
)


def _flipped(record: bytes, at: int, byte: int) -> bytes:
    place = at % len(record)
    return record[:place] + bytes([byte]) + record[place + 1 :]


@settings(max_examples=200, deadline=None)
@given(records=st.lists(MUTATED, max_size=5))
def test_records_of_any_bytes_are_set_aside_and_the_others_read(records: list[bytes]) -> None:
    good = encode_turn(said(7)[0])
    turns = decode_turns([*records, good])

    assert turns[-1] == said(7)[0]
    assert all(isinstance(turn, Turn) for turn in turns)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_mutated_recap_is_a_recap_none_or_of_an_unknown_format(at: int, byte: int) -> None:
    try:
        found = decode_summary(_flipped(encode_summary(SUMMARY), at, byte))
    except UnknownFormat:
        return
    assert found is None or isinstance(found, Summary)


def test_the_summary_is_stored_with_its_format_and_label() -> None:
    record = encode_summary(SUMMARY)

    assert record[:1] == b"1"
    assert msgspec.json.decode(record[1:])["label"] == {"integrity": 0, "readers": []}
