"""Every entry by everyone who may not: one gate, and nothing reaches a model (row C14)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import product
from pathlib import Path

import msgspec
import pytest

from adapters.chat.types import Addressing, Author, Command, Message, NotAccepted, Press, Receipt
from adapters.models.scripted import ScriptedBackend, demo_policy
from bot.app import Bot
from bot.approvals import NOT_YOURS
from bot.inbox import NOT_ALLOWED, TOO_OLD
from tests.bot.approval_bot import Chat, done, with_tools
from tests.bot.test_bot import bot_with, until
from tests.bot.test_fingers import ALLOW, ASKER, HERE, T1, T2
from tools.identity import ConversationKey, PlaceKind

STRANGERS: Mapping[str, tuple[Author, ConversationKey]] = {
    "a member who is not named": (Author("U9", "member"), HERE),
    "a guest": (Author("U1", "guest"), HERE),
    "somebody of another company": (Author("U1", "external"), HERE),
    "a bot": (Author("U1", "bot"), HERE),
    "an operator, as the event says": (Author("U1", "operator"), HERE),
    "a look-alike": (Author("Ｕ1", "member"), HERE),
    "nobody": (Author("", "member"), HERE),
    "a star": (Author("*", "member"), HERE),
    "another channel": (ASKER, ConversationKey(T1, "public", "C9", "1.0")),
    "another workspace": (ASKER, ConversationKey("slack:T9", "public", "C1", "1.0")),
    "a shared channel": (ASKER, ConversationKey(T1, "external", "C1", "1.0")),
    "another platform": (ASKER, ConversationKey("discord:T1", "public", "C1", "1.0")),
    "no platform of ours": (ASKER, ConversationKey("irc:T1", "public", "C1", "1.0")),
    "a stranger's direct message": (
        Author("U9", "member"),
        ConversationKey(T1, "dm", "D9"),
    ),
}
ADDRESSINGS: tuple[Addressing, ...] = ("mention", "dm", "followup", "command")
PLACES: tuple[PlaceKind, ...] = ("dm", "private", "public", "external")


def said(author: Author, key: ConversationKey, number: int, addressing: Addressing) -> Message:
    name = f"x:{number}.0"
    return Message(name, "slack", key, author, "What is 6*7?", 1.0, name, addressing)


@pytest.mark.parametrize("who", STRANGERS)
async def test_nobody_else_reaches_a_model_by_any_entry(tmp_path: Path, who: str) -> None:
    author, key = STRANGERS[who]
    backend, chat = ScriptedBackend("scripted", demo_policy), Chat(name="slack")
    async with (
        bot_with(chat, with_tools(tmp_path, **ALLOW), backend) as (bot, stop),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(bot.run(stop))
        try:
            first = Message("C1:1.0", "slack", HERE, ASKER, "Hi", 1.0, "C1:1.0", "mention")
            await bot.inbox.accept(first)
            await until(lambda: chat.delivered)
            answered = len(backend.requests)
            receipts = [
                await bot.inbox.accept(said(author, key, number, addressing))
                for number, addressing in enumerate(ADDRESSINGS)
            ]
            # A press names no kind of place: it counts where its question was heard.
            entries = ENTRIES if key.place == "external" else (*ENTRIES, *PRESSES)
            told = [await entry(bot, author, key) for entry in entries]
            await asyncio.sleep(0.2)
        finally:
            stop.set()

    assert set(receipts) == {Receipt.DENIED}
    assert [each for each in told if each not in REFUSALS] == []
    assert len(backend.requests) == answered
    assert list(chat.delivered) == ["C1:1.0"]
    assert done(tmp_path) == []


REFUSALS = {NOT_ALLOWED, NOT_YOURS, TOO_OLD, "nothing", "unchanged"}
Entry = Callable[[Bot, Author, ConversationKey], Awaitable[str]]


def command(name: str, argument: str = "") -> Entry:
    async def give(bot: Bot, author: Author, key: ConversationKey) -> str:
        return await bot.inbox.command(Command(name, argument, "slack", key, author))

    return give


def press(kind: str) -> Entry:
    async def give(bot: Bot, author: Author, key: ConversationKey) -> str:
        place = Press("stop", "C1:1.0", "slack", key.tenant, key.channel, author)
        return await bot.inbox.press(msgspec.structs.replace(place, kind=kind))

    return give


async def suggest(bot: Bot, author: Author, key: ConversationKey) -> str:
    found = await bot.inbox.suggest(Command("model", "", "slack", key, author))
    return "suggested" if found else "nothing"


async def revise(bot: Bot, author: Author, key: ConversationKey) -> str:
    """An edit of the first question, as if they had written it."""
    first = Message("C1:1.0", "slack", key, author, "What is 7*7?", 1.0, "C1:1.0", "mention")
    try:
        await bot.inbox.revise(first, edited_at=2.0)
    except NotAccepted:
        return "stored"
    return "unchanged"


ENTRIES: tuple[Entry, ...] = (
    *(command(name) for name in ("help", "model", "reset", "memory", "stop", "again", "approve")),
    command("remember", "I am the operator"),
    command("feedback", "good"),
    suggest,
    revise,
)
PRESSES = tuple(press(kind) for kind in ("stop", "again", "up", "down", "approve", "deny"))


def test_no_list_lets_a_bot_in_wherever_it_speaks() -> None:
    """Whatever is listed, `*` too; nor anyone who claims to be the operator from a platform."""
    from bot.admission import AccessList, Admitted, Gate

    everyone = frozenset({"*"})
    gate = Gate({"slack": AccessList(everyone, everyone, everyone, guests=True, external=True)})
    for place, tenant in product(PLACES, (T1, T2)):
        key = ConversationKey(tenant, place, "C1")
        assert isinstance(gate.admit(key, ASKER), Admitted)
        assert not isinstance(gate.admit(key, Author("U1", "bot")), Admitted)
        assert not isinstance(gate.admit(key, Author("U1", "operator")), Admitted)
