"""The embedded server and the checks on a given one, with real servers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from adapters.stores.connection import Redis, check_server, connect
from adapters.stores.embedded import embedded_server, find_server
from adapters.stores.errors import StoreRefused


def pid_of(data_dir: Path) -> int:
    return int((data_dir / "redis" / "redis.pid").read_text())


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
async def embedded(server: Path, tmp_path: Path) -> AsyncIterator[Redis]:
    async with embedded_server(tmp_path, server=server) as url:
        client = connect(url)
        yield client
        await client.aclose()


async def test_it_stops_with_its_last_user_and_keeps_what_was_written(
    server: Path, tmp_path: Path
) -> None:
    async with embedded_server(tmp_path, server=server) as url:
        async with embedded_server(tmp_path, server=server) as same:
            assert same == url
        client = connect(url)
        await client.set("kept", "yes")
        await client.aclose()
        pid = pid_of(tmp_path)
    assert not runs(pid)

    async with embedded_server(tmp_path, server=server) as url:
        client = connect(url)
        assert await client.get("kept") == b"yes"
        await client.aclose()


async def test_a_server_that_is_killed_comes_back_with_what_it_had(
    server: Path, tmp_path: Path
) -> None:
    async with embedded_server(tmp_path, server=server) as url:
        client = connect(url)
        await client.set("kept", "yes")
        await asyncio.sleep(0.1)
        os.kill(pid_of(tmp_path), signal.SIGKILL)
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await client.get("kept") == b"yes"
                    break
                except RedisError:
                    await asyncio.sleep(0.05)
        await client.aclose()


async def test_a_data_directory_with_a_very_long_path_works(server: Path, tmp_path: Path) -> None:
    async with embedded_server(tmp_path / ("d" * 120), server=server) as url:
        client = connect(url)
        assert await client.ping()
        await client.aclose()


async def test_the_embedded_server_passes_its_own_checks(embedded: Redis) -> None:
    assert await check_server(embedded, embedded=True, allow_volatile=False) >= (6, 2)


async def test_an_eviction_policy_is_refused_by_name(embedded: Redis) -> None:
    await embedded.config_set("maxmemory-policy", "allkeys-lru")

    with pytest.raises(StoreRefused, match="maxmemory-policy"):
        await check_server(embedded, embedded=True, allow_volatile=False)
    assert await check_server(embedded, embedded=True, allow_volatile=True)


async def test_persistence_off_is_refused_by_name(embedded: Redis) -> None:
    await embedded.config_set("appendonly", "no")

    with pytest.raises(StoreRefused, match="appendonly"):
        await check_server(embedded, embedded=True, allow_volatile=False)


async def test_a_given_server_older_than_7_is_refused(tmp_path: Path) -> None:
    async with embedded_server(tmp_path, server=find_server(system=False)) as url:
        client = connect(url)
        with pytest.raises(StoreRefused, match=r"7\.0 or newer"):
            await check_server(client, embedded=False, allow_volatile=True)
        await client.aclose()
