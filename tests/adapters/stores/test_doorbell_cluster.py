"""The Redis doorbell on a cluster whose slots move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from adapters.stores.batching import Batcher
from adapters.stores.connection import connect_cluster, server_version
from adapters.stores.doorbell import Doorbell
from adapters.stores.errors import StoreUnavailable
from adapters.stores.keys import Keys
from adapters.stores.redis_doorbell import RedisDoorbell
from tests.adapters.stores.test_cluster import Move
from tests.redis_servers import RedisServer, redis_nodes

SHARDS = 4


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Sequence[RedisServer]]:
    async with redis_nodes(tmp_path) as servers:
        yield servers


async def test_rings_go_on_while_the_doorbells_slot_moves(nodes: Sequence[RedisServer]) -> None:
    keys = Keys("t")
    streams = [keys.bell("slack", shard) for shard in range(SHARDS)]
    move = Move(nodes, streams[0])
    client = connect_cluster(nodes[0].url, timeout_s=1)
    batcher = Batcher(client, version=await server_version(client), timeout_s=1)
    bell = RedisDoorbell(
        client, batcher, keys, adapter="slack", consumer="w", shards=SHARDS, idle_ms=300
    )
    await bell.open()
    heard: set[str] = set()
    listening = asyncio.create_task(listen(bell, heard))
    rung: set[str] = set()
    for step in (
        move.begin,
        *(lambda name=name: move.carry(name) for name in streams),
        move.end,
    ):
        await asyncio.to_thread(step)
        for _ in range(5):
            name = f"K{len(rung)}"
            rung.add(name)
            await ring(bell, name)
    async with asyncio.timeout(10):
        while not rung <= heard:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    listening.cancel()
    await asyncio.wait([listening])
    await batcher.aclose()
    await client.aclose()


async def listen(bell: Doorbell, heard: set[str]) -> None:
    while True:
        try:
            for found in await bell.take(wait_ms=50):
                heard.add(found.conversation)
                await bell.done(found)
        except StoreUnavailable:
            await asyncio.sleep(0.02)


async def ring(bell: Doorbell, name: str) -> None:
    """As the sweeper does, until it got through."""
    while True:
        try:
            await bell.ring(name)
        except StoreUnavailable:
            await asyncio.sleep(0.02)
        else:
            return
