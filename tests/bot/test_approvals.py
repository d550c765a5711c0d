"""What needs a press: nothing before it, exactly that after it, and once (rows G4, G5, G10)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.chat.types import Command
from adapters.models.scripted import ScriptedBackend
from bot.app import Bot
from bot.approvals import DECIDED, EXPIRED, NOTHING_OPEN
from tests.bot.approval_bot import Chat, calling, done, final, message, model, press_on, with_tools
from tests.bot.test_bot import bot_with, until

DELETE = calling(("delete_page", {"name": "holidays"}))


@asynccontextmanager
async def running(
    folder: Path, chat: Chat, backend: ScriptedBackend, **overrides: object
) -> AsyncIterator[Bot]:
    async with (
        bot_with(chat, with_tools(folder, **overrides), backend) as (bot, stop),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(bot.run(stop))
        try:
            yield bot
        finally:
            stop.set()


async def test_a_destructive_call_waits_for_a_press_and_is_done_once(tmp_path: Path) -> None:
    chat, backend = Chat(), model(DELETE, final("The page is gone."))
    async with running(tmp_path, chat, backend) as bot:
        await bot.inbox.accept(message("Delete the page holidays"))
        await until(lambda: "t1-1" in chat.delivered)
        card = chat.delivered["t1-1"][0]
        assert 'delete_page {\n "name": "holidays"\n}' in card
        assert done(tmp_path) == []

        assert await bot.inbox.press(press_on("t1-1", "approve")) == ""
        await until(lambda: chat.delivered["t1-1"][-1] == "The page is gone.")
        again = await bot.inbox.press(press_on("t1-1", "approve"))
        other = await bot.inbox.press(press_on("t1-1", "deny"))

    assert done(tmp_path) == ["delete holidays"]
    assert (again, other) == (DECIDED, DECIDED)


async def test_what_is_refused_is_not_done_and_said_so(tmp_path: Path) -> None:
    chat = Chat()
    async with running(tmp_path, chat, model(DELETE)) as bot:
        await bot.inbox.accept(message("Delete the page holidays"))
        await until(lambda: "t1-1" in chat.delivered)
        await bot.inbox.press(press_on("t1-1", "deny"))
        await until(lambda: "You refused" in chat.delivered["t1-1"][-1])
        assert await bot.inbox.press(press_on("t1-1", "approve")) == DECIDED

    assert done(tmp_path) == []


async def test_the_written_command_decides_what_the_button_does(tmp_path: Path) -> None:
    chat, backend = Chat(), model(DELETE, final("Gone."))
    async with running(tmp_path, chat, backend) as bot:
        asked = message("Delete the page holidays")
        approve = Command("approve", "", "browser", asked.conversation, asked.author)
        assert await bot.inbox.command(approve) == NOTHING_OPEN
        await bot.inbox.accept(asked)
        await until(lambda: "t1-1" in chat.delivered)
        await bot.inbox.accept(message("!approve", number=2))
        await until(lambda: chat.delivered["t1-1"][-1] == "Gone.")

    assert done(tmp_path) == ["delete holidays"]


async def test_after_others_words_were_read_every_effect_needs_a_press(tmp_path: Path) -> None:
    steps = (
        calling(("file_ticket", {"title": "first"})),
        calling(("read_page", {"name": "rules"})),
        calling(("file_ticket", {"title": "second"}), ("fetch_rates", {"where": "evil.example"})),
    )
    chat = Chat()
    async with running(tmp_path, chat, model(*steps)) as bot:
        await bot.inbox.accept(message("File a ticket, then read the rules"))
        await until(lambda: "t1-1" in chat.delivered)

    assert [line.split(" key=")[0] for line in done(tmp_path)] == ["ticket first"]
    assert '"evil.example"' in chat.delivered["t1-1"][0]
    assert 'read_page {"name":"rules"}' in chat.delivered["t1-1"][0]


async def test_a_fourth_request_is_not_asked_for_while_three_wait(tmp_path: Path) -> None:
    chat = Chat()
    async with running(tmp_path, chat, model(DELETE, DELETE, DELETE, DELETE)) as bot:
        for number in range(4):
            await bot.inbox.accept(message("Delete the page holidays", thread=f"t{number}"))
            await until(lambda: len(chat.delivered) == number + 1)  # noqa: B023 (awaited here)

    said = [chat.delivered[f"t{number}-1"][0] for number in range(4)]
    assert ["delete_page" in text for text in said] == [True, True, True, False]
    assert "Three requests of mine wait" in said[3]
    assert done(tmp_path) == []


async def test_what_waits_survives_a_restart_and_the_next_process_does_it(
    tmp_path: Path, redis_url: str
) -> None:
    chat = Chat()
    lasting: dict[str, object] = {"redis.url": redis_url, "redis.allow_volatile": True}
    lasting["redis.prefix"] = f"t{secrets.token_hex(4)}"
    async with running(tmp_path, chat, model(DELETE), **lasting) as bot:
        await bot.inbox.accept(message("Delete the page holidays"))
        await until(lambda: "t1-1" in chat.delivered)
    async with running(tmp_path, chat, model(final("Gone.")), **lasting) as bot:
        await bot.inbox.press(press_on("t1-1", "approve"))
        await until(lambda: chat.delivered["t1-1"][-1] == "Gone.")

    assert done(tmp_path) == ["delete holidays"]


async def test_a_press_where_nothing_waits_is_told(tmp_path: Path) -> None:
    chat = Chat()
    async with running(tmp_path, chat, model(final("Hello."))) as bot:
        await bot.inbox.accept(message("Hi"))
        await until(lambda: "t1-1" in chat.delivered)
        assert await bot.inbox.press(press_on("t1-1", "approve")) == EXPIRED


async def test_a_card_too_long_to_be_shown_whole_is_not_shown_at_all(tmp_path: Path) -> None:
    chat, long = Chat(), calling(*(("delete_page", {"name": "x" * 399}),) * 1)
    many = calling(*(("delete_page", {"name": f"{n}" + "é" * 398}) for n in range(4)))
    async with running(tmp_path, chat, model(long, many)) as bot:
        await bot.inbox.accept(message("Delete x"))
        await until(lambda: "t1-1" in chat.delivered)
        await bot.inbox.accept(message("Delete all", thread="t2"))
        await until(lambda: "t2-1" in chat.delivered)

    assert "x" * 399 in chat.delivered["t1-1"][0]
    assert done(tmp_path) == []
