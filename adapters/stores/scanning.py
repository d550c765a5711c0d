"""Walking the keys of a store page by page; its errors are the stores' own."""

from __future__ import annotations

from collections.abc import AsyncIterator

from redis.exceptions import NoPermissionError, RedisError

from adapters.stores.connection import Redis
from adapters.stores.errors import StoreRefused, StoreUnavailable

PAGE = 512


async def pages(redis: Redis, pattern: str) -> AsyncIterator[list[bytes]]:
    """The names of all keys that match, `PAGE` at a time; one may come twice (Redis, SCAN).

    Raises `StoreUnavailable`, or `StoreRefused` where the ACL denies SCAN.
    """
    page: list[bytes] = []
    try:
        async for name in redis.scan_iter(match=pattern, count=PAGE):
            page.append(name)
            if len(page) == PAGE:
                yield page
                page = []
    except NoPermissionError as error:
        raise StoreRefused("Redis' ACL denies SCAN; add the rule +scan") from error
    except RedisError as error:
        raise StoreUnavailable(f"Redis does not answer: {type(error).__name__}") from error
    yield page
