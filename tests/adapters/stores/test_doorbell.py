"""The doorbell on real Redis servers."""

from __future__ import annotations

from adapters.stores.batching import Batcher
from adapters.stores.connection import Redis
from adapters.stores.doorbell import Doorbell
from adapters.stores.keys import Keys


def bell(redis: Redis, batcher: Batcher, keys: Keys, consumer: str) -> Doorbell:
    return Doorbell(redis, batcher, keys, adapter="slack", consumer=consumer)


async def test_rings_made_before_any_worker_came_are_heard(
    redis: Redis, batcher: Batcher, keys: Keys
) -> None:
    worker = bell(redis, batcher, keys, "w1")
    await worker.ring("K1")
    await worker.open()
    await worker.open()

    assert [ring.conversation for ring in await worker.take(wait_ms=50)] == ["K1"]


async def test_each_ring_goes_to_one_worker_and_a_dead_ones_is_adopted(
    redis: Redis, batcher: Batcher, keys: Keys
) -> None:
    dead, heir = bell(redis, batcher, keys, "dead"), bell(redis, batcher, keys, "heir")
    await dead.open()
    await dead.ring("K1")
    taken = await dead.take(wait_ms=50)

    assert await heir.take(wait_ms=10) == []
    assert await heir.adopt(idle_ms=0) == taken
    await heir.done(taken[0])
    assert await heir.adopt(idle_ms=0) == []


async def test_a_deleted_stream_is_made_again(redis: Redis, batcher: Batcher, keys: Keys) -> None:
    worker = bell(redis, batcher, keys, "w1")
    await worker.open()
    await redis.delete(keys.bell("slack"))

    assert await worker.take(wait_ms=10) == []
    await worker.ring("K1")
    assert [ring.conversation for ring in await worker.take(wait_ms=50)] == ["K1"]


async def test_the_last_worker_takes_an_empty_stream_along_and_leaves_a_full_one(
    redis: Redis, batcher: Batcher, keys: Keys
) -> None:
    one, other = bell(redis, batcher, keys, "one"), bell(redis, batcher, keys, "other")
    await one.open()
    await one.ring("K1")
    for ring in await one.take(wait_ms=50):
        await one.done(ring)
    await other.open()
    await one.aclose()
    assert await redis.exists(keys.bell("slack"))

    await other.aclose()
    assert not await redis.exists(keys.bell("slack"))
