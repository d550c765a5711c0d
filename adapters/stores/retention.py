"""The purge of a tenant: every key of it goes, and a count proves that none is left."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

from adapters.stores.batching import Batcher
from adapters.stores.connection import Redis
from adapters.stores.keys import Keys, literally
from adapters.stores.scanning import pages

_PASSES = 5  # a bot that still runs may write between two of them


class TenantPurge:
    """Counts and deletes. Raises `StoreUnavailable`, or `StoreRefused` where SCAN is denied."""

    def __init__(self, redis: Redis, batcher: Batcher, keys: Keys) -> None:
        self._redis, self._batcher, self._keys = redis, batcher, keys

    async def count(self, tenant: str) -> Counter[str]:
        """The tenant's keys by kind; its data key and its place in the sweep count too."""
        found: Counter[str] = Counter()
        async for page in self._pages(tenant):
            found.update(self._kind(tenant, name) for name in page)
        swept, sealed = await asyncio.gather(
            self._batcher.command("SISMEMBER", self._swept(tenant), tenant),
            self._batcher.command("HEXISTS", self._keys.sealing(), tenant),
        )
        found.update({"swept": int(swept), "data key": int(sealed)})
        return +found

    async def purge(self, tenant: str) -> int:
        """Delete everything of the tenant; returns how many keys and entries are left: 0.

        The data key goes first: from then on nothing sealed can be read, wherever it lies.
        """
        for _ in range(_PASSES):
            await asyncio.gather(
                self._batcher.command("HDEL", self._keys.sealing(), tenant),
                self._batcher.command("SREM", self._swept(tenant), tenant),
            )
            async for page in self._pages(tenant):
                await asyncio.gather(*(self._batcher.command("DEL", name) for name in page))
            if not (left := (await self.count(tenant)).total()):
                break
        return left

    def _pages(self, tenant: str) -> AsyncIterator[list[bytes]]:
        return pages(self._redis, literally(self._keys.tenant_start(tenant)) + "*")

    def _swept(self, tenant: str) -> str:
        return self._keys.tenants(tenant.partition(":")[0])

    def _kind(self, tenant: str, name: bytes) -> str:
        rest = name.decode(errors="replace").removeprefix(self._keys.tenant_start(tenant))
        if rest.startswith(":"):
            return rest[1:].partition(":")[0]
        return "of conversations"
