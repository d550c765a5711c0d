"""Redis Cluster: which node a command goes to, and what to do when it says "not here".

The client library keeps the map of the slots; the commands travel in our lanes, one per node.
MOVED, ASK and TRYAGAIN mean that a command was not carried out, so it is sent again; a
command whose connection broke is not (row B2), it only makes the map be read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import structlog
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)

from adapters.stores.errors import StoreUnavailable
from adapters.stores.lanes import Call, Lane, Source, Words

log = structlog.get_logger(__name__)

_MAX_HOPS = 20
_PAUSE_S = 0.05  # between tries while a slot moves
_KEYLESS = {b"PING", b"INFO", b"TIME", b"SCRIPT", b"ACL", b"CLUSTER", b"CONFIG", b"DBSIZE"}
_KEY_IS_SECOND = {b"XGROUP", b"XINFO", b"OBJECT", b"MEMORY"}


class MakesLane(Protocol):
    def __call__(self, source: Source, *, replicated: bool = False) -> Lane: ...


def key_of(words: Words) -> bytes | None:
    """The command's first key, by which it is routed; None when any node may answer."""
    name = words[0].upper() if isinstance(words[0], bytes) else b""
    if name in _KEYLESS:
        return None
    if name in (b"EVALSHA", b"EVAL"):
        place = 3
    elif name in (b"XREAD", b"XREADGROUP"):
        place = words.index(b"STREAMS") + 1
    else:
        place = 2 if name in _KEY_IS_SECOND else 1
    word = words[place] if place < len(words) else b""
    return word if isinstance(word, bytes) else str(word).encode()


class ClusterRoutes:
    """One lane per primary, and one more for what must be replicated."""

    def __init__(
        self,
        redis: RedisCluster,
        lane: MakesLane,
        settle: Callable[[Call, Exception], None],
        texts: Mapping[str, str],
        timeout_s: float,
    ) -> None:
        self._map = redis.nodes_manager
        self._make, self._settle, self._texts = lane, settle, texts
        self._timeout_s = timeout_s
        self._lanes: dict[tuple[ClusterNode, bool], Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None

    def add(self, call: Call) -> None:
        key = key_of(call.words)
        nodes = self._map.slots_cache.get(key_slot(key) if key is not None else 0)
        if not nodes:
            self._read_map()
            self._settle(call, StoreUnavailable("Redis Cluster: a slot has no node; see its log"))
            return
        self._lane(nodes[0], replicated=call.replicated).add(call)

    def lanes(self) -> Iterable[Lane]:
        primaries = {nodes[0].name: nodes[0] for nodes in self._map.slots_cache.values()}
        return [self._lane(node) for node in primaries.values()]

    def redirected(self, call: Call, reply: Exception) -> bool:
        if isinstance(reply, (StoreUnavailable, ClusterDownError)):
            self._read_map()
            return False
        if not isinstance(reply, (AskError, TryAgainError)) or call.hops >= _MAX_HOPS:
            return False
        again = call._replace(hops=call.hops + 1)
        if isinstance(reply, MovedError):
            self._start(self._moved(again, reply))
        elif isinstance(reply, AskError):
            self._start(self._ask(again, reply))
        else:
            self._start(self._later(again))
        return True

    async def aclose(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(lane.aclose() for lane in self._lanes.values()))

    def _lane(self, node: ClusterNode, *, replicated: bool = False) -> Lane:
        lane = self._lanes.get((node, replicated))
        if lane is None:
            lane = self._make(_NodeSource(node), replicated=replicated)
            self._lanes[node, replicated] = lane
        return lane

    async def _moved(self, call: Call, told: MovedError) -> None:
        if call.hops > 1:  # two nodes that point at each other need a moment to agree
            await asyncio.sleep(_PAUSE_S)
        if told.host:
            await self._map.move_slot(told)
        else:
            await self._read()
        self.add(call)

    async def _later(self, call: Call) -> None:
        await asyncio.sleep(_PAUSE_S)
        self.add(call)

    async def _ask(self, call: Call, told: AskError) -> None:
        """Ask the node that a moving slot goes to, for this once."""
        node = self._map.get_node(host=told.host, port=told.port)
        if node is None:
            node = ClusterNode(told.host, told.port, "primary", **self._map.connection_kwargs)
            self._map.set_nodes(self._map.nodes_cache, {node.name: node})
        commands: list[Words] = [("ASKING",), call.words]
        if call.words[0] == b"EVALSHA" and isinstance(call.words[1], bytes):
            commands.insert(0, ("SCRIPT", "LOAD", self._texts[call.words[1].decode()]))
        try:
            replies = await self._lane(node, replicated=call.replicated).round_trip(commands)
        except (RedisError, OSError, TimeoutError) as error:
            self._settle(call, StoreUnavailable(f"Redis: {type(error).__name__}"))
        else:
            if isinstance(replies[-1], Exception):
                self._settle(call, replies[-1])
            elif not call.future.done():
                call.future.set_result(replies[-1])

    def _read_map(self) -> None:
        """Read the map of the slots again, soon; calls that come before go by the old one."""
        if self._reading is None or self._reading.done():
            self._reading = self._start(self._read())

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._map.initialize()
        except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
            log.warning("redis.cluster_map_failed", error=type(error).__name__)
        known = self._map.nodes_cache
        for node, replicated in list(self._lanes):
            if known.get(node.name) is not node:
                del self._lanes[node, replicated]
        await asyncio.sleep(_PAUSE_S)  # at most so often

    def _start(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name="redis.cluster")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _NodeSource:
    def __init__(self, node: ClusterNode) -> None:
        self._node, self.name = node, node.name

    async def acquire(self) -> AbstractConnection:
        connection = self._node.acquire_connection()
        try:
            await self._node.disconnect_if_needed(connection)
        except BaseException:
            self._node.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        self._node.release(connection)  # type: ignore[arg-type]
