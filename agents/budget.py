"""The day's budget of tokens: who pays, what is left, and when it starts anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

import msgspec

from agents.ports import ModelRequest, Placement, Usage
from tools.identity import ConversationKey, Principal

Kind = Literal["user", "channel", "tenant"]
OVER_BUDGET = "the day's token budget is used up"
_CHARS_PER_TOKEN = 4  # for a call that was broken off before the model counted it


class Payer(msgspec.Struct, frozen=True):
    """Whose budget a turn uses: a person's, a channel's, or all of the tenant's."""

    tenant: str
    kind: Kind
    name: str  # an id; empty for the tenant itself


class Tally(Protocol):
    """What was spent, by payer and day (`YYYY-MM-DD`, UTC)."""

    async def spent(self, payers: Sequence[Payer], day: str) -> Sequence[int]: ...

    async def add(self, payers: Sequence[Payer], day: str, tokens: int) -> None: ...


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """Tokens of prompts and answers in a day; 0 is no limit. Local routes cost nothing,
    unless `count_local`."""

    tokens_per_user_day: int = 0
    tokens_per_channel_day: int = 0
    tokens_per_tenant_day: int = 0
    count_local: bool = False

    def of(self, kind: Kind) -> int:
        limit: int = getattr(self, f"tokens_per_{kind}_day")
        return limit


def payers_of(key: ConversationKey, principal: Principal) -> tuple[Payer, ...]:
    """Who pays for a turn: the person, the channel, and the workspace or server. A direct message
    has no channel."""
    payers = [Payer(principal.tenant, "user", principal.user_id)]
    if key.place != "dm":
        payers.append(Payer(key.tenant, "channel", key.channel))
    return (*payers, Payer(key.tenant, "tenant", ""))


class Budget:
    """Hands every turn its allowance."""

    def __init__(
        self,
        limits: BudgetLimits,
        tally: Tally,
        *,
        now: Callable[[], datetime],
        counted: Callable[[int], None] = lambda tokens: None,
    ) -> None:
        """`now` is an aware UTC time; `counted` hears of all tokens that were counted."""
        self._limits, self._tally, self._now, self._counted = limits, tally, now, counted

    def allowance(self, key: ConversationKey, principal: Principal) -> Allowance | None:
        """The turn's; None when nothing is limited here."""
        payers = payers_of(key, principal)
        limited = tuple(payer for payer in payers if self._limits.of(payer.kind))
        return Allowance(self, limited) if limited else None

    async def spent(self, payers: Sequence[Payer]) -> Sequence[int]:
        return await self._tally.spent(payers, self._day())

    async def add(self, payers: Sequence[Payer], tokens: int) -> None:
        self._counted(tokens)
        await self._tally.add(payers, self._day(), tokens)

    def _day(self) -> str:
        return f"{self._now():%Y-%m-%d}"

    @property
    def limits(self) -> BudgetLimits:
        return self._limits

    @property
    def minutes_left(self) -> int:
        """Until the day ends, rounded up."""
        now = self._now()
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return math.ceil((midnight - now).total_seconds() / 60)


class Allowance:
    """One turn's right to spend."""

    def __init__(self, budget: Budget, payers: tuple[Payer, ...]) -> None:
        self._budget, self._payers = budget, payers

    def counts(self, placement: Placement) -> bool:
        return self._budget.limits.count_local or placement != "local"

    async def used_up(self) -> Kind | None:
        """Whose budget is used up, if any is."""
        spent = await self._budget.spent(self._payers)
        for payer, tokens in zip(self._payers, spent, strict=True):
            if tokens >= self._budget.limits.of(payer.kind):
                return payer.kind
        return None

    async def spend(self, usage: Usage) -> None:
        tokens = usage.prompt_tokens + usage.completion_tokens
        if tokens > 0:
            await self._budget.add(self._payers, tokens)

    def sentence(self, kind: Kind) -> str:
        """For the person, once nothing is left that could answer."""
        hours, minutes = divmod(self._budget.minutes_left, 60)
        whose = {"user": "Your", "channel": "This channel's", "tenant": "This workspace's"}[kind]
        return (
            f"{whose} token budget for today is used up. It starts anew at midnight UTC, in "
            f"{hours} h {minutes:02} min; my operator can raise budget.tokens_per_{kind}_day."
        )


def estimated(request: ModelRequest, chars_said: int) -> Usage:
    """What a call cost that was broken off before the service told: a rough count."""
    asked = sum(len(message.text) for message in request.messages)
    return Usage(asked // _CHARS_PER_TOKEN, -(-chars_said // _CHARS_PER_TOKEN))
