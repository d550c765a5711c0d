"""Budgets in the running bot: counted in Redis, told to the person, shown to the operator."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from adapters.chat.types import Attachment
from adapters.models.scripted import ScriptedBackend, Step
from agents.budget import Payer
from agents.ports import ModelBackend
from agents.routing import Route, Router
from bot.app import open_bot
from bot.stores import open_stores
from tests.bot.approval_bot import calling, final, model
from tests.bot.test_approvals import running
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


async def test_a_flood_of_questions_gets_exactly_the_days_answers(tmp_path: Path) -> None:
    """Row J4: however many workers take at once."""
    chat = Chat()
    limits = {"budget.turns_per_user_day": 7, "budget.turns_per_tenant_day": 50}
    async with running(tmp_path, chat, model(*[final("Done.")] * 30), **limits) as bot:
        async with asyncio.TaskGroup() as group:
            for n in range(30):
                group.create_task(bot.inbox.accept(message("Hello", thread=f"t{n}")))
        await until(lambda: len(chat.delivered) == 30)

    said = [parts[0] for parts in chat.delivered.values()]
    assert said.count("Done.") == 7
    assert said.count("No more questions today for you: the day's limit is reached.") == 23


async def test_the_workspaces_limit_holds_when_the_persons_does_not(tmp_path: Path) -> None:
    chat = Chat()
    limits = {"budget.turns_per_user_day": 50, "budget.turns_per_tenant_day": 2}
    async with running(tmp_path, chat, model(*[final("Done.")] * 3), **limits) as bot:
        for n in range(3):
            await bot.inbox.accept(message("Hello", thread=f"t{n}"))
            await until(lambda: len(chat.delivered) == n + 1)  # noqa: B023 (awaited here)

    assert "for this workspace" in chat.delivered["t2-1"][0]


async def test_files_beyond_the_days_bytes_are_not_even_fetched(tmp_path: Path) -> None:
    chat = Chat()  # which can fetch nothing: it would be told
    limits = {"budget.bytes_per_user_day": 1000}
    file = Attachment("a", "big.txt", "text/plain", 1001, "x")
    asked = msgspec.structs.replace(message("Read it"), attachments=(file,))
    async with running(tmp_path, chat, model(final("Done.")), **limits) as bot:
        await bot.inbox.accept(asked)
        await until(lambda: "t1-1" in chat.delivered)

    assert chat.delivered["t1-1"] == ["No more files today for you: the day's limit is reached."]


async def test_cards_have_a_limit_of_their_own(tmp_path: Path) -> None:
    chat = Chat()
    wanted = calling(("delete_page", {"name": "holidays"}))
    async with running(
        tmp_path, chat, model(wanted, wanted), **{"budget.presses_per_user_day": 1}
    ) as bot:
        for n in range(2):
            await bot.inbox.accept(message("Delete it", thread=f"t{n}"))
            await until(lambda: len(chat.delivered) == n + 1)  # noqa: B023 (awaited here)

    assert "delete_page" in chat.delivered["t0-1"][0]
    assert chat.delivered["t1-1"][0].startswith("No more requests for a press today for you")
