"""Budgets in the running bot: counted in Redis, told to the person, shown to the operator."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from adapters.models.scripted import ScriptedBackend, Step
from agents.budget import Payer
from agents.ports import ModelBackend
from agents.routing import Route, Router
from bot.app import open_bot
from bot.stores import open_stores
from tests.bot.test_bot import Chat, message, settings_in, until
from tools.identity import tenant_of

ANSWER = Step(
    {"thought": "", "step": {"action": "final", "arguments": {"answer": "Done."}}},
)


async def test_a_person_over_the_budget_is_refused_and_the_operator_sees_what_was_spent(
    tmp_path: Path,
) -> None:
    cloud, chat = ScriptedBackend("cloud", lambda request: ANSWER), Chat()

    async def load() -> ModelBackend:
        return cloud

    router = Router({"planner": [Route("cloud", "scripted", "demo", "cloud", load)]})
    settings = settings_in(tmp_path, **{"budget.tokens_per_user_day": 5})
    async with (
        open_stores(settings) as stores,
        open_bot(settings, stores, [chat], router=router) as bot,
        asyncio.TaskGroup() as group,
    ):
        stop = asyncio.Event()
        group.create_task(bot.run(stop))
        for number, thread in ((1, "t1"), (2, "t2")):
            await bot.inbox.accept(message("Hello", thread=thread, number=number))
            await until(partial(chat.delivered.get, f"{thread}-{number}"))
        payer = Payer(tenant_of("browser", "local"), "user", "operator")
        spent = await stores.tally.spent([payer], f"{datetime.now(UTC):%Y-%m-%d}")
        figures = bot.metrics.exposition().decode()
        stop.set()

    assert chat.delivered["t1-1"] == ["Done."]
    assert chat.delivered["t2-2"][0].startswith("Your token budget for today is used up.")
    assert len(cloud.requests) == 1
    assert f"firstline_budget_tokens_total {float(spent[0])}" in figures
