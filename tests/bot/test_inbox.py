"""What the inbox answers an adapter, on a real Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from adapters.chat.types import Author, Command, Message, Receipt
from adapters.models.scripted import Say, ScriptedBackend
from bot.inbox import BUSY
from tests.bot.test_bot import Chat, bot_with, message, settings_in, until


async def test_known_and_denied_messages_are_told_apart(tmp_path: Path) -> None:
    stranger = msgspec.structs.replace(message("Me too", number=2), author=Author("x", "external"))
    async with bot_with(Chat(), settings_in(tmp_path)) as (bot, _):
        answers = [
            await bot.inbox.accept(each) for each in (message("One"), message("One"), stranger)
        ]

    assert answers == [Receipt.ACCEPTED, Receipt.DUPLICATE, Receipt.DENIED]


@pytest.mark.parametrize("by_command", [False, True])
async def test_a_full_line_is_told_by_the_inbox_but_left_to_a_commands_adapter(
    tmp_path: Path, by_command: bool
) -> None:
    def asked(number: int) -> Message:
        said = message("One more", number=number)
        return msgspec.structs.replace(said, addressing="command") if by_command else said

    chat = Chat()
    settings = settings_in(tmp_path, **{"limits.max_waiting": 1, "turns.workers": 1})
    stalled = ScriptedBackend("scripted", lambda request: Say("x", chunk=1, delay_s=5))
    async with bot_with(chat, settings, stalled) as (bot, stop):
        running = asyncio.create_task(bot.run(stop))
        await bot.inbox.accept(message("The one that runs"))
        await until(lambda: stalled.requests)
        answers = [await bot.inbox.accept(asked(number)) for number in (2, 3)]
        await asyncio.sleep(0.1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert answers == [Receipt.ACCEPTED, Receipt.FULL]
    told = [text for texts in chat.delivered.values() for text in texts]
    assert told == ([] if by_command else [BUSY])


def _typing(name: str, typed: str, author: Author) -> Command:
    asked = message("")
    return Command(name, typed, asked.adapter, asked.conversation, author)


async def test_what_an_argument_may_become_is_told_to_admitted_people_only(tmp_path: Path) -> None:
    async with bot_with(Chat(), settings_in(tmp_path)) as (bot, _):
        inbox, author = bot.inbox, message("").author
        routes = await inbox.suggest(_typing("model", "", author))
        matching = await inbox.suggest(_typing("memory", "for", author))
        states = await inbox.suggest(_typing("private", "o", author))
        to_strangers = await inbox.suggest(_typing("model", "", Author("x", "external")))

    assert "scripted" in routes
    assert routes[-1] == "default"
    assert tuple(matching) == ("forget", "forget me")
    assert tuple(states) == ("on", "off")
    assert not to_strangers
