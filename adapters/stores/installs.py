"""Where an app was installed, and what may happen once only: kept for every process at once."""

from __future__ import annotations

import asyncio
from typing import Literal

from adapters.stores.batching import Batcher
from adapters.stores.keys import Keys
from adapters.stores.sealing import PLAIN, Seal

SEALED_FOR = "installs"  # a data key of its own: forgetting a workspace's memory keeps its token


class Installs:
    """Records of installations by their owner (a workspace or an organisation), always sealed.

    Methods raise `StoreUnavailable`.
    """

    def __init__(self, batcher: Batcher, keys: Keys, *, adapter: str, seal: Seal = PLAIN) -> None:
        self._batcher, self._keys, self._seal = batcher, keys, seal
        self._name, self._adapter = keys.installs(adapter), adapter

    @property
    def is_sealed(self) -> bool:
        """Without a master key nothing is kept here."""
        return self._seal is not PLAIN

    async def load(self, owner: str) -> bytes | None:
        record = await self._batcher.command("HGET", self._name, owner)
        if record is None or not self.is_sealed:
            return None
        [plain] = await self._seal.open(SEALED_FOR, self._bound(owner), [record])
        return plain

    async def save(self, owner: str, record: bytes) -> None:
        """Raises `ValueError` without a master key: a token is not kept in the clear."""
        if not self.is_sealed:
            raise ValueError("set memory.key_file first: tokens are kept encrypted only")
        [sealed] = await self._seal.close(SEALED_FOR, self._bound(owner), [record])
        await self._change("HSET", self._name, owner, sealed)

    async def drop(self, owner: str) -> None:
        await self._change("HDEL", self._name, owner)

    async def owners(self) -> list[str]:
        return sorted(each.decode() for each in await self._batcher.command("HKEYS", self._name))

    async def generation(self) -> int:
        """Grows with every change, so that other processes learn of it soon."""
        found = await self._batcher.command("GET", self._keys.installs_changed(self._adapter))
        return int(found) if found and found.isdigit() else 0

    async def _change(self, *words: str | bytes) -> None:
        """The record first: who sees the new generation sees the record too."""
        await self._batcher.command(*words)
        await self._batcher.command("INCR", self._keys.installs_changed(self._adapter))

    def _bound(self, owner: str) -> str:
        return f"{self._name}\n{owner}"


class Once:
    """What may have its effect once: signed requests, and the states of installations.

    Methods raise `StoreUnavailable`.
    """

    def __init__(self, batcher: Batcher, keys: Keys) -> None:
        self._batcher, self._keys = batcher, keys

    async def begin(self, name: str, *, within_s: float) -> Literal["new", "busy", "done"]:
        """ "new" makes it ours for `within_s`; two commands in one round trip, in this order."""
        key = self._keys.once(name)
        taken, standing = await asyncio.gather(
            self._batcher.command("SET", key, "busy", "NX", "PX", int(within_s * 1000)),
            self._batcher.command("GET", key),
        )
        if taken is not None:
            return "new"
        return "done" if standing == b"done" else "busy"

    async def end(self, name: str, *, keep_s: float | None) -> None:
        """Keep that it was done, or with None give it back."""
        key = self._keys.once(name)
        if keep_s is None:
            await self._batcher.command("DEL", key)
        else:
            await self._batcher.command("SET", key, "done", "PX", int(keep_s * 1000))

    async def take(self, name: str) -> bool:
        """Whether it was there, and is ours now: nobody else's again."""
        return int(await self._batcher.command("DEL", self._keys.once(name))) == 1
