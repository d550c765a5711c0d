"""The counters of the day's budgets, on real servers."""

from __future__ import annotations

import asyncio

from adapters.stores.batching import Batcher
from adapters.stores.budget import RedisTally
from adapters.stores.keys import Keys
from agents.budget import Payer

PERSON = Payer("slack:T1", "user", "U1")
CHANNEL = Payer("slack:T1", "channel", "C1")
DAY = "2026-05-04"


async def test_what_many_spend_at_once_is_added_up_and_fades_after_two_days(
    batcher: Batcher, keys: Keys
) -> None:
    tally = RedisTally(batcher, keys)
    await asyncio.gather(*(tally.add((PERSON, CHANNEL), DAY, 10) for _ in range(50)))
    await tally.add((CHANNEL,), DAY, 1)

    assert await tally.spent((PERSON, CHANNEL), DAY) == [500, 501]
    assert await tally.spent((PERSON, CHANNEL), "2026-05-05") == [0, 0]
    left_s = await batcher.command("TTL", keys.spent("slack:T1", DAY, "user", "U1"))
    assert 48 * 3600 - 60 < left_s <= 48 * 3600
