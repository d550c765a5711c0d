"""The way to Redis when Redis is slow, frozen, read-only, or without its replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest

from adapters.stores.batching import Batcher, Replicas, Script
from adapters.stores.connection import connect, server_version
from adapters.stores.errors import StoreUnavailable
from adapters.stores.keys import Keys
from adapters.stores.ledger import Acceptance, Ledger
from tests.drills.redis_proxy import redis_proxy
from tests.redis_servers import redis_server, replicated
from tools.identity import ConversationKey

KEY = ConversationKey("slack:T1", "public", "C1", "171.1")
WRITE = Script("redis.call('SET', KEYS[1], ARGV[1]) return 1")


@asynccontextmanager
async def batching(
    url: str, *, timeout_s: float = 0.5, replicas: Replicas | None = None
) -> AsyncIterator[Batcher]:
    client = connect(url, timeout_s=timeout_s)
    batcher = Batcher(
        client, version=await server_version(client), timeout_s=timeout_s, replicas=replicas
    )
    yield batcher
    await batcher.aclose()
    await client.aclose()


async def accept(ledger: Ledger, event_id: str) -> Acceptance:
    return await ledger.accept(
        KEY, event_id=event_id, group="U1", record=b"r", sent_at=1.0, max_waiting=20
    )


async def seconds_until_refused(batcher: Batcher) -> float:
    began = monotonic()
    with pytest.raises(StoreUnavailable):
        await batcher.command("GET", "k")
    return monotonic() - began


async def test_calls_to_a_frozen_server_end_in_time_and_work_again_when_it_thaws(
    tmp_path: Path,
) -> None:
    async with redis_server(tmp_path) as server, batching(server.url) as batcher:
        await batcher.command("SET", "k", "v")
        server.freeze()
        calls = [asyncio.create_task(seconds_until_refused(batcher))]
        for _ in range(120):  # more than are sent before the first has failed
            await asyncio.sleep(0.01)
            calls.append(asyncio.create_task(seconds_until_refused(batcher)))
        took = await asyncio.gather(*calls)
        server.thaw()

        assert max(took) < 0.75
        assert await batcher.command("GET", "k") == b"v"


async def test_a_server_that_was_away_is_used_again_at_once(tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server, batching(server.url) as batcher:
        await batcher.command("SET", "k", "v")
        server.kill()
        for _ in range(10):
            await seconds_until_refused(batcher)
        server.start()
        await asyncio.to_thread(server.ready)

        assert await batcher.command("GET", "k") == b"v"


async def test_a_call_whose_connection_broke_is_not_sent_again(tmp_path: Path) -> None:
    async with (
        redis_server(tmp_path) as server,
        redis_proxy(server.port) as proxy,
        batching(proxy.url) as batcher,
    ):
        await batcher.command("PING")
        proxy.hold()
        call = asyncio.create_task(seconds_until_refused(batcher))
        await asyncio.sleep(0.05)
        proxy.cut_all()
        await call
        proxy.release()
        await batcher.command("PING")

        assert b"cmdstat_get:" not in server.ask("INFO", "commandstats")


async def test_a_replicated_write_counts_when_the_replica_has_it(tmp_path: Path) -> None:
    async with replicated(tmp_path) as (primary, replica):
        async with batching(primary.url, replicas=Replicas(1)) as batcher:
            assert await batcher.run(WRITE, ["k"], ["v"], replicated=True) == 1
        assert replica.ask("GET", "k") == b"v"


async def resent(ledger: Ledger, event_id: str) -> Acceptance | None:
    try:
        return await accept(ledger, event_id)
    except StoreUnavailable:
        return None


async def test_without_its_replica_nothing_is_accepted_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    async with (
        replicated(tmp_path) as (primary, replica),
        batching(primary.url, replicas=Replicas(1, timeout_ms=300)) as batcher,
    ):
        ledger = Ledger(batcher, Keys("t"))
        replica.freeze()
        first = asyncio.create_task(accept(ledger, "e1"))
        began = monotonic()
        await batcher.command("PING")
        assert monotonic() - began < 0.2
        with pytest.raises(StoreUnavailable, match=r"redis\.wait_replicas = 1.*start the rep"):
            await first
        # It is stored by now, yet a resend must not be taken for an accepted one.
        with pytest.raises(StoreUnavailable, match=r"wait_replicas"):
            await accept(ledger, "e1")
        replica.thaw()
        async with asyncio.timeout(20):  # it has to wake up, and a platform resends meanwhile
            while (known := await resent(ledger, "e1")) is None:
                pass

        assert known is Acceptance.KNOWN


async def test_a_demoted_primary_is_named(tmp_path: Path) -> None:
    async with replicated(tmp_path) as (primary, _), batching(primary.url) as batcher:
        primary.ask("REPLICAOF", "127.0.0.1", 1)
        with pytest.raises(StoreUnavailable, match="read-only replica"):
            await batcher.command("SET", "k", "v")
