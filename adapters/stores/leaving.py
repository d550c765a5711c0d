"""Workspaces and servers that removed the bot, by when it was noticed first."""

from __future__ import annotations

from adapters.stores.batching import Batcher
from adapters.stores.keys import Keys


class RedisLeaving:
    """Every method raises `StoreUnavailable`. Times are epoch seconds."""

    def __init__(self, batcher: Batcher, keys: Keys) -> None:
        self._batcher, self._keys = batcher, keys

    async def note(self, tenant: str, at: float) -> None:
        """What was noticed before keeps its time."""
        await self._batcher.command("ZADD", self._keys.leaving(), "NX", at, tenant)

    async def before(self, at: float) -> list[tuple[str, float]]:
        """Those that were noticed before `at`."""
        name = self._keys.leaving()
        found = await self._batcher.command("ZRANGEBYSCORE", name, "-inf", at)
        scores = [await self._batcher.command("ZSCORE", name, tenant) for tenant in found]
        return [
            (tenant.decode(errors="replace"), float(score))
            for tenant, score in zip(found, scores, strict=True)
            if score is not None
        ]

    async def drop(self, tenant: str) -> None:
        await self._batcher.command("ZREM", self._keys.leaving(), tenant)
