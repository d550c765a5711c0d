"""Compaction in the whole bot: what was said early stays known, and nothing forgotten returns."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from adapters.models.scripted import Say, ScriptedBackend
from adapters.models.scripted_replies import Fail, Reply, Step
from agents.errors import BackendError
from agents.ports import Capabilities, ModelRequest
from bot.app import Bot
from tests.bot.test_bot import Chat, bot_with, message, settings_in, until
from tools.labels import Integrity

SMALL = Capabilities(context_tokens=2600, constrained=True)
FACT = "The spare key of the server room hangs behind the blue cabinet, tag number 4711."
FILLER = "and that is how the day went, with nothing else to tell about it " * 3


def is_for_notes(request: ModelRequest) -> bool:
    return request.messages[0].text.startswith("You write notes")


def final(text: str) -> Step:
    return Step({"thought": "", "step": [{"action": "final", "arguments": {"answer": text}}]})


def notes_of(request: ModelRequest) -> Say:
    """Notes as a model would keep them that knows a number when it sees one."""
    text = "\n".join(each.text for each in request.messages[1:])
    facts = re.findall(r"The spare key[^.]*\.", text)
    return Say(f"{' '.join(dict.fromkeys(facts))} They talked about their days.")


def policy(request: ModelRequest) -> Reply:
    return notes_of(request) if is_for_notes(request) else final(f"I see. {FILLER}")


@asynccontextmanager
async def talking(
    folder: Path, backend: ScriptedBackend, **overrides: object
) -> AsyncIterator[tuple[Bot, Chat]]:
    chat = Chat()
    settings = settings_in(folder, **overrides)
    async with (
        bot_with(chat, settings, backend) as (bot, stop),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(bot.run(stop))
        yield bot, chat
        stop.set()


def ended(bot: Bot) -> float:
    """How many turns have ended."""
    return bot.metrics.registry.get_sample_value("firstline_turn_seconds_count") or 0.0


async def say(bot: Bot, chat: Chat, number: int, text: str) -> str:
    """The reply, once its turn has ended: then a summary that it asks for is under way."""
    before = ended(bot)
    await bot.inbox.accept(message(text, number=number))
    await until(lambda: ended(bot) > before)
    return chat.delivered[f"t1-{number}"][0]


KEY = message("").conversation


async def test_a_fact_of_the_beginning_is_still_in_the_prompt_after_sixty_exchanges(
    tmp_path: Path,
) -> None:
    model = ScriptedBackend("scripted", policy, capabilities=SMALL)
    async with talking(tmp_path, model) as (bot, chat):
        await say(bot, chat, 1, FACT)
        for number in range(2, 66):
            await say(bot, chat, number, f"Today, part {number}: {FILLER}")
        await say(bot, chat, 66, "Where is the spare key?")
        stored = await bot.stores.memory.turns(KEY, limit=500)
        known = await bot.stores.memory.uncovered(KEY)

    asked = [each for each in model.requests if not is_for_notes(each)][-1]
    told = [each.text for each in asked.messages if "4711" in each.text]
    assert len(told) == 1
    assert told[0].startswith("Summary of what was said before")
    assert len(stored) == 132  # the originals are still there
    assert known.recap.covers > 80
    assert known.turns[0] is not None
    assert known.turns[0].role == "user"


async def test_between_two_compactions_every_prompt_begins_like_the_one_before(
    tmp_path: Path,
) -> None:
    model = ScriptedBackend("scripted", policy, capabilities=SMALL)
    async with talking(tmp_path, model) as (bot, chat):
        for number in range(1, 41):
            await say(bot, chat, number, f"Part {number}: {FILLER}")
            await until(lambda: not bot._recaps.is_busy)

    prompts = [
        [each.text for each in request.messages]
        for request in model.requests
        if not is_for_notes(request)
    ]
    compactions = sum(map(is_for_notes, model.requests))
    breaks = sum(after[: len(before)] != before for before, after in pairwise(prompts))
    assert 2 <= compactions <= 12
    assert breaks <= compactions


async def test_the_notes_are_shown_to_who_asks_for_them(tmp_path: Path) -> None:
    model = ScriptedBackend("scripted", policy, capabilities=SMALL)
    async with talking(tmp_path, model) as (bot, chat):
        await say(bot, chat, 1, FACT)
        for number in range(2, 12):
            await say(bot, chat, number, f"Part {number}: {FILLER}")
        await until(lambda: sum(map(is_for_notes, model.requests)))
        shown = await say(bot, chat, 12, "/memory show")

    assert "My notes of what was said until " in shown
    assert "> The spare key of the server room" in shown


async def test_a_model_that_fails_at_notes_fails_no_turn(tmp_path: Path) -> None:
    def failing(request: ModelRequest) -> Reply:
        if is_for_notes(request):
            return Fail(BackendError("scripted", "away", retryable=False))
        return final(f"Fine. {FILLER}")

    model = ScriptedBackend("scripted", failing, capabilities=SMALL)
    async with talking(tmp_path, model) as (bot, chat):
        said = [await say(bot, chat, n, f"Part {n}: {FILLER}") for n in range(1, 21)]
        known = await bot.stores.memory.uncovered(KEY)

    assert all("Fine." in each for each in said)
    assert known.recap.record == b""
    assert sum(map(is_for_notes, model.requests)) == 1  # then it rests


async def test_what_was_reset_while_the_notes_were_written_does_not_return(tmp_path: Path) -> None:
    writing = asyncio.Event()

    def slow(request: ModelRequest) -> Reply:
        if is_for_notes(request):
            writing.set()
            return Say(f"{FACT} They talked.", delay_s=0.1)
        return final(f"Fine. {FILLER}")

    model = ScriptedBackend("scripted", slow, capabilities=SMALL)
    async with talking(tmp_path, model) as (bot, chat):
        number = 1
        while not writing.is_set():
            await say(bot, chat, number, f"{FACT} {FILLER}")
            number += 1
        await bot.stores.changes.reset(KEY)
        await asyncio.sleep(2.0)
        known = await bot.stores.memory.uncovered(KEY)

    assert known.recap.record == b""
    assert known.recap.covers == 0
    assert known.recap.epoch == 1
    assert all(turn is None or "4711" not in turn.text for turn in known.turns)


async def test_a_summary_is_never_trusted_more_nor_read_by_more_than_what_it_was_made_of(
    tmp_path: Path,
) -> None:
    model = ScriptedBackend("scripted", policy, capabilities=SMALL)
    async with talking(tmp_path, model) as (bot, chat):
        for number in range(1, 16):
            await say(bot, chat, number, f"Part {number}: {FILLER}")
        await until(lambda: sum(map(is_for_notes, model.requests)))
        await say(bot, chat, 16, "And now?")
        known = await bot.stores.memory.uncovered(KEY)

    label = msgspec.json.decode(known.recap.record[1:])["label"]
    assert label["integrity"] == Integrity.USER
    assert label["readers"] == ["user:browser:local/operator"]


@pytest.mark.parametrize("record", [b"1{half", b'9{"text":"of a newer version"}'])
async def test_a_recap_that_can_not_be_read_is_rebuilt_and_a_newer_one_left_alone(
    tmp_path: Path, record: bytes
) -> None:
    model = ScriptedBackend("scripted", policy, capabilities=SMALL)
    async with talking(tmp_path, model) as (bot, chat):
        await say(bot, chat, 1, FACT)
        for number in range(2, 12):
            await say(bot, chat, number, f"Part {number}: {FILLER}")
        await until(lambda: sum(map(is_for_notes, model.requests)))
        name = bot.stores.keys.recap(KEY)
        await asyncio.sleep(0.2)
        await bot.stores.batcher.command("HSET", name, "record", record)
        for number in range(12, 26):
            await say(bot, chat, number, f"Part {number}: {FILLER}")
        await asyncio.sleep(0.2)
        stored = await bot.stores.batcher.command("HGET", name, "record")

    if record.startswith(b"9"):
        assert stored == record
    else:
        assert b"4711" in stored
