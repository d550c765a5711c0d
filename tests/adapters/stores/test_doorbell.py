"""What is the Redis doorbell's own: shards, groups, streams; on three kinds of Redis."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.stores.batching import Batcher
from adapters.stores.connection import Redis
from adapters.stores.doorbell import Ring
from adapters.stores.keys import Keys
from adapters.stores.redis_doorbell import RedisDoorbell, shard_of

SHARDS = 4


def bell(
    redis: Redis, batcher: Batcher, keys: Keys, consumer: str, *, idle_ms: int = 30_000
) -> RedisDoorbell:
    return RedisDoorbell(
        redis, batcher, keys, adapter="slack", consumer=consumer, shards=SHARDS, idle_ms=idle_ms
    )


async def all_of(worker: RedisDoorbell, count: int) -> list[Ring]:
    rings: list[Ring] = []
    for _ in range(count):
        rings += await worker.take(wait_ms=50) if len(rings) < count else []
    return rings


async def test_one_process_hears_every_shard(redis: Redis, batcher: Batcher, keys: Keys) -> None:
    worker = bell(redis, batcher, keys, "w1")
    await worker.open()
    names = {f"K{number}" for number in range(20)}
    assert len({shard_of(name, SHARDS) for name in names}) == SHARDS
    for name in names:
        await worker.ring(name)

    assert {ring.conversation for ring in await all_of(worker, 20)} == names


async def test_a_dead_workers_rings_are_adopted_from_every_shard(
    redis: Redis, batcher: Batcher, keys: Keys
) -> None:
    dead = bell(redis, batcher, keys, "dead")
    heir = bell(redis, batcher, keys, "heir", idle_ms=0)
    await dead.open()
    await heir.open()
    for number in range(12):
        await dead.ring(f"K{number}")
    taken = await all_of(dead, 12)

    adopted = await heir.take(wait_ms=10)
    assert sorted(adopted, key=str) == sorted(taken, key=str)
    for ring in adopted:
        await heir.done(ring)
    assert await bell(redis, batcher, keys, "other", idle_ms=0).take(wait_ms=10) == []


async def test_no_more_rings_are_kept_than_there_is_room_for(
    redis: Redis, batcher: Batcher, keys: Keys
) -> None:
    one, other = bell(redis, batcher, keys, "one"), bell(redis, batcher, keys, "other")
    await one.open()
    for number in range(12):
        await one.ring(f"K{number}")

    first = await one.take(limit=1, wait_ms=50)
    rest = await all_of(other, 11)
    assert len(first) == 1
    assert {ring.conversation for ring in first + rest} == {f"K{number}" for number in range(12)}


async def test_deleted_streams_are_made_again(redis: Redis, batcher: Batcher, keys: Keys) -> None:
    worker = bell(redis, batcher, keys, "w1")
    await worker.open()
    for shard in range(SHARDS):
        await redis.delete(keys.bell("slack", shard))

    assert await worker.take(wait_ms=10) == []
    await worker.ring("K1")
    assert [ring.conversation for ring in await all_of(worker, 1)] == ["K1"]


async def test_a_foreign_entry_is_handed_out_to_be_finished(
    redis: Redis, batcher: Batcher, keys: Keys
) -> None:
    worker = bell(redis, batcher, keys, "w1")
    await worker.open()
    await redis.xadd(keys.bell("slack", 2), {"else": "x"})
    [ring] = await all_of(worker, 1)
    await worker.done(ring)

    assert ring.conversation == ""
    assert await redis.xlen(keys.bell("slack", 2)) == 0


async def test_the_last_worker_takes_empty_streams_along_and_leaves_full_ones(
    redis: Redis, batcher: Batcher, keys: Keys
) -> None:
    one, other = bell(redis, batcher, keys, "one"), bell(redis, batcher, keys, "other")
    await one.open()
    await one.ring("K1")
    for ring in await all_of(one, 1):
        await one.done(ring)
    await other.open()
    await one.aclose()
    assert await there(redis, keys) == [True] * SHARDS

    await other.ring("K1")
    await other.aclose()
    assert await there(redis, keys) == [n == shard_of("K1", SHARDS) for n in range(SHARDS)]


async def there(redis: Redis, keys: Keys) -> list[bool]:
    return [bool(await redis.exists(keys.bell("slack", shard))) for shard in range(SHARDS)]


@settings(max_examples=200)
@given(st.text(), st.integers(1, 64))
def test_every_conversation_has_one_shard(conversation: str, shards: int) -> None:
    assert 0 <= shard_of(conversation, shards) < shards
    assert shard_of(conversation, shards) == shard_of(conversation, shards)


def test_the_shards_do_not_change_between_versions() -> None:
    assert [shard_of(f"{{8:slack:T1}}dm/1:{n}-", 64) for n in range(4)] == [51, 50, 49, 48]
