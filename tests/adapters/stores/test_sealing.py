"""AES-256-GCM at rest: nothing readable in Redis, nothing swapped, no wrong key overlooked."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.stores.batching import Batcher
from adapters.stores.blobs import Blob, RedisBlobs
from adapters.stores.changes import Changes
from adapters.stores.claim import DAMAGED_PART, Claim
from adapters.stores.connection import Redis
from adapters.stores.dead import DeadLetter, DeadLetters
from adapters.stores.errors import StoreRefused
from adapters.stores.facts import Fact, RedisFacts
from adapters.stores.keys import Keys
from adapters.stores.ledger import Ledger
from adapters.stores.memory import RedisMemory, encode_turn
from adapters.stores.sealing import MARK, PLAIN, AesSeal, MasterKey, Seal, is_sealed, open_seal
from adapters.stores.threads import RedisThreads, StoredThread
from agents.summary import Summary
from agents.turns import Text, Turn
from bot.records import Ending, encode
from tools.identity import ConversationKey
from tools.labels import Label

KEY = ConversationKey("slack:T1", "dm", "D1")
CANARY = "canary-4711"


def master() -> MasterKey:
    return MasterKey(secrets.token_hex(32), where="memory.key_file")


@pytest.fixture
async def seal(batcher: Batcher, keys: Keys) -> Seal:
    return await open_seal(batcher, keys, [master()])


async def claimed(ledger: Ledger, event_id: str, record: bytes = CANARY.encode()) -> Claim:
    await ledger.accept(
        KEY, event_id=event_id, group=f"={event_id}", record=record, sent_at=1.0, max_waiting=9
    )
    claim = await ledger.claim(KEY, owner=event_id)
    assert claim is not None
    return claim


async def dump(redis: Redis, keys: Keys) -> bytes:
    """Every key and every value, as they lie there."""
    await redis.config_set("rdbcompression", "no")
    start = keys.sealing().removesuffix("sealing")
    names = [name async for name in redis.scan_iter(match=f"{start}*")]
    return b"".join([name + (await redis.dump(name) or b"") for name in names])


async def test_no_word_of_anybody_lies_readable_in_redis(
    redis: Redis, batcher: Batcher, keys: Keys, seal: Seal
) -> None:
    ledger, text = Ledger(batcher, keys, seal=seal), CANARY.encode()
    turn = Turn("user", (Text(CANARY),), Label(), 1.0, "t1")
    claim = await claimed(ledger, "e1")
    memory = RedisMemory(batcher, keys, seal=seal)
    await ledger.add_steps(claim.lease, [text])
    await RedisBlobs(batcher, keys, seal=seal).put(claim.lease, "t1", Blob(text, "x", Label()))
    await ledger.ready(claim.lease, ending=text, parts=[text], memory=[encode_turn(turn)])
    known = await memory.uncovered(KEY)
    await memory.write_recap(KEY, Summary(CANARY, Label(), 1.0), was=known.recap, covers=1)
    fact = Fact(CANARY, Label(), 1.0, str(KEY))
    await RedisFacts(batcher, keys, seal=seal).add(KEY.tenant, "U1", fact)
    await RedisThreads(batcher, keys, seal=seal).remember(
        KEY.tenant, "t", StoredThread(CANARY, 1.0)
    )
    before = await dump(redis, keys)
    letter = encode(DeadLetter((text,), ("e1",), "why", 1, 1.0))
    await ledger.close(
        claim.lease, turn_id="t1", state="failed", reason="", answer=text, last=text, dead=letter
    )
    after = await dump(redis, keys)

    assert len(before) > 500
    assert text not in before
    assert text not in after
    assert b"D1" in after  # ids stay readable: they are the keys


async def test_everything_sealed_reads_back_as_it_was(
    batcher: Batcher, keys: Keys, seal: Seal
) -> None:
    ledger, changes = Ledger(batcher, keys, seal=seal), Changes(batcher, keys, seal=seal)
    memory = RedisMemory(batcher, keys, seal=seal)
    turn = Turn("user", (Text("hi"),), Label(), 1.0, "t1")
    lease = (await claimed(ledger, "e1")).lease
    await ledger.add_steps(lease, [b"step 1", b"step 2"])
    await ledger.ready(lease, ending=b"end", parts=[b"one", b"two"], memory=[encode_turn(turn)])
    await ledger.give_back(lease)
    again = await ledger.claim(KEY, owner="b")
    assert again is not None
    letter = DeadLetter((b"event",), ("e1",), "why", 1, 1.0)
    await ledger.close(
        again.lease,
        turn_id="t1",
        state="failed",
        reason="",
        answer=b"answer",
        last=b"last",
        dead=encode(letter),
    )
    [dead] = await DeadLetters(batcher, keys, seal=seal).of(KEY.tenant)

    assert again.events == (CANARY.encode(),)
    assert again.steps == (b"step 1", b"step 2")
    assert (again.ending, again.outbox) == (b"end", {0: b"one", 1: b"two"})
    assert await memory.turns(KEY) == (turn,)
    assert await changes.answer(KEY, "t1") == b"answer"
    assert await changes.last(KEY) == b"last"
    assert dead.letter == letter
    assert await memory.erase(KEY, "t1") == 1


async def test_a_record_moved_to_another_place_or_damaged_is_set_aside(
    batcher: Batcher, keys: Keys, seal: Seal
) -> None:
    [record] = await seal.close("slack:T1", "a", [b"secret"])
    flipped = bytearray(record)
    flipped[-1] ^= 1
    moved = await seal.open("slack:T1", "b", [record])
    of_another_tenant = await seal.open("slack:T2", "a", [record])
    damaged = await seal.open("slack:T1", "a", [bytes(flipped)])
    cut = await seal.open("slack:T1", "a", [record[:9]])

    assert await seal.open("slack:T1", "a", [record, b""]) == [b"secret", b""]
    for each in (moved, of_another_tenant, damaged, cut):
        assert is_sealed(each[0])


async def test_a_damaged_part_of_an_answer_is_replaced_by_a_sentence(
    batcher: Batcher, keys: Keys, seal: Seal
) -> None:
    ledger = Ledger(batcher, keys, seal=seal)
    lease = (await claimed(ledger, "e1")).lease
    await ledger.ready(lease, ending=encode(Ending("answered")), parts=[b"a", b"b"], memory=[])
    outbox = keys.of(KEY)[5]
    stolen = await batcher.command("HGET", keys.of(KEY)[3], "ending")
    await batcher.command("HSET", outbox, 1, stolen)  # swapped within the conversation
    await ledger.give_back(lease)
    again = await ledger.claim(KEY, owner="b")

    assert again is not None
    assert again.outbox == {0: b"a", 1: DAMAGED_PART}


async def test_a_plain_record_is_refused_unless_the_operator_lets_it_be_read(
    batcher: Batcher, keys: Keys
) -> None:
    key = master()
    strict = await open_seal(batcher, keys, [key])
    lenient = await open_seal(batcher, keys, [key], read_plain=True)

    assert await strict.open("slack:T1", "a", [b"{}"]) == [MARK + b"{}"]
    assert await lenient.open("slack:T1", "a", [b"{}"]) == [b"{}"]


@pytest.mark.parametrize("masters", [[], [master()]], ids=["no key", "another key"])
async def test_a_store_with_sealed_records_is_not_opened_without_its_key(
    batcher: Batcher, keys: Keys, masters: Sequence[MasterKey]
) -> None:
    right = master()
    seal = await open_seal(batcher, keys, [right])
    await seal.close("slack:T1", "a", [b"secret"])

    with pytest.raises(StoreRefused, match="encrypted"):
        await open_seal(batcher, keys, masters)
    assert isinstance(await open_seal(batcher, keys, [right]), AesSeal)


async def test_a_new_master_key_takes_over_beside_the_old_one_and_then_alone(
    batcher: Batcher, keys: Keys
) -> None:
    old, new = master(), master()
    seal = await open_seal(batcher, keys, [old])
    [record] = await seal.close("slack:T1", "a", [b"secret"])
    await open_seal(batcher, keys, [new, old])
    alone = await open_seal(batcher, keys, [new])

    assert await alone.open("slack:T1", "a", [record]) == [b"secret"]
    with pytest.raises(StoreRefused, match=new.key_id):
        await open_seal(batcher, keys, [old])


async def test_without_its_data_key_a_tenants_records_are_gone_within_a_minute(
    batcher: Batcher, keys: Keys
) -> None:
    now = [0.0]
    seal = AesSeal(batcher, keys, [master()], clock=lambda: now[0])
    [record] = await seal.close("slack:T1", "a", [b"secret"])
    await batcher.command("HDEL", keys.sealing(), "slack:T1")
    now[0] = 61.0
    again = await seal.open("slack:T1", "a", [record])
    [fresh] = await seal.close("slack:T1", "a", [b"new"])

    assert is_sealed(again[0])
    assert await seal.open("slack:T1", "a", [fresh]) == [b"new"]


async def test_two_processes_that_meet_a_tenant_at_once_agree_on_its_key(
    batcher: Batcher, keys: Keys
) -> None:
    key = master()
    one, two = AesSeal(batcher, keys, [key]), AesSeal(batcher, keys, [key])
    [first] = await one.close("slack:T1", "a", [b"one"])
    [second] = await two.close("slack:T1", "a", [b"two"])

    assert await two.open("slack:T1", "a", [first]) == [b"one"]
    assert await one.open("slack:T1", "a", [second]) == [b"two"]


@pytest.mark.parametrize("text", ["", "short", "g" * 64, "ab" * 31])
def test_a_file_that_holds_no_key_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(StoreRefused, match="openssl rand -hex 32"):
        MasterKey(text, where="/run/secrets/key")


@settings(max_examples=200, deadline=None)
@given(record=st.binary(max_size=200))
async def test_plain_bytes_of_any_kind_pass_the_plain_store_unchanged(record: bytes) -> None:
    assert await PLAIN.open("t", "n", await PLAIN.close("t", "n", [record])) == [record]
