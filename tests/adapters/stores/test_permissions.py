"""What the bot may do in a Redis that somebody else administers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from adapters.stores.batching import commands_of
from adapters.stores.connection import check_server, connect, connect_cluster
from adapters.stores.errors import StoreRefused, StoreUnavailable
from adapters.stores.scripts import ALL
from tests.redis_servers import RedisServer, free_port, redis_server

RIGHT = "right"
ENOUGH = (
    *("~fl:*", "-@all", "+@read", "+@write", "+@scripting", "+@connection"),
    *("+info", "+time", "+multi", "+wait"),
)


@pytest.fixture
async def given(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as server:
        yield server


async def check_as(server: RedisServer, rules: Sequence[str], *, password: str = RIGHT) -> None:
    server.ask("ACL", "SETUSER", "bot", "reset", "on", f">{RIGHT}", *rules)
    client = connect(f"redis://bot:{password}@127.0.0.1:{server.port}")
    try:
        await check_server(client, embedded=False, allow_volatile=False, commands=commands_of(ALL))
    finally:
        await client.aclose()


async def test_a_user_with_the_documented_rules_passes_without_config(given: RedisServer) -> None:
    await check_as(given, ENOUGH)


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ("-xautoclaim", r"XAUTOCLAIM .*ACL SETUSER bot \+xautoclaim"),
        ("-evalsha", r"EVALSHA .*ACL SETUSER bot \+evalsha"),
        ("-script", r"SCRIPT .*ACL SETUSER bot \+script"),
        ("-zadd", r"ZADD .*ACL SETUSER bot \+zadd"),  # called by scripts only
        ("-info", r"info.*\+info"),
        ("resetkeys", r"ACL SETUSER bot ~fl:\*"),
    ],
)
async def test_a_missing_right_is_refused_with_the_rule_to_add(
    given: RedisServer, rule: str, named: str
) -> None:
    with pytest.raises(StoreRefused, match=named):
        await check_as(given, [*ENOUGH, rule])


async def test_the_look_at_the_rights_changes_nothing(given: RedisServer) -> None:
    await check_as(given, ["~*", "+@all"])

    assert given.ask("DBSIZE") == 0


async def test_a_wrong_password_is_refused_by_name(given: RedisServer) -> None:
    with pytest.raises(StoreRefused, match="user or password"):
        await check_as(given, ENOUGH, password="wrong")


async def test_a_replica_is_refused(given: RedisServer, tmp_path: Path) -> None:
    async with redis_server(
        tmp_path / "replica", "--replicaof", f"127.0.0.1 {given.port}"
    ) as replica:
        client = connect(replica.url)
        with pytest.raises(StoreRefused, match="replica"):
            await check_server(client, embedded=False, allow_volatile=False)
        await client.aclose()


async def test_cluster_and_single_redis_are_told_apart(
    given: RedisServer, cluster_url: str
) -> None:
    one, cluster = connect(cluster_url), connect_cluster(given.url)
    with pytest.raises(StoreRefused, match=r"redis\.cluster = true"):
        await check_server(one, embedded=False, allow_volatile=False)
    with pytest.raises(StoreRefused, match="without cluster mode"):
        await check_server(cluster, embedded=False, allow_volatile=False)
    await one.aclose()
    await cluster.aclose()


async def test_a_cluster_passes_the_checks_on_every_node(cluster_url: str) -> None:
    client = connect_cluster(cluster_url)
    assert await check_server(client, embedded=False, allow_volatile=False) >= (7, 0)
    await client.aclose()


async def test_nobody_listening_is_told_in_time() -> None:
    nobody = f"redis://127.0.0.1:{free_port()}"
    for client in (connect(nobody), connect_cluster(nobody)):
        with pytest.raises(StoreUnavailable):
            await check_server(client, embedded=False, allow_volatile=False)
        await client.aclose()
