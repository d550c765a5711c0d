"""Connections to Redis, and the checks that a Redis can carry what the bot promises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any

import structlog
from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from adapters.stores.errors import StoreRefused, StoreUnavailable

log = structlog.get_logger(__name__)

Redis = redis_asyncio.Redis | redis_asyncio.RedisCluster

_MIN_VERSION = (7, 0)
# What is called outside the ledger's scripts.
_DIRECT = (
    "DEL EVALSHA EXISTS EXPIRE GET HDEL HGET HGETALL HKEYS HMGET HSET HSETNX INFO LLEN LRANGE"
    " PING SADD SCRIPT SMEMBERS XACK XADD XAUTOCLAIM XDEL XGROUP XINFO XLEN XPENDING"
    " XRANGE XREADGROUP XREVRANGE ZRANGE"
)
_SAMPLES = {
    "EVALSHA": "EVALSHA 0 1 {key}",
    "SCRIPT": "SCRIPT LOAD return",
    "XGROUP": "XGROUP CREATE {key} probe 0",
    "XINFO": "XINFO CONSUMERS {key} probe",
    "XREADGROUP": "XREADGROUP GROUP probe probe STREAMS {key} >",
}
_PASSWORD = "Redis refuses the user or password of redis.url"  # noqa: S105 (a sentence)
_MAX_ARGUMENTS = 6  # of the others, to be taken by Redis


def connect(url: str, *, max_connections: int = 32, timeout_s: float = 2.0) -> redis_asyncio.Redis:
    """A client over a *blocking* pool: at the limit callers wait instead of failing (B6).

    The SDK's own retries are off: it would repeat commands that may have been carried out.
    """
    pool = redis_asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=30,
    )
    return redis_asyncio.Redis.from_pool(pool)


def connect_cluster(
    url: str, *, max_connections: int = 64, timeout_s: float = 2.0
) -> redis_asyncio.RedisCluster:
    """A client of the Redis Cluster that `url` is a node of; no retries here either."""
    return _Cluster.from_url(
        url,
        max_connections=max_connections,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=30,
    )


class _Cluster(redis_asyncio.RedisCluster):
    """Its own errors made errors of Redis, which is what callers wait for."""

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().execute_command(*args, **kwargs)
        except RedisClusterException as error:
            raise RedisConnectionError(str(error)) from error


async def server_version(redis: Redis) -> tuple[int, int]:
    """The version of the oldest server."""
    return min([_version(info) for info in await _infos(redis)])


async def check_server(
    redis: Redis,
    *,
    embedded: bool,
    allow_volatile: bool,
    prefix: str = "fl",
    commands: Iterable[str] = (),
    wait_replicas: int = 0,
) -> tuple[int, int]:
    """The server's version; raises `StoreRefused` naming the setting that must change.

    Looks at every primary, and only at what managed servers show too: they forbid CONFIG.
    `commands` are those of the scripts; our user must be allowed them on keys of `prefix`.
    The embedded server may be 6.2, since our scripts then go without their flags line.
    """
    infos = await _infos(redis)
    for info in infos:
        _check(info, embedded=embedded, allow_volatile=allow_volatile)
    if info.get("cluster_enabled") and not isinstance(redis, redis_asyncio.RedisCluster):
        raise StoreRefused(
            "REDIS_URL points at a node of a Redis Cluster; set redis.cluster = true"
        )
    needed = {*_DIRECT.split(), *commands} | ({"WAIT"} if wait_replicas else set())
    await _check_permissions(redis, prefix=prefix, commands=needed)
    if not allow_volatile and await _appendfsync(redis) in ("everysec", "no"):
        log.warning(
            "redis.may_lose_the_newest",
            why="a crash of Redis' machine, or of Redis while its disk is busy, loses the last "
            "seconds",
            remedy="set appendfsync to always, or redis.wait_replicas",
        )
    for info in infos:
        if info.get("connected_slaves", 0) < wait_replicas:
            log.warning(
                "redis.replicas_missing",
                connected=info.get("connected_slaves", 0),
                remedy="nothing is accepted until redis.wait_replicas of them are connected",
            )
    return min(map(_version, infos))


def _check(info: dict[str, Any], *, embedded: bool, allow_volatile: bool) -> None:
    version = _version(info)
    if version < _MIN_VERSION and not embedded:
        raise StoreRefused(
            f"REDIS_URL points at Redis {version[0]}.{version[1]}; 7.0 or newer is needed: "
            "upgrade it, or unset REDIS_URL to use the embedded server"
        )
    if info.get("role", "master") != "master":
        raise StoreRefused("REDIS_URL points at a replica; give the address of the primary")
    if allow_volatile:
        return
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        raise StoreRefused(
            f"Redis setting maxmemory-policy is {policy!r}, which may drop accepted work; set "
            "it to 'noeviction' (or start with --allow-volatile for a trial)"
        )
    if not info.get("aof_enabled"):
        raise StoreRefused(
            "Redis setting appendonly is 'no', so accepted work would not survive a restart; "
            "set it to 'yes' (or start with --allow-volatile for a trial)"
        )


async def _appendfsync(redis: Redis) -> str | None:
    """How Redis syncs its log; None where CONFIG is not for us, as on managed servers."""
    try:
        found = await redis.config_get("appendfsync")
    except (RedisError, OSError, TimeoutError):
        return None
    value = found.get("appendfsync")
    return value.decode() if isinstance(value, bytes) else value


async def _check_permissions(redis: Redis, *, prefix: str, commands: set[str]) -> None:
    """Queue every command in a transaction that never runs: Redis looks at the ACL then."""
    key = f"{prefix}:v1:{{0:}}probe"
    asked = [(name, words) for name in sorted(commands) for words in _samples(name, key)]
    for connection in await _asked(_connections(redis)):
        try:
            denied = await _asked(_denied(connection, asked))
        finally:
            await connection.disconnect(nowait=True)  # which drops the transaction
        if denied is not None:
            name, text = denied
            rule = f"~{prefix}:*" if "access" in text else f"+{name.lower()}"
            user = connection.username or "default"
            raise StoreRefused(
                f"Redis' ACL denies the command {name} on keys of {prefix}:*; add the rule: "
                f"ACL SETUSER {user} {rule}"
            )


def _samples(name: str, key: str) -> list[tuple[str, ...]]:
    """The command with more and more arguments: one of the forms is what Redis accepts."""
    if name in _SAMPLES:
        return [tuple(word.format(key=key) for word in _SAMPLES[name].split())]
    return [(name, *(key for _ in range(count))) for count in range(_MAX_ARGUMENTS + 1)]


async def _connections(redis: Redis) -> list[Any]:
    if isinstance(redis, redis_asyncio.RedisCluster):
        return [node.connection_class(**node.connection_kwargs) for node in redis.get_primaries()]
    return [redis.connection_pool.make_connection()]  # type: ignore[no-untyped-call]


async def _denied(
    connection: Any, asked: list[tuple[str, tuple[str, ...]]]
) -> tuple[str, str] | None:
    """The first command that the ACL denies, with what Redis says."""
    async with asyncio.timeout(connection.socket_timeout):
        await connection.connect()
        await connection.send_command("MULTI")
        try:
            await connection.read_response()
        except NoPermissionError:
            log.warning("redis.rights_unchecked", remedy="allow the user +multi")
            return None
        packed = connection.pack_commands([words for _, words in asked])
        await connection.send_packed_command(packed)
        for name, _ in asked:
            try:
                await connection.read_response()
            except NoPermissionError as error:
                return name, str(error)
            except ResponseError:
                continue  # not the form it takes
    return None


async def _infos(redis: Redis) -> list[dict[str, Any]]:
    """What every primary tells about itself."""
    if not isinstance(redis, redis_asyncio.RedisCluster):
        return [await _asked(redis.info())]
    await _asked(redis.initialize())
    return [await _asked(redis.info(target_nodes=node)) for node in redis.get_primaries()]


def _version(info: dict[str, Any]) -> tuple[int, int]:
    major, minor, *_ = str(info["redis_version"]).split(".")
    return int(major), int(minor)


async def _asked(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except NoPermissionError as error:
        raise StoreRefused(
            f"Redis' ACL denies a needed command: {error}; add the rule +info"
        ) from error
    except ResponseError as error:
        raise StoreRefused(f"Redis refuses a needed command: {error}") from error
    except RedisClusterException as error:
        if _unauthenticated(error):
            raise StoreRefused(_PASSWORD) from error
        if "not enabled" in str(error):
            raise StoreRefused(
                "redis.cluster is true, but redis.url points at a Redis without cluster mode"
            ) from error
        raise StoreUnavailable("Redis Cluster: no node of it answers") from error
    except (RedisError, OSError, TimeoutError) as error:
        if _unauthenticated(error):
            raise StoreRefused(_PASSWORD) from error
        raise StoreUnavailable(f"Redis does not answer: {type(error).__name__}") from error


def _unauthenticated(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, AuthenticationError):
        error = error.__cause__ or error.__context__
    return error is not None
