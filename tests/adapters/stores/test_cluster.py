"""The batches on a Redis Cluster whose slots move and whose nodes die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.crc import key_slot

from adapters.stores.batching import Batcher, Script
from adapters.stores.cluster import key_of
from adapters.stores.connection import connect_cluster, server_version
from adapters.stores.errors import StoreUnavailable
from tests.redis_servers import RedisServer, redis_nodes

ADD = Script(
    "return redis.call('INCRBY', KEYS[1], ARGV[1]) + redis.call('INCRBY', KEYS[2], ARGV[1])"
)


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Sequence[RedisServer]]:
    async with redis_nodes(tmp_path) as servers:
        yield servers


@asynccontextmanager
async def batching(url: str, *, timeout_s: float = 1.0) -> AsyncIterator[Batcher]:
    client = connect_cluster(url, timeout_s=timeout_s)
    batcher = Batcher(client, version=await server_version(client), timeout_s=timeout_s)
    await batcher.load([ADD])
    yield batcher
    await batcher.aclose()
    await client.aclose()


class Move:
    """Moves the slot of one key from its node to the next, step by step."""

    def __init__(self, nodes: Sequence[RedisServer], key: str) -> None:
        self.slot = key_slot(key.encode())
        home = self.slot * len(nodes) // 16_384
        self.old, self.new = nodes[home], nodes[(home + 1) % len(nodes)]
        self._ids = [each.ask("CLUSTER", "MYID").decode() for each in (self.old, self.new)]

    def begin(self) -> None:
        self.new.ask("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self._ids[0])
        self.old.ask("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self._ids[1])

    def carry(self, *keys: str) -> None:
        self.old.ask("MIGRATE", "127.0.0.1", self.new.port, "", 0, 1000, "KEYS", *keys)

    def end(self) -> None:
        for server in (self.new, self.old):
            server.ask("CLUSTER", "SETSLOT", self.slot, "NODE", self._ids[1])


async def test_commands_of_one_moment_reach_every_node(cluster_url: str) -> None:
    async with batching(cluster_url) as batcher:
        names = [f"spread:{number}:{id(batcher)}" for number in range(64)]
        await asyncio.gather(*(batcher.command("SET", name, name) for name in names))

        found = await asyncio.gather(*(batcher.command("GET", name) for name in names))
        assert found == [name.encode() for name in names]


async def test_a_slot_that_moves_under_load_loses_and_doubles_nothing(
    nodes: Sequence[RedisServer],
) -> None:
    move, pair = Move(nodes, "{t}a"), ["{t}a", "{t}b"]
    async with batching(nodes[0].url) as batcher:
        await batcher.run(ADD, pair, [1])
        counted = asyncio.create_task(count_up(batcher, pair, 400))
        for step in (
            move.begin,  # new keys: ASK
            lambda: move.carry("{t}a"),  # one key here, one there: TRYAGAIN
            lambda: move.carry("{t}b"),  # both there: ASK
            move.end,  # MOVED
        ):
            await asyncio.sleep(0.08)
            await asyncio.to_thread(step)
        made = await counted

        assert await batcher.command("MGET", *pair) == [b"%d" % (made + 1)] * 2
        assert made == 400


async def count_up(batcher: Batcher, pair: list[str], times: int) -> int:
    made = 0
    for _ in range(times // 8):
        answers = await asyncio.gather(*(batcher.run(ADD, pair, [1]) for _ in range(8)))
        made += len(answers)
        await asyncio.sleep(0.005)
    return made


async def test_a_slot_whose_keys_are_apart_for_long_is_told_in_time(
    nodes: Sequence[RedisServer],
) -> None:
    move, pair = Move(nodes, "{t}a"), ["{t}a", "{t}b"]
    async with batching(nodes[0].url) as batcher:
        await batcher.run(ADD, pair, [1])
        move.begin()
        move.carry("{t}a")

        async with asyncio.timeout(3):
            with pytest.raises(StoreUnavailable, match="TryAgain"):
                await batcher.run(ADD, pair, [1])


async def test_a_lost_script_cache_of_one_node_is_rebuilt(nodes: Sequence[RedisServer]) -> None:
    async with batching(nodes[0].url) as batcher:
        for server in nodes:
            server.ask("SCRIPT", "FLUSH")

        pairs = [[f"{{{number}}}a", f"{{{number}}}b"] for number in range(12)]
        answers = await asyncio.gather(*(batcher.run(ADD, pair, [2]) for pair in pairs))
        assert answers == [4] * 12


async def test_a_dead_node_fails_its_own_keys_in_time_and_no_others(
    nodes: Sequence[RedisServer],
) -> None:
    for server in nodes:
        server.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    dead = Move(nodes, "{t}a").old
    other = next(f"{n}" for n in range(99) if Move(nodes, f"{n}").old is not dead)
    async with batching(nodes[0].url) as batcher:
        dead.kill()
        for _ in range(5):
            async with asyncio.timeout(1.5):
                with pytest.raises(StoreUnavailable):
                    await batcher.command("GET", "{t}a")
                assert await batcher.command("GET", other) is None
        dead.start()
        await until_it_works(batcher, "{t}a")


async def until_it_works(batcher: Batcher, key: str) -> None:
    for _ in range(200):
        try:
            await batcher.command("SET", key, "v")
        except StoreUnavailable:
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError("the node that came back was never used again")


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ((b"EVALSHA", b"abc", 2, b"k", b"x"), b"k"),
        ((b"XADD", b"k", b"*"), b"k"),
        ((b"XGROUP", b"CREATE", b"k", b"g"), b"k"),
        ((b"XREADGROUP", b"GROUP", b"g", b"c", b"STREAMS", b"k", b">"), b"k"),
        ((b"PING",), None),
        ((b"get", b"k"), b"k"),
    ],
)
def test_a_command_is_routed_by_its_first_key(
    words: tuple[bytes | int, ...], key: bytes | None
) -> None:
    assert key_of(words) == key
