"""What may be had in a day besides tokens: turns, bytes of files, and presses asked for.

Taken before it is used and all or nothing, so a limit is exact however many workers take at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

from adapters.chat.sentences import mark, say
from adapters.stores.budget import RedisTally
from agents.budget import BudgetLimits, Kind, Payer, payers_of
from bot.settings import BudgetSection
from tools.identity import ConversationKey, Principal

What = Literal["turns", "bytes", "presses"]
USED_UP: Mapping[What, str] = {
    "turns": mark("No more questions today for {whose}: the day's limit is reached."),
    "bytes": mark("No more files today for {whose}: the day's limit is reached."),
    "presses": mark("No more requests for a press today for {whose}: the day's limit is reached."),
}
WHOSE: Mapping[Kind, str] = {
    "user": mark("you"),
    "channel": mark("this channel"),
    "tenant": mark("this workspace"),
}


def token_limits(budget: BudgetSection) -> BudgetLimits:
    return BudgetLimits(
        budget.tokens_per_user_day,
        budget.tokens_per_channel_day,
        budget.tokens_per_tenant_day,
        budget.count_local,
    )


class Spent(Exception):
    """The message is one of the sentences here."""


class Quotas:
    """Raises `StoreUnavailable`."""

    def __init__(
        self,
        budget: BudgetSection,
        tally: RedisTally,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._budget, self._tally, self._now = budget, tally, now

    async def take(
        self, what: What, amount: int, key: ConversationKey, person: Principal, locale: str
    ) -> None:
        """Raises `Spent` when anyone who would pay has less left; then nothing is taken."""
        limits: list[tuple[Payer, int]] = [
            (payer, limit)
            for payer in payers_of(key, person)
            if (limit := getattr(self._budget, f"{what}_per_{payer.kind}_day"))
        ]
        if not limits or amount <= 0:
            return
        short = await self._tally.take(limits, f"{self._now():%Y-%m-%d}", what, amount)
        if short is not None:
            whose = say(locale, WHOSE[short.kind])
            raise Spent(say(locale, USED_UP[what], whose=whose))
