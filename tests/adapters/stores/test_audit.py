"""The auditor on a real Redis: quiet about a sound store, exact about a broken one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from adapters.stores.audit import Auditor, Report
from adapters.stores.batching import Batcher
from adapters.stores.connection import Redis, connect, connect_cluster
from adapters.stores.keys import Keys
from adapters.stores.ledger import Ledger
from adapters.stores.memory import encode_turn
from agents.turns import Text, Turn
from tests.adapters.stores.test_ledger import KEY, accept, claimed
from tools.identity import ConversationKey

LEASE_MS = 20_000


@pytest.fixture(params=["one server", "cluster"])
async def redis(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Redis]:
    is_cluster = request.param == "cluster"
    client: Redis = (
        connect_cluster(request.getfixturevalue("cluster_url"))
        if is_cluster
        else connect(redis_url)
    )
    yield client
    await client.aclose()


@pytest.fixture
def auditor(redis: Redis, batcher: Batcher, keys: Keys) -> Auditor:
    return Auditor(redis, batcher, keys, lease_ms=LEASE_MS)


def name_of(keys: Keys, kind: str) -> str:
    return next(name for name in keys.of(KEY) if name.endswith(f":{kind}"))


def rules(report: Report) -> set[str]:
    return {each.rule for each in report.violations}


async def one_turn(ledger: Ledger, turn_id: str, *, close: bool = True) -> None:
    await accept(ledger, f"event of {turn_id}")
    claim = await claimed(ledger)
    await ledger.add_steps(claim.lease, [b"step"])
    question = Turn("user", (Text("secret words"),), turn_id=turn_id)
    await ledger.ready(claim.lease, ending=b"{}", parts=[b"one"], memory=[encode_turn(question)])
    if close:
        await ledger.close(claim.lease, turn_id=turn_id, state="answered", reason="")


async def test_a_store_in_the_midst_of_its_work_breaks_no_rule(
    auditor: Auditor, ledger: Ledger
) -> None:
    await one_turn(ledger, "t1")
    await accept(ledger, "waits")
    assert (await auditor.audit(pause_s=0)).violations == []

    await one_turn(ledger, "t2", close=False)
    report = await auditor.audit(pause_s=0)

    assert report.violations == []
    assert report.counts["turns closed"] == 1
    assert report.counts["memory records"] == 2
    assert report.counts["turn"] == 1


async def test_an_empty_store_breaks_no_rule(auditor: Auditor) -> None:
    assert await auditor.audit(pause_s=0) == Report()


BREAKS: dict[str, Callable[[Redis, Keys], Awaitable[object]]] = {
    "lease.endless": lambda redis, keys: redis.set(name_of(keys, "lease"), "w9"),
    "lease.without_turn": lambda redis, keys: redis.set(name_of(keys, "lease"), "w9", px=15_000),
    "lease.too_long": lambda redis, keys: redis.set(name_of(keys, "lease"), "w9", ex=3600),
    "fence.endless": lambda redis, keys: redis.persist(name_of(keys, "fence")),
    "steps.of_closed_turn": lambda redis, keys: redis.rpush(name_of(keys, "steps"), "x"),
    "outbox.of_closed_turn": lambda redis, keys: redis.hset(name_of(keys, "outbox"), "0", "x"),
    "turn.without_events": lambda redis, keys: redis.hset(name_of(keys, "turn"), "deaths", 1),
    "turn.event_missing": lambda redis, keys: redis.hset(name_of(keys, "turn"), "events", 1),
    "work.not_due": lambda redis, keys: redis.zadd(name_of(keys, "line"), {"x": 1}),
    "due.without_work": lambda redis, keys: redis.zadd(keys.due(KEY.tenant), {str(KEY): 1}),
    "due.bad_entry": lambda redis, keys: redis.zadd(keys.due(KEY.tenant), {"nonsense": 1}),
    "memory.unreadable": lambda redis, keys: redis.rpush(keys.memory(KEY), "1{broken"),
    "key.never_expires": lambda redis, keys: redis.persist(keys.memory(KEY)),
    "key.unknown": lambda redis, keys: redis.set(keys.memory(KEY) + "s", "x"),
    "key.wrong_type": lambda redis, keys: redis.set(name_of(keys, "line"), "x"),
    "closed.twice": lambda redis, keys: redis.xadd(
        keys.closed(KEY.tenant), {"turn": "t1", "conversation": str(KEY), "state": "answered"}
    ),
    "closed.unknown_state": lambda redis, keys: redis.xadd(
        keys.closed(KEY.tenant), {"turn": "t2", "conversation": str(KEY), "state": "lost"}
    ),
}


@pytest.mark.parametrize("rule", BREAKS)
async def test_a_broken_rule_is_named_and_its_text_is_not(
    rule: str, auditor: Auditor, ledger: Ledger, redis: Redis, keys: Keys
) -> None:
    await one_turn(ledger, "t1")
    await BREAKS[rule](redis, keys)

    report = await auditor.audit(pause_s=0)

    assert rule in rules(report)
    assert report.broken == len(report.violations)
    assert "secret" not in repr(report)


async def test_a_question_remembered_twice_is_named(
    auditor: Auditor, ledger: Ledger, redis: Redis, keys: Keys
) -> None:
    await one_turn(ledger, "t1")
    for record in await redis.lrange(keys.memory(KEY), 0, -1):
        await redis.rpush(keys.memory(KEY), record)

    assert rules(await auditor.audit(pause_s=0)) == {"memory.turn_twice"}


async def test_what_was_set_aside_is_counted_and_breaks_no_rule(
    auditor: Auditor, redis: Redis, keys: Keys
) -> None:
    await redis.set(name_of(keys, "turn") + ":bad", "x", ex=60)

    report = await auditor.audit(pause_s=0)

    assert report.violations == []
    assert report.counts == {"set aside": 1}


async def test_what_the_bot_mends_in_between_is_not_told(
    auditor: Auditor, ledger: Ledger, redis: Redis, keys: Keys
) -> None:
    await one_turn(ledger, "t1")
    await redis.set(name_of(keys, "lease"), "w9", px=100)

    assert (await auditor.audit(pause_s=0.2)).violations == []


async def test_another_bots_keys_in_the_same_redis_are_left_alone(
    auditor: Auditor, redis: Redis
) -> None:
    await redis.set("another:v1:thing", "x")

    assert await auditor.audit(pause_s=0) == Report()


async def test_many_conversations_are_walked_page_by_page(
    auditor: Auditor, redis: Redis, keys: Keys
) -> None:
    record = encode_turn(Turn("user", (Text("hi"),), turn_id="t"))
    async with redis.pipeline(transaction=False) as pipe:
        for number in range(3000):
            name = keys.memory(ConversationKey("slack:T1", "public", "C1", str(number)))
            pipe.rpush(name, record)
            pipe.expire(name, 60)
        await pipe.execute()

    report = await auditor.audit(pause_s=0)

    assert report.violations == []
    assert report.counts["memory"] == 3000


async def test_a_prefix_with_wildcards_matches_only_itself(redis: Redis, batcher: Batcher) -> None:
    await redis.set("ab:v1:thing", "x")
    auditor = Auditor(redis, batcher, Keys("a[b-c]*\\?"), lease_ms=LEASE_MS)

    assert await auditor.audit(pause_s=0) == Report()
    await redis.set("a[b-c]*\\?:v1:thing", "x")
    assert rules(await auditor.audit(pause_s=0)) == {"key.unknown"}
