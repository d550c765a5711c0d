"""Where the bot was removed, everything it kept goes within a day (reliability row H7)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from adapters.stores.changes import Changes
from adapters.stores.errors import StoreRefused, StoreUnavailable
from adapters.stores.leaving import RedisLeaving
from adapters.stores.ledger import Ledger
from adapters.stores.retention import TenantPurge

log = structlog.get_logger(__name__)

PURGE_AFTER_S = 12 * 3600.0  # a removal by mistake can be undone until then
_LOOK_EVERY_S = 60.0


class Leaving:
    """`has_left` says whether a platform told us so; it forgets at a restart, the store does
    not. Who was heard since has come back."""

    def __init__(
        self,
        store: RedisLeaving,
        ledger: Ledger,
        changes: Changes,
        purge: TenantPurge,
        *,
        has_left: Callable[[str, str], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._ledger, self._changes, self._purge = store, ledger, changes, purge
        self._has_left, self._clock = has_left, clock

    async def run(self, adapters: Sequence[str]) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self.look(adapters)
            except (StoreUnavailable, StoreRefused) as error:
                log.warning("leaving.not_looked", error=str(error))

    async def look(self, adapters: Sequence[str]) -> None:
        """Note who has left, and purge those who left long enough ago."""
        now = self._clock()
        for adapter in adapters:
            for tenant in await self._ledger.tenants(adapter):
                if self._has_left(adapter, tenant):
                    await self._store.note(tenant, now)
        for tenant, since in await self._store.before(now - PURGE_AFTER_S):
            heard = (await self._changes.marks(tenant)).get("", 0.0)
            if heard <= since:
                left = await self._purge.purge(tenant)
                log.warning("tenant.purged", tenant=tenant, left=left)
            await self._store.drop(tenant)
