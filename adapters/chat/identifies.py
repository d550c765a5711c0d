"""How often a bot may begin a gateway session; Discord resets the token of one that overdoes it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

DAY_S = 24 * 3600.0
PER_DAY = 800  # Discord allows 1,000 IDENTIFYs a day (docs.discord.com, gateway)


class IdentifyBudget(Protocol):
    """The IDENTIFYs of the last 24 hours, of every process that has this token."""

    async def take(self) -> float:
        """0.0 when one more may be sent now, which counts it; else the seconds to wait."""
        ...


class ProcessBudget:
    """Counts those of this process alone; for when there is no store to keep them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._taken: deque[float] = deque()

    async def take(self) -> float:
        now = self._clock()
        while self._taken and now - self._taken[0] >= DAY_S:
            self._taken.popleft()
        if len(self._taken) >= PER_DAY:
            return self._taken[0] + DAY_S - now
        self._taken.append(now)
        return 0.0
