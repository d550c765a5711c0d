"""What the bot writes into its audit log, and how an operator reads it."""

from __future__ import annotations

import asyncio
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bot.app import Bot
from bot.journal import verify_journal
from bot.settings import Settings
from tests.bot.approval_bot import Chat, done
from tests.bot.test_bot import until
from tests.bot.test_fingers import T1, asked, pressed

LASTING: dict[str, Any] = {"redis.allow_volatile": True}


async def entries(bot: Bot) -> list[dict[str, Any]]:
    found = await bot.stores.batcher.command("XRANGE", bot.stores.keys.journal(T1), "-", "+")
    return [json.loads(fields[1]) for _, fields in found]


async def acted(folder: Path, bot: Bot, chat: Chat) -> None:
    await bot.inbox.press(pressed())
    await until(lambda: chat.delivered["C1:1.0"][-1] == "Gone.")
    async with asyncio.timeout(5):
        while len(await entries(bot)) < 5:  # noqa: ASYNC110 (the last comes after the reply)
            await asyncio.sleep(0.02)
    assert done(folder) == ["delete holidays"]


async def test_a_card_a_press_and_its_act_are_recorded_with_rule_and_hashes_but_no_words(
    tmp_path: Path,
) -> None:
    async with asked(tmp_path) as (bot, chat):
        await acted(tmp_path, bot, chat)
        told = await entries(bot)
        verified = await bot.stores.journal.verify(T1)

    assert [each["kind"] for each in told] == ["asked", "turn", "pressed", "calls", "turn"]
    [call] = told[0]["calls"]
    assert (call["tool"], call["verdict"], call["rule"]) == ("delete_page", "press", 4)
    assert told[3]["calls"][0]["arguments"] == call["arguments"]
    assert told[3]["calls"][0]["verdict"] == "allow"
    assert {each["who"] for each in told} == {"U1"}
    assert "holidays" not in json.dumps(told)
    assert verified.faults == ()


async def test_a_press_that_does_not_count_is_recorded_too(tmp_path: Path) -> None:
    async with asked(tmp_path) as (bot, _):
        await bot.inbox.press(pressed(kind="deny"))
        await bot.inbox.press(pressed())
        told = [each for each in await entries(bot) if each["kind"] in ("pressed", "refused")]

    assert [(each["kind"], each["outcome"]) for each in told] == [
        ("pressed", "deny: deny"),
        ("refused", "approve: deny"),
    ]


async def test_the_command_prints_every_chain_and_names_its_faults(
    tmp_path: Path, redis_url: str, prefix: str
) -> None:
    here: dict[str, Any] = {"redis.url": redis_url, "redis.prefix": prefix, **LASTING}
    async with asked(tmp_path, **here) as (bot, chat):
        await acted(tmp_path, bot, chat)
        settings, head = bot.settings, await bot.stores.journal.head(T1)
        assert await printed(settings) == (0, "Every chain is whole.")
        assert (await printed(settings, noted=(f"{T1}={head}",)))[0] == 0
        assert (await printed(settings, noted=(f"{T1}=5:{'0' * 64}",)))[0] == 1
        await bot.stores.batcher.command("XDEL", bot.stores.keys.journal(T1), "2-0")
        code, told = await printed(settings)

    assert code == 1
    assert "missing" in told
    with pytest.raises(ValueError, match="TENANT=NUMBER:HASH"):
        await printed(settings, noted=("x",))


async def printed(settings: Settings, *, noted: tuple[str, ...] = ()) -> tuple[int, str]:
    out = StringIO()
    console = Console(file=out, width=200)
    code = await verify_journal(settings, noted=noted, console=console)
    return code, out.getvalue().strip().splitlines()[-1] if code == 0 else out.getvalue()
