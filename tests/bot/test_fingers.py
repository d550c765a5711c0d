"""Every hand but the right one on every button (rows G4, G5, C14, H8): 0 acts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import msgspec
import pytest

from adapters.chat.types import Author, Command, Message, Press
from bot.app import Bot
from bot.approvals import DECIDED, EXPIRED, NOTHING_OPEN
from bot.inbox import TOO_OLD
from tests.bot.approval_bot import Chat, calling, done, final, model, with_tools
from tests.bot.test_bot import bot_with, until
from tools.identity import ConversationKey, PrincipalKind, tenant_of

T1, T2 = tenant_of("slack", "T1"), tenant_of("slack", "T2")
HERE = ConversationKey(T1, "public", "C1", "1.0")
ASKER = Author("U1", "member")
DELETE = calling(("delete_page", {"name": "holidays"}))
ALLOW = {
    "slack.allow.workspaces": ["T1", "T2"],
    "slack.allow.channels": ["C1", "C2"],
    "slack.allow.users": ["U1", "U2"],
    "slack.bot_token": "xoxb-1",
    "slack.app_token": "xapp-1",
}


@dataclass
class Clock:
    """Time that a test moves; the store has its own."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def question(number: int = 1) -> Message:
    name = f"C1:{number}.0"
    return Message(name, "slack", HERE, ASKER, "Delete it", 1.0, name, "mention")


def pressed(**changes: object) -> Press:
    press = Press("approve", "C1:1.0", "slack", T1, "C1", ASKER)
    return msgspec.structs.replace(press, **changes)


@asynccontextmanager
async def asked(
    folder: Path, *, answer: str = "Gone.", clock: Clock | None = None, **overrides: object
) -> AsyncIterator[tuple[Bot, Chat]]:
    """A bot whose card stands there."""
    chat, backend = Chat(name="slack"), model(DELETE, final(answer))
    settings = with_tools(folder, **{**ALLOW, **overrides})
    async with (
        bot_with(chat, settings, backend, clock=clock or Clock()) as (bot, stop),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(bot.run(stop))
        try:
            await bot.inbox.accept(question())
            await until(lambda: "C1:1.0" in chat.delivered)
            yield bot, chat
        finally:
            stop.set()


KINDS: tuple[PrincipalKind, ...] = ("operator", "member", "guest", "external", "bot")
HANDS = [
    Author(user, kind)
    for user, kind in product(("U1", "U2", "U3", "*", "", "U1 "), KINDS)
    if (user, kind) != ("U1", "member")
]


async def test_no_other_hand_and_no_other_place_does_anything(tmp_path: Path) -> None:
    places = [("C1", T1), ("C2", T1), ("C1", T2), ("1.0", T1), ("", T1), ("D1", T1)]
    told = []
    async with asked(tmp_path) as (bot, _):
        for author, (channel, tenant), kind in product(HANDS, places, ("approve", "deny")):
            press = pressed(author=author, channel=channel, tenant=tenant, kind=kind)
            told.append(await bot.inbox.press(press))
        own = [pressed(channel="C2"), pressed(tenant=T2), pressed(channel="")]
        told += [await bot.inbox.press(press) for press in own]
        await asyncio.sleep(0.3)

    assert all(told), "everyone who pressed is told"
    assert done(tmp_path) == []


@pytest.mark.parametrize(
    "event_id", ["C1:2.0", "", "*", "C1:1.0!x", "C1:1.0\n", "c1:1.0", "../C1:1.0", "C1:1.0" * 50]
)
async def test_an_altered_button_does_nothing(tmp_path: Path, event_id: str) -> None:
    async with asked(tmp_path) as (bot, _):
        assert await bot.inbox.press(pressed(event_id=event_id))
        await asyncio.sleep(0.1)

    assert done(tmp_path) == []


async def test_pressed_by_ten_fingers_at_once_it_is_done_once(tmp_path: Path) -> None:
    async with asked(tmp_path) as (bot, chat):
        kinds = ["approve"] * 10
        told = await asyncio.gather(*(bot.inbox.press(pressed(kind=kind)) for kind in kinds))
        await until(lambda: chat.delivered["C1:1.0"][-1] == "Gone.")
        await asyncio.sleep(0.3)

    assert sorted(told) == ["", *[DECIDED] * 9]
    assert done(tmp_path) == ["delete holidays"]


async def test_of_a_yes_and_a_no_the_first_counts(tmp_path: Path) -> None:
    async with asked(tmp_path) as (bot, chat):
        assert await bot.inbox.press(pressed(kind="deny")) == ""
        assert await bot.inbox.press(pressed()) == DECIDED
        await until(lambda: "You refused" in chat.delivered["C1:1.0"][-1])

    assert done(tmp_path) == []


async def test_a_press_after_its_time_is_told_and_does_nothing(tmp_path: Path) -> None:
    async with asked(tmp_path) as (bot, _):
        name = bot.stores.keys.approvals(HERE)
        await bot.stores.batcher.command("HSET", name, "till:C1:1.0", 1)
        assert await bot.inbox.press(pressed()) == EXPIRED

    assert done(tmp_path) == []


async def test_an_old_press_is_not_acted_on_by_a_bot_that_was_away(tmp_path: Path) -> None:
    clock = Clock()
    async with asked(tmp_path, clock=clock) as (bot, chat):
        clock.now += 3600
        await bot.inbox.press(pressed())
        await until(lambda: "expired" in chat.delivered["C1:1.0"][-1])

    assert done(tmp_path) == []


async def test_of_a_question_that_was_deleted_nothing_is_done(tmp_path: Path) -> None:
    async with asked(tmp_path) as (bot, chat):
        await bot.inbox.retract("slack", T1, "C1:1.0")
        await until(lambda: not chat.delivered)
        assert await bot.inbox.press(pressed()) == EXPIRED
        approve = Command("approve", "", "slack", HERE, ASKER)
        assert await bot.inbox.command(approve) == NOTHING_OPEN
        await asyncio.sleep(0.2)

    assert done(tmp_path) == []


async def test_nor_of_what_a_press_led_to_before_the_question_was_deleted(
    tmp_path: Path,
) -> None:
    second = calling(("delete_page", {"name": "payroll"}))
    chat, backend = Chat(name="slack"), model(DELETE, second, final("Never."))
    async with (
        bot_with(chat, with_tools(tmp_path, **ALLOW), backend, clock=Clock()) as (bot, stop),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(bot.run(stop))
        await bot.inbox.accept(question())
        await until(lambda: "holidays" in chat.delivered.get("C1:1.0", [""])[-1])
        await bot.inbox.press(pressed())
        await until(lambda: "payroll" in chat.delivered["C1:1.0"][-1])
        await bot.inbox.retract("slack", T1, "C1:1.0")
        approve = Command("approve", "", "slack", HERE, ASKER)
        assert await bot.inbox.command(approve) == NOTHING_OPEN
        await asyncio.sleep(0.2)
        stop.set()

    assert done(tmp_path) == ["delete holidays"]


@pytest.mark.parametrize("what", ["reset", "memory"])
async def test_of_a_conversation_that_was_forgotten_nothing_is_done(
    tmp_path: Path, what: str
) -> None:
    async with asked(tmp_path) as (bot, _):
        argument = "forget" if what == "memory" else ""
        await bot.inbox.command(Command(what, argument, "slack", HERE, ASKER))
        assert await bot.inbox.press(pressed()) in (EXPIRED, TOO_OLD)
        await asyncio.sleep(0.2)

    assert done(tmp_path) == []


async def test_calls_that_were_altered_in_the_store_are_not_made(tmp_path: Path) -> None:
    async with asked(tmp_path) as (bot, chat):
        name, field = bot.stores.keys.approvals(HERE), "record:C1:1.0"
        record = await bot.stores.batcher.command("HGET", name, field)
        await bot.stores.batcher.command(
            "HSET", name, field, record.replace(b"holidays", b"payroll!")
        )
        await bot.inbox.press(pressed())
        await until(lambda: "not what you agreed to" in chat.delivered["C1:1.0"][-1])

    assert done(tmp_path) == []
