"""The bot put together, on a real Redis, with a scripted model and an adapter that records."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from adapters.chat.types import (
    NO_OFFERS,
    AdapterError,
    Attachment,
    Author,
    DeliveryError,
    Draft,
    Inbox,
    Limits,
    MayShow,
    Message,
    NotOurs,
    Offers,
    ReplyFile,
    always,
)
from adapters.models.scripted import Say, ScriptedBackend, Step, demo_policy
from agents.ports import ModelBackend
from agents.routing import Route, Router
from bot.app import Bot, open_bot
from bot.inbox import BUSY
from bot.settings import Settings, load_settings
from bot.stores import open_stores
from tools.identity import ConversationKey, tenant_of


@dataclass
class Chat:
    """A platform of one person; `outages` deliveries fail before it works."""

    name: str = "browser"
    outages: int = 0
    crash: BaseException | None = None
    delivered: dict[str, list[str]] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)  # the newest draft's text
    opened: dict[str, list[str | None]] = field(default_factory=dict)  # placeholders given
    asked: dict[str, list[str]] = field(default_factory=dict)  # event ids replied to
    removed: list[str] = field(default_factory=list)
    delivering: Callable[[int], Awaitable[None]] | None = None  # while part n is on its way
    runs: int = 0
    connected: bool = True
    limits: Limits = Limits(part_chars=2000, edits_per_window=5, window_s=1)  # noqa: RUF009

    async def run(self, inbox: Inbox) -> None:
        self.runs += 1
        if self.crash is not None and self.runs == 1:
            raise self.crash
        await asyncio.Event().wait()

    async def answer_only(self) -> None:
        await asyncio.Event().wait()

    def reply(self, message: Message, *, may_show: MayShow = always) -> ChatReply:
        self.asked.setdefault(message.message_id, []).append(message.event_id)
        return ChatReply(self, message.message_id, may_show)

    async def remove(self, conversation: ConversationKey, message_ids: Sequence[str]) -> None:
        for message_id in message_ids:
            self.removed.append(message_id)
            self.delivered.pop(message_id.rpartition(".")[0], None)

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        raise AdapterError("no files here")


@dataclass
class ChatReply:
    chat: Chat
    message_id: str
    may_show: MayShow

    async def open(self, placeholder: str | None, *, again: bool = False) -> str:
        if not self.may_show():
            raise NotOurs(self.chat.name)
        if self.chat.outages:
            self.chat.outages -= 1
            raise DeliveryError(self.chat.name, "away", retryable=True)
        self.chat.opened.setdefault(self.message_id, []).append(placeholder)
        return placeholder or f"placeholder of {self.message_id}"

    def show(self, draft: Draft) -> None:
        if self.may_show():
            self.chat.shown[self.message_id] = draft.text

    async def deliver(
        self,
        index: int,
        text: str,
        *,
        token: str,
        tried_s_ago: float | None = None,
        offers: Offers = NO_OFFERS,
    ) -> str:
        if not self.may_show():
            raise NotOurs(self.chat.name)
        self.chat.delivered.setdefault(self.message_id, []).append(text)
        if self.chat.delivering is not None:
            await self.chat.delivering(index)
        return f"{self.message_id}.{index}"

    async def attach(
        self, index: int, file: ReplyFile, *, token: str, tried_s_ago: float | None = None
    ) -> str:
        return await self.deliver(index, file.content.decode(), token=token)

    async def remove(self) -> None:
        self.chat.removed.append(self.message_id)

    async def aclose(self) -> None:
        return None


def message(text: str, *, thread: str = "t1", number: int = 1, adapter: str = "browser") -> Message:
    key = ConversationKey(tenant_of("browser", "local"), "dm", thread)
    name = f"{thread}-{number}"
    author = Author("operator", "operator")
    return Message(name, adapter, key, author, text, float(number), name, "dm")


def settings_in(folder: Path, **overrides: object) -> Settings:
    quick = {"turns.sweep_s": 0.1, "turns.lease_s": 1, "turns.renew_s": 0.2, "data_dir": folder}
    return load_settings(environ={}, overrides={**quick, **overrides})


@asynccontextmanager
async def bot_with(
    chat: Chat,
    settings: Settings,
    backend: ModelBackend | None = None,
    *,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[tuple[Bot, asyncio.Event]]:
    """The bot over an embedded Redis; not started yet."""
    model = backend or ScriptedBackend("scripted", demo_policy)

    async def load() -> ModelBackend:
        return model

    router = Router({"planner": [Route("scripted", "scripted", "demo", "local", load)]})
    async with (
        open_stores(settings) as stores,
        open_bot(settings, stores, [chat], router=router, clock=clock) as bot,
    ):
        yield bot, asyncio.Event()


async def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 (a test may look at anything)
            await asyncio.sleep(0.01)


async def test_a_platform_that_is_away_for_a_while_gets_the_reply_later(tmp_path: Path) -> None:
    chat = Chat(outages=1)
    async with bot_with(chat, settings_in(tmp_path)) as (bot, stop), asyncio.TaskGroup() as group:
        group.create_task(bot.run(stop))
        await bot.inbox.accept(message("What is 6*7?"))
        await until(lambda: chat.delivered)
        stop.set()

    assert "42" in chat.delivered["t1-1"][0]


async def test_an_adapter_that_crashes_is_started_again_and_takes_nobody_along(
    tmp_path: Path,
) -> None:
    chat = Chat(crash=FileNotFoundError("gone"))
    async with bot_with(chat, settings_in(tmp_path)) as (bot, stop), asyncio.TaskGroup() as group:
        group.create_task(bot.run(stop))
        await until(lambda: chat.runs == 2)
        await bot.inbox.accept(message("What is 6*7?"))
        await until(lambda: chat.delivered)
        stop.set()


async def test_a_platform_that_refuses_us_for_good_ends_the_bot_with_its_reason(
    tmp_path: Path,
) -> None:
    chat = Chat(crash=AdapterError("browser: the token was refused"))
    async with bot_with(chat, settings_in(tmp_path)) as (bot, stop):
        with pytest.raises(AdapterError, match="token was refused"):
            await bot.run(stop)


async def test_a_message_for_an_adapter_that_is_gone_ends_and_blocks_nothing(
    tmp_path: Path,
) -> None:
    chat = Chat()
    async with bot_with(chat, settings_in(tmp_path)) as (bot, stop), asyncio.TaskGroup() as group:
        group.create_task(bot.run(stop))
        await bot.inbox.accept(message("First"))
        await until(lambda: chat.delivered)
        del bot.adapters["browser"]
        await bot.inbox.accept(message("Second", number=2))
        tenant = tenant_of("browser", "local")
        async with asyncio.timeout(20):
            while len(await bot.stores.ledger.closed(tenant)) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        stop.set()
        newest = (await bot.stores.ledger.closed(tenant))[0]

    assert (newest["state"], newest["reason"]) == ("failed", "nobody to answer")


async def test_turns_end_before_the_bot_stops_and_none_begins(tmp_path: Path) -> None:
    slow = ScriptedBackend(
        "scripted",
        lambda request: Step(
            {"thought": "", "step": {"action": "final", "arguments": {"answer": "Done at last."}}},
            chunk=4,
            delay_s=0.02,
        ),
    )
    chat = Chat()
    async with bot_with(chat, settings_in(tmp_path), slow) as (bot, stop):
        async with asyncio.TaskGroup() as group:
            group.create_task(bot.run(stop))
            await bot.inbox.accept(message("Slow one"))
            await until(lambda: slow.requests)
            stop.set()

        assert chat.delivered == {"t1-1": ["Done at last."]}


async def test_messages_of_one_person_that_wait_are_joined_into_one_turn(tmp_path: Path) -> None:
    backend = ScriptedBackend("scripted", lambda request: Say("I heard you."))
    chat = Chat()
    async with bot_with(chat, settings_in(tmp_path), backend) as (bot, stop):
        await bot.inbox.accept(message("First half,", number=1))
        await bot.inbox.accept(message("second half.", number=2))
        async with asyncio.TaskGroup() as group:
            group.create_task(bot.run(stop))
            await until(lambda: chat.delivered)
            stop.set()

    assert list(chat.delivered) == ["t1-2"], "the reply goes to the newest"
    assert "First half,\nsecond half." in backend.requests[0].messages[-1].text


async def test_a_full_line_is_told_once_and_not_for_every_message(tmp_path: Path) -> None:
    chat = Chat()
    settings = settings_in(tmp_path, **{"limits.max_waiting": 1, "turns.workers": 1})
    stalled = ScriptedBackend("scripted", lambda request: Say("x", chunk=1, delay_s=5))
    async with bot_with(chat, settings, stalled) as (bot, stop):
        running = asyncio.create_task(bot.run(stop))
        await bot.inbox.accept(message("The one that runs"))
        await until(lambda: stalled.requests)
        for number in range(2, 8):
            await bot.inbox.accept(message("One more", number=number))
        await until(lambda: chat.delivered)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert [text for texts in chat.delivered.values() for text in texts] == [BUSY]


async def test_text_that_is_not_valid_unicode_is_stored_and_answered(tmp_path: Path) -> None:
    chat = Chat()
    async with bot_with(chat, settings_in(tmp_path)) as (bot, stop), asyncio.TaskGroup() as group:
        group.create_task(bot.run(stop))
        await bot.inbox.accept(message("caf\udce9: what is 6*7?"))
        await until(lambda: chat.delivered)
        stop.set()

    assert "42" in chat.delivered["t1-1"][0]


async def test_a_platform_whose_session_is_gone_does_not_count_as_connected(
    tmp_path: Path,
) -> None:
    chat = Chat()
    async with bot_with(chat, settings_in(tmp_path)) as (bot, stop), asyncio.TaskGroup() as group:
        group.create_task(bot.run(stop))
        await until(lambda: bot.connected() == {"browser"})
        chat.connected = False

        assert bot.connected() == frozenset()
        stop.set()
