"""Feedback: one rating and one text for a person and an answer, kept for the operator alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from adapters.chat.types import Author, Command, Press
from adapters.models.scripted import Say, ScriptedBackend
from adapters.stores.feedback import MAX_CHARS, Feedback, RedisFeedback
from bot.app import Bot
from bot.audit import audit_store
from bot.inbox import NOT_ALLOWED, TOO_OLD
from bot.ratings import list_feedback
from bot.records import turn_id_of
from bot.settings import Settings
from tests.bot.test_bot import Chat, bot_with, message, settings_in, until
from tools.identity import tenant_of

ASKED = message("Is it raining?")
TENANT = tenant_of("browser", "local")
TURN = turn_id_of(TENANT, ASKED.event_id)


@asynccontextmanager
async def answered(settings: Settings) -> AsyncIterator[Bot]:
    """The bot after it answered one question."""
    chat = Chat()
    backend = ScriptedBackend("scripted", lambda request: Say("It is."))
    async with bot_with(chat, settings, backend) as (bot, stop), asyncio.TaskGroup() as group:
        group.create_task(bot.run(stop))
        await bot.inbox.accept(ASKED)
        await until(lambda: chat.delivered)
        async with asyncio.timeout(10):
            while not await bot.stores.ledger.closed(TENANT):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield bot
        stop.set()


def press(kind: Literal["up", "down"], *, author: Author = ASKED.author) -> Press:
    key = ASKED.conversation
    return Press(kind, ASKED.event_id, ASKED.adapter, TENANT, key.channel, author)


def command(name: str, argument: str) -> Command:
    return Command(name, argument, ASKED.adapter, ASKED.conversation, ASKED.author)


async def test_a_second_press_replaces_the_first_and_a_text_stands_beside_it(
    tmp_path: Path,
) -> None:
    async with answered(settings_in(tmp_path)) as bot:
        told = [await bot.inbox.press(press(kind)) for kind in ("up", "down")]
        thanked = await bot.inbox.command(command("feedback", "It was sunny."))
        kept = await bot.stores.feedback.of(TENANT)
        figures = bot.metrics.exposition().decode()

    assert told[0] == "Thank you, I told my operator that this answer was good."
    assert told[1].startswith("Thank you, I told my operator that this answer was not good.")
    assert thanked == "Thank you, I passed that on to my operator."
    assert [(each.kind, each.turn_id, each.text) for each in kept] == [
        ("down", TURN, ""),
        ("text", TURN, "It was sunny."),
    ]
    assert 'firstline_feedback_total{kind="down"} 1.0' in figures


async def test_strangers_unknown_answers_and_wrong_texts_leave_nothing(tmp_path: Path) -> None:
    async with answered(settings_in(tmp_path)) as bot:
        by_stranger = await bot.inbox.press(press("up", author=Author("x", "external")))
        elsewhere = await bot.inbox.press(
            Press("up", "unknown", ASKED.adapter, TENANT, "t1", ASKED.author)
        )
        empty = await bot.inbox.command(command("feedback", " "))
        long = await bot.inbox.command(command("feedback", "x" * (MAX_CHARS + 1)))
        kept = await bot.stores.feedback.of(TENANT)

    assert (by_stranger, elsewhere) == (NOT_ALLOWED, TOO_OLD)
    assert empty == "Say what was good or wrong: `/feedback TEXT`."
    assert long == f"That is {MAX_CHARS + 1} characters; I pass on up to {MAX_CHARS}."
    assert kept == []


@pytest.mark.parametrize("what", ["forget", "forget me"])
async def test_what_is_forgotten_takes_the_feedback_along(tmp_path: Path, what: str) -> None:
    async with answered(settings_in(tmp_path)) as bot:
        await bot.inbox.press(press("up"))
        await bot.inbox.command(command("memory", what))
        kept = await bot.stores.feedback.of(TENANT)

    assert kept == []


async def test_the_operator_lists_it_and_the_auditor_knows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path)
    async with answered(settings) as bot:
        await bot.inbox.press(press("down"))
    listed = await list_feedback(settings, TENANT, as_json=True)
    audited = await audit_store(settings, as_json=True)
    printed = capsys.readouterr().out

    assert (listed, audited) == (0, 0)
    assert f'"turn": "{TURN}"' in printed


async def test_the_oldest_goes_when_there_are_too_many_and_when_it_is_too_old(
    tmp_path: Path,
) -> None:
    now = [time.time()]
    async with bot_with(Chat(), settings_in(tmp_path)) as (bot, _):
        batcher, keys = bot.stores.batcher, bot.stores.keys
        store = RedisFeedback(batcher, keys, retention_s=100, clock=lambda: now[0])

        async def said(number: int) -> None:
            at = now[0] + number / 1000
            await store.keep("slack:T1", Feedback("up", f"U{number}", "c", "t", at))

        await _each(said, 1005)
        most = await store.of("slack:T1")
        now[0] += 102
        late = await store.of("slack:T1")
        await said(0)
        fields = await batcher.command("HLEN", keys.feedback("slack:T1"))

    assert len(most) == 1000
    assert late == []
    assert int(fields) == 1


async def _each(work: Callable[[int], Awaitable[None]], count: int) -> None:
    for start in range(0, count, 50):
        await asyncio.gather(*(work(number) for number in range(start, min(start + 50, count))))
