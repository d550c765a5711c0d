"""The one table of commands, and what the bot runs for it, hold the same commands."""

from __future__ import annotations

import re
from pathlib import Path

from adapters.chat.commands import ASK, BY_NAME, COMMANDS, Argument, CommandSpec
from tests.bot.test_bot import Chat, bot_with, message, settings_in

DESCRIPTION_CHARS = 100  # docs.discord.com, application commands


async def test_what_is_listed_is_what_runs(tmp_path: Path) -> None:
    async with bot_with(Chat(), settings_in(tmp_path)) as (bot, _):
        runs = set(bot.inbox._commands.table)
        parsed = {name: bot.inbox._commands.parse(f"!{name} x") for name in runs}

    assert runs == {each.name for each in COMMANDS}
    assert set(BY_NAME) == {*runs, ASK.name}
    assert parsed == {name: (name, "x") for name in runs}


def test_names_and_descriptions_fit_every_platform() -> None:
    for spec in BY_NAME.values():
        described: list[CommandSpec | Argument] = [spec]
        described += [spec.argument] if spec.argument else []
        assert all(re.fullmatch(r"[a-z]{1,32}", each.name) for each in described)
        assert all(0 < len(each.description) <= DESCRIPTION_CHARS for each in described)
    assert [each.name for each in COMMANDS] == sorted(each.name for each in COMMANDS)


def test_the_usage_shows_what_may_follow() -> None:
    usages = {each.name: each.usage for each in BY_NAME.values()}

    assert usages["ask"] == "ask QUESTION"
    assert usages["model"] == "model [ROUTE]"
    assert usages["private"] == "private [on|off]"
    assert usages["stop"] == "stop"


async def test_a_question_with_a_slash_stays_a_question(tmp_path: Path) -> None:
    async with bot_with(Chat(), settings_in(tmp_path)) as (bot, _):
        parse = bot.inbox._commands.parse
        assert parse(message("/usr/bin is full").text) is None
