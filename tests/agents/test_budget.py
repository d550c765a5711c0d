"""The day's budget of tokens: what counts, what happens over it, when it starts anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from adapters.models.scripted import DEFAULT_CAPABILITIES, ScriptedBackend
from adapters.models.scripted_replies import FailMidStream, Say
from agents.budget import Allowance, Budget, BudgetLimits, Payer
from agents.errors import BackendError
from agents.planner import Planner
from agents.ports import Delta, ImageData, ModelBackend, ModelRequest, Placement, PromptMessage
from agents.routing import Router
from agents.vision import Eyes
from tests.agents.planning import KEY, PERSON, ended, final, route, task
from tools.identity import ConversationKey
from tools.toolbox import Toolbox

EVENING = datetime(2026, 5, 4, 21, 29, 30, tzinfo=UTC)
CHANNEL = ConversationKey("test:t", "public", "c")
PIXELS = ImageData(b"pixels", "image/png")


class Kept:
    """A tally in memory."""

    def __init__(self) -> None:
        self.tokens: Counter[tuple[Payer, str]] = Counter()

    async def spent(self, payers: Sequence[Payer], day: str) -> Sequence[int]:
        return [self.tokens[payer, day] for payer in payers]

    async def add(self, payers: Sequence[Payer], day: str, tokens: int) -> None:
        for payer in payers:
            self.tokens[payer, day] += tokens


class Bank:
    def __init__(self, *, user: int = 0, channel: int = 0, count_local: bool = False) -> None:
        self.now, self.tally = EVENING, Kept()
        limits = BudgetLimits(user, channel, count_local=count_local)
        self.budget = Budget(limits, self.tally, now=lambda: self.now)

    def allowance(self, key: ConversationKey = KEY) -> Allowance | None:
        return self.budget.allowance(key, PERSON)

    @property
    def total(self) -> int:
        return sum(self.tally.tokens.values())


def planner_on(backend: ModelBackend, placement: Placement, *rest: ModelBackend) -> Planner:
    chain = [route(backend, placement), *(route(each) for each in rest)]
    return Planner(Router({"planner": chain}), Toolbox([]))


async def test_a_cloud_routes_tokens_count_and_over_the_budget_a_local_one_answers() -> None:
    cloud = ScriptedBackend("cloud", lambda request: final("far"))
    local = ScriptedBackend("local", lambda request: final("near"))
    bank, planner = Bank(user=10), planner_on(cloud, "cloud", local)

    first = await ended(planner, task(allowance=bank.allowance()))
    spent = bank.total
    second = await ended(planner, task(allowance=bank.allowance()))

    assert (first.text, second.text) == ("far", "near")
    assert spent == first.usage.prompt_tokens + first.usage.completion_tokens > 10
    assert bank.total == spent, "a local route costs nothing"
    assert second.instead_of == (("cloud", "the day's token budget is used up"),)


async def test_without_a_route_that_is_free_the_person_is_told_when_it_starts_anew() -> None:
    cloud = ScriptedBackend("cloud", lambda request: final("far"))
    bank, planner = Bank(user=10), planner_on(cloud, "cloud")
    await ended(planner, task(allowance=bank.allowance()))
    over = await ended(planner, task(allowance=bank.allowance()))

    assert (over.state, len(cloud.requests)) == ("refused", 1)
    assert over.text.startswith(
        "Your token budget for today is used up. It starts anew at midnight UTC, in 2 h 31 min"
    )
    bank.now = datetime(2026, 5, 5, 0, 0, tzinfo=UTC)
    assert (await ended(planner, task(allowance=bank.allowance()))).text == "far"


async def test_a_channels_budget_is_its_own_and_a_direct_message_has_none() -> None:
    cloud = ScriptedBackend("cloud", lambda request: final("far"))
    bank, planner = Bank(channel=10), planner_on(cloud, "cloud")
    assert bank.allowance() is None
    await ended(planner, task(allowance=bank.allowance(CHANNEL)))
    over = await ended(planner, task(allowance=bank.allowance(CHANNEL)))

    assert over.text.startswith("This channel's token budget")
    assert "budget.tokens_per_channel_day" in over.text


async def test_local_routes_count_where_the_operator_wants_it() -> None:
    local = ScriptedBackend("local", lambda request: final("near"))
    bank, planner = Bank(user=10, count_local=True), planner_on(local, "local")
    await ended(planner, task(allowance=bank.allowance()))

    assert (await ended(planner, task(allowance=bank.allowance()))).state == "refused"


@pytest.mark.parametrize("ends", ["the reader leaves", "the service breaks"])
async def test_a_call_that_is_broken_off_is_paid_for_by_an_estimate(ends: str) -> None:
    broken = FailMidStream("word " * 40, BackendError("a", "broke", retryable=True))
    replies = [broken if ends == "the service breaks" else Say("word " * 40)]
    backend, bank = ScriptedBackend("a", replies), Bank(user=10)
    router = Router({"planner": [route(backend, "cloud")]})

    async def build(backend: ModelBackend) -> ModelRequest:
        return ModelRequest((PromptMessage("user", "x" * 400),), 512)

    try:
        stream = router.stream("planner", build, allowance=bank.allowance())
        async with aclosing(stream) as items:
            async for item in items:
                if isinstance(item, Delta) and ends == "the reader leaves":
                    break
    except BackendError:
        pass
    assert 100 < bank.total <= 100 + 50 + 1


async def test_looking_at_a_picture_costs_too() -> None:
    backend = ScriptedBackend("v", lambda request: Say("a cat"), capabilities=DEFAULT_CAPABILITIES)
    bank = Bank(user=1)
    eyes = Eyes(Router({"vision": [route(backend, "cloud")]}))
    await eyes.describe(PIXELS, question=None, allowance=bank.allowance())

    assert bank.total > 0
    with pytest.raises(Exception, match="token budget is used up"):
        await eyes.describe(PIXELS, question=None, allowance=bank.allowance())
