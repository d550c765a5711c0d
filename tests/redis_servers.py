"""redis-servers of a test's own: to kill, freeze, fill up, replicate and join to a cluster."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from adapters.stores.embedded import find_server

_START_S = 20.0
_SLOTS = 16_384


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class RedisServer:
    """One redis-server on a port of loopback, with an append-only file unless told otherwise."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port, self._options = folder, free_port(), options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def aof_bytes(self) -> int:
        """The size of its largest append-only file."""
        return max(file.stat().st_size for file in self.folder.rglob("*.aof"))

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def client(self) -> redis.Redis:
        """A blocking client for a test's own questions."""
        return redis.Redis(
            port=self.port, socket_timeout=5.0, retry=Retry(NoBackoff(), 0), protocol=2
        )

    def ask(self, *words: str | bytes | int | float) -> Any:
        """One command and its reply, as an administrator at the server would get it."""
        with self.client() as client:
            return client.execute_command(*words)

    def start(self, *, preexec: Callable[[], object] | None = None) -> None:
        """Start it; `ready` waits until it answers."""
        command = [str(find_server()), "--port", str(self.port), "--dir", str(self.folder)]
        command += ["--bind", "127.0.0.1", "--appendonly", "yes", "--save", "", *self._options]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (our own command line)
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=preexec,
            )

    def ready(self) -> None:
        deadline = monotonic() + _START_S
        with self.client() as client:
            while True:
                try:
                    client.ping()
                except RedisConnectionError:
                    if monotonic() > deadline:
                        raise
                    sleep(0.005)
                else:
                    return

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._wait()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it the quick way: nobody needs what it has, and SIGTERM may wait for an AOF."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _signal(self, number: int) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait(timeout=15)


@asynccontextmanager
async def redis_server(
    folder: Path, *options: str, preexec: Callable[[], object] | None = None
) -> AsyncIterator[RedisServer]:
    server = RedisServer(folder, *options)
    server.start(preexec=preexec)
    try:
        await asyncio.to_thread(server.ready)
        yield server
    finally:
        await asyncio.to_thread(server.stop)


@asynccontextmanager
async def replicated(
    folder: Path, *options: str, through: int | None = None
) -> AsyncIterator[tuple[RedisServer, RedisServer]]:
    """A primary and its replica, connected; `through` is the port the replica reaches it by."""
    at_once = ("--repl-diskless-sync-delay", "0", *options)
    async with redis_server(folder / "primary", *at_once) as primary:
        of = f"127.0.0.1 {through or primary.port}"
        async with redis_server(folder / "replica", *at_once, "--replicaof", of) as replica:
            await asyncio.to_thread(wait_connected, replica)
            yield primary, replica


def wait_connected(replica: RedisServer) -> None:
    deadline = monotonic() + _START_S
    while replica.ask("ROLE")[3] != b"connected":
        if monotonic() > deadline:
            raise AssertionError("the replica did not find its primary")
        sleep(0.02)


@contextmanager
def redis_cluster(folder: Path, *, nodes: int = 3) -> Iterator[Sequence[RedisServer]]:
    """A Redis Cluster of `nodes` primaries that share the slots evenly."""
    servers = [_node(folder / f"node{number}") for number in range(nodes)]
    for server in servers:
        server.start()
    try:
        for server in servers:
            server.ready()
        _join(servers)
        yield servers
    finally:
        for server in servers:
            server.stop()


@asynccontextmanager
async def redis_nodes(folder: Path, *, nodes: int = 3) -> AsyncIterator[Sequence[RedisServer]]:
    """`redis_cluster` for a test that has a loop of its own."""
    cluster = redis_cluster(folder, nodes=nodes)
    servers = await asyncio.to_thread(cluster.__enter__)
    try:
        yield servers
    finally:
        await asyncio.to_thread(cluster.__exit__, None, None, None)


def _node(folder: Path) -> RedisServer:
    options = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")
    return RedisServer(folder, *options, "--cluster-port", str(free_port()))


def _join(servers: Sequence[RedisServer]) -> None:
    bounds = [_SLOTS * number // len(servers) for number in range(len(servers) + 1)]
    for number, server in enumerate(servers):
        # Epochs of their own from the start: else the nodes first have to agree on them.
        server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        server.ask("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
    bus = servers[0].ask("CONFIG", "GET", "cluster-port")[1]
    for server in servers[1:]:
        server.ask("CLUSTER", "MEET", "127.0.0.1", servers[0].port, bus)
    deadline = monotonic() + _START_S
    while not all(_agrees(server, len(servers)) for server in servers):
        if monotonic() > deadline:
            raise AssertionError("the cluster's nodes did not find each other")
        sleep(0.02)


def _agrees(server: RedisServer, nodes: int) -> bool:
    info = server.ask("CLUSTER INFO")
    return bool(info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == nodes)
