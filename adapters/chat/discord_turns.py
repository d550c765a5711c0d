"""Messages of one channel go one after the other, but none waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Turns:
    """A queue per channel that exists as long as somebody stands in it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, channel_id: int, *, until: float) -> AsyncIterator[None]:
        """After the messages before this one; from `until` (loop time) on, past them."""
        lock = self._locks.setdefault(channel_id, asyncio.Lock())
        mine = await _acquired(lock, until)
        try:
            yield
        finally:
            if mine:
                lock.release()


async def _acquired(lock: asyncio.Lock, until: float) -> bool:
    try:
        async with asyncio.timeout_at(until):
            return await lock.acquire()
    except TimeoutError:
        return False
