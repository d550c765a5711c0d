"""The whole bot over records nobody of us wrote (row B7)."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from pathlib import Path

import pytest

from adapters.chat.types import NotAccepted
from adapters.stores.errors import StoreError
from bot.app import Bot
from tests.bot.test_bot import Chat, bot_with, message, settings_in, until
from tests.drills.damage import FIELDS, HOSTILE, Damage, Kind, inflict, names_of
from tests.drills.figures import RecordFigure

FULL = [pytest.mark.drill, pytest.mark.timeout(600)]
KINDS: tuple[Kind, ...] = ("string", "list", "hash", "zset", "set", "stream", "entry", "field")


@pytest.mark.parametrize("conversations", [12, pytest.param(300, marks=FULL)])
async def test_the_bot_answers_on_whatever_lies_in_its_conversations(
    conversations: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    dice, chat = random.Random(conversations), Chat()
    threads = [f"t{number}" for number in range(conversations)]
    async with bot_with(chat, settings_in(tmp_path)) as (bot, stop):
        for thread in threads:
            await asked(bot, thread, 1)
            await damaged(bot, thread, dice)
        running = asyncio.create_task(bot.run(stop))
        for round_ in (2, 3):
            for thread in threads:
                await asked(bot, thread, round_)
            await until(partial(everyone_answered, chat, threads, round_), 240)
            for thread in threads:
                await damaged(bot, thread, dice)
        assert not running.done()
        stop.set()
        await running

    doubled = sum(len(parts) > 1 for parts in chat.delivered.values())
    record_figure(
        row="B7",
        promise="the bot goes on over corrupt, foreign and oversized records",
        figure=f"{conversations} conversations damaged twice: "
        f"{len(answered(chat, threads, 2)) + len(answered(chat, threads, 3))} of "
        f"{2 * conversations} later questions answered, {doubled} doubled, 0 crashes",
    )
    assert doubled == 0


async def asked(bot: Bot, thread: str, number: int) -> None:
    """As a platform delivers it: again, until it is accepted."""
    question = message("What is 6*7?", thread=thread, number=number)
    for _ in range(400):
        try:
            await bot.inbox.accept(question)
        except NotAccepted:
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError("a question was never accepted")


async def damaged(bot: Bot, thread: str, dice: random.Random) -> None:
    key = message("", thread=thread).conversation
    names = names_of(bot.stores.keys, key)
    for _ in range(dice.randint(1, 3)):
        place, kind = dice.randrange(len(names)), dice.choice(KINDS)
        damage = Damage(place, kind, dice.choice(FIELDS), dice.choice(HOSTILE))
        try:
            await inflict(bot.stores.batcher, names[place], damage)
        except StoreError:
            continue  # it became something else in between


def everyone_answered(chat: Chat, threads: list[str], number: int) -> bool:
    return len(answered(chat, threads, number)) == len(threads)


def answered(chat: Chat, threads: list[str], number: int) -> list[str]:
    return [thread for thread in threads if f"{thread}-{number}" in chat.delivered]
