"""How often a bot may begin a gateway session; Discord resets the token of one that overdoes it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

DAY_S = 24 * 3600.0
PER_DAY = 800  # Discord allows 1,000 IDENTIFYs a day (docs.discord.com, gateway)
LANE_EVERY_S = 5.0  # one IDENTIFY per lane, a lane being shard % max_concurrency (same page)


class IdentifyBudget(Protocol):
    """The IDENTIFYs of the last 24 hours, of every process that has this token."""

    async def take(self, *, lane: int | None = None) -> float:
        """0.0 when one more may be sent now, which counts it; else the seconds to wait.

        Shards take theirs in a lane, which is free once every `LANE_EVERY_S`.
        """
        ...


class ProcessBudget:
    """Counts those of this process alone; for when there is no store to keep them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._taken: deque[float] = deque()
        self._lanes: dict[int, float] = {}

    async def take(self, *, lane: int | None = None) -> float:
        now = self._clock()
        while self._taken and now - self._taken[0] >= DAY_S:
            self._taken.popleft()
        if len(self._taken) >= PER_DAY:
            return self._taken[0] + DAY_S - now
        if lane is not None:
            if (free_at := self._lanes.get(lane, now)) > now:
                return free_at - now
            self._lanes[lane] = now + LANE_EVERY_S
        self._taken.append(now)
        return 0.0
