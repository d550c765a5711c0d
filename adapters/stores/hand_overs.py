"""Conversations that a person has taken over: a record each, until it is resolved."""

from __future__ import annotations

from adapters.stores.batching import Batcher
from adapters.stores.keys import Keys
from adapters.stores.sealing import PLAIN, Seal


class RedisHandOvers:
    """A hash a tenant; records are the bot's own. Every method raises `StoreUnavailable`."""

    def __init__(self, batcher: Batcher, keys: Keys, *, seal: Seal = PLAIN) -> None:
        self._batcher, self._keys, self._seal = batcher, keys, seal

    async def keep(self, tenant: str, event_id: str, record: bytes) -> None:
        name = self._keys.hand_overs(tenant)
        [sealed] = await self._seal.close(tenant, name, [record])
        await self._batcher.command("HSET", name, event_id, sealed)

    async def read(self, tenant: str, event_id: str) -> bytes | None:
        name = self._keys.hand_overs(tenant)
        found = await self._batcher.command("HGET", name, event_id)
        if found is None:
            return None
        [record] = await self._seal.open(tenant, name, [found])
        return record

    async def drop(self, tenant: str, event_id: str) -> bool:
        """Whether this call was the one that dropped it."""
        return bool(await self._batcher.command("HDEL", self._keys.hand_overs(tenant), event_id))
