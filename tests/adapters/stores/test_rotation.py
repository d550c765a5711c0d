"""New data keys: everything sealed reads back, nothing is left under the old ones."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter

import pytest

from adapters.stores.batching import Batcher
from adapters.stores.blobs import Blob, RedisBlobs
from adapters.stores.changes import Changes
from adapters.stores.claim import Claim
from adapters.stores.connection import Redis
from adapters.stores.dead import DeadLetter, DeadLetters
from adapters.stores.facts import Fact, RedisFacts
from adapters.stores.feedback import Feedback, RedisFeedback
from adapters.stores.installs import Installs
from adapters.stores.keys import Keys
from adapters.stores.ledger import Ledger
from adapters.stores.memory import RedisMemory, encode_turn
from adapters.stores.rotation import Rotation
from adapters.stores.sealing import AesSeal, MasterKey
from adapters.stores.threads import RedisThreads, StoredThread
from agents.summary import Summary
from agents.turns import Text, Turn
from bot.records import encode
from tools.identity import ConversationKey
from tools.labels import Label

KEY = ConversationKey("slack:T1", "dm", "D1")
RUNNING = ConversationKey("slack:T2", "private", "C}:facts:2", "t:1")
THREAD_AT = 4e9  # not forgotten for its age
TURN = Turn("user", (Text("hi"),), Label(), 1.0, "t1")


@pytest.fixture
def masters() -> list[MasterKey]:
    return [MasterKey(secrets.token_hex(32), where="memory.key_file")]


@pytest.fixture
def seal(batcher: Batcher, keys: Keys, masters: list[MasterKey]) -> AesSeal:
    return AesSeal(batcher, keys, masters)


def nothing(counts: Counter[str]) -> None:
    """No progress is shown."""


async def accepted(ledger: Ledger, key: ConversationKey, event_id: str) -> None:
    await ledger.accept(
        key,
        event_id=event_id,
        group=f"={event_id}",
        record=f"event {event_id}".encode(),
        sent_at=float(event_id[1:]),
        max_waiting=9,
    )


async def claimed(ledger: Ledger, key: ConversationKey) -> Claim:
    claim = await ledger.claim(key, owner="a")
    assert claim is not None
    return claim


async def filled(batcher: Batcher, keys: Keys, seal: AesSeal) -> str:
    """One of every record there is; the picture's name."""
    ledger, memory = Ledger(batcher, keys, seal=seal), RedisMemory(batcher, keys, seal=seal)
    for key in (KEY, RUNNING):
        await accepted(ledger, key, "e1")
        await accepted(ledger, key, "e2")
        lease = (await claimed(ledger, key)).lease
        await ledger.add_steps(lease, [b"step 1", b"step 2"])
        picture = Blob(b"picture", "image/png", Label())
        sha256 = await RedisBlobs(batcher, keys, seal=seal).put(lease, "t1", picture)
        await ledger.ready(lease, ending=b"end", parts=[b"one"], memory=[encode_turn(TURN)])
        if key is RUNNING:
            await ledger.give_back(lease)
            continue
        letter = encode(DeadLetter((b"event",), ("e1",), "why", 1, 1.0))
        await ledger.close(
            lease,
            turn_id="t1",
            state="failed",
            reason="",
            answer=b"answer",
            last=b"last",
            dead=letter,
        )
    known = await memory.uncovered(KEY)
    await memory.write_recap(KEY, Summary("recap", Label(), 1.0), was=known.recap, covers=1)
    fact = Fact("fact", Label(), 1.0, str(KEY))
    await RedisFacts(batcher, keys, seal=seal).add("slack:T1", "U1", fact)
    await RedisThreads(batcher, keys, seal=seal).remember(
        "slack:T1", "t", StoredThread("t", THREAD_AT)
    )
    said = Feedback("text", "U1", str(KEY), "t1", 1.0, "thanks")
    await RedisFeedback(batcher, keys, seal=seal, clock=lambda: 2.0).keep("slack:T1", said)
    await Installs(batcher, keys, adapter="slack", seal=seal).save("T1", b"token")
    return sha256


async def read(batcher: Batcher, keys: Keys, seal: AesSeal, sha256: str) -> dict[str, object]:
    """Everything `filled` wrote, as its readers read it."""
    ledger, changes = Ledger(batcher, keys, seal=seal), Changes(batcher, keys, seal=seal)
    memory = RedisMemory(batcher, keys, seal=seal)
    running = await claimed(ledger, RUNNING)
    waiting = await claimed(ledger, KEY)
    [dead] = await DeadLetters(batcher, keys, seal=seal).of("slack:T1")
    picture = await RedisBlobs(batcher, keys, seal=seal).get(RUNNING, sha256)
    facts = await RedisFacts(batcher, keys, seal=seal).of("slack:T1", "U1")
    feedback = RedisFeedback(batcher, keys, seal=seal, clock=lambda: 2.0)
    assert picture is not None
    return {
        "running": (running.events, running.ending, running.steps, running.outbox),
        "waiting": waiting.events,
        "memory": await memory.turns(KEY),
        "recap": b'"recap"' in (await memory.uncovered(KEY)).recap.record,
        "answers": await changes.answer(KEY, "t1"),
        "last": await changes.last(KEY),
        "dead": dead.letter.events,
        "picture": picture.data,
        "facts": [fact.text for fact in facts.facts.values()],
        "threads": await RedisThreads(batcher, keys, seal=seal).of("slack:T1"),
        "feedback": [each.text for each in await feedback.of("slack:T1")],
        "installs": await Installs(batcher, keys, adapter="slack", seal=seal).load("T1"),
    }


async def values(redis: Redis, keys: Keys) -> bytes:
    await redis.config_set("rdbcompression", "no")
    start = keys.sealing().removesuffix("sealing")
    names = [name async for name in redis.scan_iter(match=f"{start}*")]
    return b"".join([await redis.dump(name) or b"" for name in names])


async def key_ids(batcher: Batcher, keys: Keys, seal: AesSeal) -> set[bytes]:
    tenants = ("slack:T1", "slack:T2", "installs")
    stored = [await batcher.command("HGET", keys.sealing(), tenant) for tenant in tenants]
    read_keys = [
        seal.data_keys.read(each, record) for each, record in zip(tenants, stored, strict=True)
    ]
    return {bytes.fromhex(key_id) for _, found in read_keys for key_id in found}


async def test_every_kind_of_record_is_sealed_again_and_the_old_keys_are_gone(
    redis: Redis, batcher: Batcher, keys: Keys, masters: list[MasterKey], seal: AesSeal
) -> None:
    sha256 = await filled(batcher, keys, seal)
    old = await key_ids(batcher, keys, seal)
    ttl = await batcher.command("PTTL", keys.last(KEY))
    found = await Rotation(redis, batcher, keys, seal).rotate(settle_s=0, walked=nothing)
    lying, new = await values(redis, keys), await key_ids(batcher, keys, seal)
    fresh = AesSeal(batcher, keys, masters)

    assert (found["tenants"], found["old keys dropped"], found["unreadable"]) == (3, 3, 0)
    assert not old & new
    assert len(new) == 3
    assert not any(b"\xff1" + key_id in lying for key_id in old)
    assert ttl - 60_000 < await batcher.command("PTTL", keys.last(KEY)) <= ttl
    assert await read(batcher, keys, fresh, sha256) == {
        "running": ((b"event e1",), b"end", (b"step 1", b"step 2"), {0: b"one"}),
        "waiting": (b"event e2",),
        "memory": (TURN,),
        "recap": True,
        "answers": b"answer",
        "last": b"last",
        "dead": (b"event",),
        "picture": b"picture",
        "facts": ["fact"],
        "threads": [("t", StoredThread("t", THREAD_AT))],
        "feedback": ["thanks"],
        "installs": b"token",
    }


async def test_an_interrupted_rotation_goes_on_with_the_keys_it_began(
    redis: Redis, batcher: Batcher, keys: Keys, masters: list[MasterKey], seal: AesSeal
) -> None:
    sha256 = await filled(batcher, keys, seal)

    def interrupt(counts: Counter[str]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await Rotation(redis, batcher, keys, seal).rotate(settle_s=0, walked=interrupt)
    between = await key_ids(batcher, keys, seal)
    again = AesSeal(batcher, keys, masters)
    found = await Rotation(redis, batcher, keys, again).rotate(settle_s=0, walked=nothing)

    assert (len(between), found["old keys dropped"]) == (6, 3)
    assert await key_ids(batcher, keys, again) < between
    assert (await read(batcher, keys, again, sha256))["picture"] == b"picture"


async def test_a_bot_that_runs_meanwhile_reads_and_writes_with_either_key(
    redis: Redis, batcher: Batcher, keys: Keys, masters: list[MasterKey], seal: AesSeal
) -> None:
    now = [0.0]
    bot = AesSeal(batcher, keys, masters, clock=lambda: now[0])
    facts = RedisFacts(batcher, keys, seal=bot)
    await facts.add("slack:T1", "U1", Fact("before", Label(), 1.0, str(KEY)))
    rotation = asyncio.create_task(
        Rotation(redis, batcher, keys, seal).rotate(settle_s=1, walked=nothing)
    )
    await asyncio.sleep(0.5)
    await facts.add("slack:T1", "U1", Fact("under the old key", Label(), 1.0, str(KEY)))
    now[0] += 2
    known = (await facts.of("slack:T1", "U1")).facts
    found = await rotation
    alone = RedisFacts(batcher, keys, seal=AesSeal(batcher, keys, masters))

    assert {fact.text for fact in known.values()} == {"before", "under the old key"}
    assert found["sealed again"] == 2
    assert (await alone.of("slack:T1", "U1")).facts == known


async def test_the_old_key_stays_while_a_record_under_it_cant_be_opened(
    redis: Redis, batcher: Batcher, keys: Keys, seal: AesSeal
) -> None:
    facts = RedisFacts(batcher, keys, seal=seal)
    await facts.add("slack:T1", "U1", Fact("kept", Label(), 1.0, str(KEY)))
    [moved] = await seal.close("slack:T1", "elsewhere", [b"x"])
    await batcher.command("HSET", keys.facts("slack:T1", "U1"), "9", moved)
    found = await Rotation(redis, batcher, keys, seal).rotate(settle_s=0, walked=nothing)

    assert (found["unreadable"], found["old keys dropped"]) == (1, 0)
    assert [each.text for each in (await facts.of("slack:T1", "U1")).facts.values()] == ["kept"]


async def test_plain_records_that_may_be_read_are_sealed_too(
    redis: Redis, batcher: Batcher, keys: Keys, masters: list[MasterKey]
) -> None:
    facts = RedisFacts(batcher, keys)
    await facts.add("slack:T1", "U1", Fact("plain", Label(), 1.0, str(KEY)))
    lenient = AesSeal(batcher, keys, masters, read_plain=True)
    found = await Rotation(redis, batcher, keys, lenient).rotate(settle_s=0, walked=nothing)
    strict = RedisFacts(batcher, keys, seal=AesSeal(batcher, keys, masters))

    assert found["sealed again"] == 1
    assert [each.text for each in (await strict.of("slack:T1", "U1")).facts.values()] == ["plain"]
