"""What was spent of the day's budgets: counters that expire by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from adapters.stores.batching import Batcher, Script
from adapters.stores.keys import Keys
from agents.budget import Payer

_TTL_S = 48 * 3600  # a day's counter outlives its day in every time zone's clock

# KEYS counters · ARGV tokens, ttl_s
SPEND = Script(
    """
for _, counter in ipairs(KEYS) do
  redis.call('INCRBY', counter, ARGV[1])
  redis.call('EXPIRE', counter, ARGV[2])
end
return 1
""",
    completes=True,
)

# KEYS counters · ARGV amount, ttl_s, limit of each counter
# 0 when it was taken, else which counter has too little left; then nothing is taken.
TAKE_QUOTA = Script(
    """
local spent = {}
for n, counter in ipairs(KEYS) do
  spent[n] = tonumber(redis.call('GET', counter)) or 0
  if spent[n] + ARGV[1] > tonumber(ARGV[2 + n]) then return n end
end
for n, counter in ipairs(KEYS) do
  redis.call('SET', counter, string.format('%.0f', spent[n] + ARGV[1]), 'EX', ARGV[2])
end
return 0
"""
)


class RedisTally:
    """Implements `agents.budget.Tally`. Methods raise `StoreUnavailable`."""

    def __init__(self, batcher: Batcher, keys: Keys) -> None:
        self._batcher, self._keys = batcher, keys

    async def spent(self, payers: Sequence[Payer], day: str) -> Sequence[int]:
        names = (self._keys.spent(each.tenant, day, each.kind, each.name) for each in payers)
        found = await asyncio.gather(*(self._batcher.command("GET", name) for name in names))
        return [_count(value) for value in found]

    async def take(
        self, limits: Sequence[tuple[Payer, int]], day: str, what: str, amount: int
    ) -> Payer | None:
        """Take `amount` from all, who are of one tenant; or from none, and say who has too
        little left."""
        names = [
            self._keys.spent(each.tenant, day, f"{each.kind}-{what}", each.name)
            for each, _ in limits
        ]
        words = [amount, _TTL_S, *(limit for _, limit in limits)]
        short = int(await self._batcher.run(TAKE_QUOTA, names, words))
        return limits[short - 1][0] if short else None

    async def add(self, payers: Sequence[Payer], day: str, tokens: int) -> None:
        """One script a tenant: a person's and their channel's counters move together."""
        by_tenant: dict[str, list[str]] = {}
        for each in payers:
            name = self._keys.spent(each.tenant, day, each.kind, each.name)
            by_tenant.setdefault(each.tenant, []).append(name)
        await asyncio.gather(
            *(self._batcher.run(SPEND, names, [tokens, _TTL_S]) for names in by_tenant.values())
        )


def _count(value: bytes | None) -> int:
    """The counter; what is no number counts as nothing spent (B7)."""
    return int(value) if value and value.isdigit() and len(value) < 20 else 0
