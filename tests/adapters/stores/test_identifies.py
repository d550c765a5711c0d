"""The gateway sessions of a day are counted in the store, for every process and restart (C10)."""

from __future__ import annotations

from pathlib import Path

from adapters.stores.identifies import RedisIdentifies
from adapters.stores.keys import Keys
from tests.adapters.stores.test_batching import batching
from tests.redis_servers import redis_server

KEYS = Keys(prefix="identifies-test")


async def test_a_crash_loop_ends_at_the_budget_whichever_process_asks(tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server:
        taken = 0
        for _ in range(4):  # restarts
            async with batching(server.url) as batcher:
                budget = RedisIdentifies(batcher, KEYS, adapter="discord", per_day=30)
                taken += [await budget.take() for _ in range(10)].count(0.0)
        async with batching(server.url) as batcher:
            wait_s = await RedisIdentifies(batcher, KEYS, adapter="discord", per_day=30).take()

    assert taken == 30
    assert 86_300 < wait_s <= 86_400


async def test_a_lane_is_free_again_after_five_seconds_for_all_processes(tmp_path: Path) -> None:
    async with (
        redis_server(tmp_path) as server,
        batching(server.url) as batcher,
        batching(server.url) as other,
    ):
        here = RedisIdentifies(batcher, KEYS, adapter="discord", per_day=30)
        there = RedisIdentifies(other, KEYS, adapter="discord", per_day=30)
        assert await here.take() == 0.0
        assert await here.take(lane=1) == 0.0
        assert await here.take(lane=11) == 0.0
        assert 4.0 < await there.take(lane=1) <= 5.0
        assert await there.take() == 0.0, "a bot without shards has no lane"
        assert await there.take(lane=2) == 0.0


async def test_a_store_that_is_away_lets_nobody_begin(tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server, batching(server.url) as batcher:
        budget = RedisIdentifies(batcher, KEYS, adapter="discord", per_day=30)
        server.freeze()
        assert await budget.take() > 0
        server.thaw()
