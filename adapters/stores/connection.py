"""Connections to Redis, and the checks that a Redis can carry what the bot promises."""

from __future__ import annotations

from typing import Any

from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from adapters.stores.errors import StoreRefused, StoreUnavailable

Redis = redis_asyncio.Redis

_MIN_VERSION = (7, 0)


def connect(url: str, *, max_connections: int = 32, timeout_s: float = 5.0) -> Redis:
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


async def server_version(redis: Redis) -> tuple[int, int]:
    info: dict[str, Any] = await _asked(redis.info("server"))
    major, minor, *_ = str(info["redis_version"]).split(".")
    return int(major), int(minor)


async def check_server(redis: Redis, *, embedded: bool, allow_volatile: bool) -> tuple[int, int]:
    """The server's version; raises `StoreRefused` naming the setting that must change.

    The embedded server may be 6.2, since our scripts then go without their flags line.
    """
    version = await server_version(redis)
    if version < _MIN_VERSION and not embedded:
        raise StoreRefused(
            f"REDIS_URL points at Redis {version[0]}.{version[1]}; 7.0 or newer is needed: "
            "upgrade it, or unset REDIS_URL to use the embedded server"
        )
    if allow_volatile:
        return version
    memory: dict[str, Any] = await _asked(redis.info("memory"))
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        raise StoreRefused(
            f"Redis setting maxmemory-policy is {policy!r}, which may drop accepted work; set "
            "it to 'noeviction' (or start with --allow-volatile for a trial)"
        )
    persistence: dict[str, Any] = await _asked(redis.info("persistence"))
    if not persistence.get("aof_enabled"):
        raise StoreRefused(
            "Redis setting appendonly is 'no', so accepted work would not survive a restart; "
            "set it to 'yes' (or start with --allow-volatile for a trial)"
        )
    return version


async def _asked(answer: Any) -> dict[str, Any]:
    try:
        result: dict[str, Any] = await answer
    except ResponseError as error:
        raise StoreRefused(f"Redis refuses the INFO command: {error}") from error
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"Redis does not answer: {type(error).__name__}") from error
    return result
