"""The product's whole path for one turn, with a chat platform that costs nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from adapters.chat.types import (
    NO_OFFERS,
    AdapterError,
    Attachment,
    Author,
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
from adapters.stores.memory import encode_turn
from agents.turns import Text, Turn
from benchmarks.floor import HISTORY, MESSAGE, QUESTION
from bot.app import Bot, open_bot
from bot.logs import configure_logs
from bot.records import Ending, Event
from bot.settings import load_settings
from bot.stores import Stores, open_stores
from tools.identity import ConversationKey, tenant_of

TENANT = tenant_of("browser", "local")


@dataclass
class Chat:
    """Records when a reply first showed and what it ended in."""

    name: str = "browser"
    connected: bool = True
    limits: Limits = Limits(part_chars=4000, edits_per_window=5, window_s=1)  # noqa: RUF009
    began: dict[str, float] = field(default_factory=dict)
    first_sign_ms: list[float] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)

    async def run(self, inbox: Inbox) -> None:
        await asyncio.Event().wait()

    async def answer_only(self) -> None:
        await asyncio.Event().wait()

    def reply(self, message: Message, *, may_show: MayShow = always) -> ChatReply:
        return ChatReply(self, message.event_id, may_show)

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        raise AdapterError("no files here")

    async def remove(self, conversation: ConversationKey, message_ids: Sequence[str]) -> None:
        return None


@dataclass
class ChatReply:
    chat: Chat
    event_id: str
    may_show: MayShow

    async def open(self, placeholder: str | None, *, again: bool = False) -> str:
        took_s = time.perf_counter() - self.chat.began[self.event_id]
        self.chat.first_sign_ms.append(1000 * took_s)
        return self.event_id

    def show(self, draft: Draft) -> None:
        return None

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
        self.chat.texts[self.event_id] = text
        return self.event_id

    async def attach(
        self, index: int, file: ReplyFile, *, token: str, tried_s_ago: float | None = None
    ) -> str:
        return await self.deliver(index, file.content.decode(), token=token)

    async def remove(self) -> None:
        return None

    async def aclose(self) -> None:
        return None


class Product:
    """Runs turns, each in a conversation of its own that remembers 20 messages."""

    def __init__(self, bot: Bot, chat: Chat, stores: Stores) -> None:
        self.bot, self.chat, self.stores = bot, chat, stores
        self._ends: dict[str, asyncio.Future[None]] = {}

    async def turn(self, number: int) -> None:
        event_id = f"e{number}"
        end = self._ends[event_id] = asyncio.get_running_loop().create_future()
        self.chat.began[event_id] = time.perf_counter()
        await self.bot.inbox.accept(
            Message(
                event_id,
                "browser",
                conversation(number),
                Author("operator", "operator"),
                QUESTION,
                1.0,
                event_id,
                "dm",
            )
        )
        await end

    def ended(self, event: Event, ending: Ending) -> None:
        end = self._ends.pop(event.message.event_id)
        if ending.state == "answered":
            end.set_result(None)
        else:
            end.set_exception(RuntimeError(f"a turn {ending.state}: {ending.reason}"))

    async def remember(self, conversations: int) -> None:
        """Give every conversation the same 20 messages."""
        records = [
            encode_turn(Turn(("user", "assistant")[n % 2], (Text(MESSAGE),), said_at=float(n)))
            for n in range(HISTORY)
        ]
        for number in range(conversations):
            key = self.stores.keys.memory(conversation(number))
            await self.stores.redis.rpush(key, *records)


def conversation(number: int) -> ConversationKey:
    return ConversationKey(TENANT, "dm", f"c{number}")


@asynccontextmanager
async def product(folder: Path, model_url: str, *, conversations: int) -> AsyncIterator[Product]:
    """The bot over an embedded Redis with its append-only file, ready for turns."""
    log_file = (folder / "bot.log").open("w")
    configure_logs(level="info", form="json", stream=log_file)  # a turn pays for its line
    route = {"backend": "openai_api", "base_url": model_url, "model": "m", "context_tokens": 32768}
    settings = load_settings(
        environ={},
        overrides={
            "data_dir": folder,
            "models.routes.m": route,
            "roles.planner": ["m"],
            "turns.workers": 512,
        },
    )
    chat = Chat()
    ends: list[Product] = []

    def ended(event: Event, ending: Ending) -> None:
        ends[0].ended(event, ending)

    async with (
        open_stores(settings) as stores,
        open_bot(settings, stores, [chat], ended=ended) as bot,
    ):
        ours = Product(bot, chat, stores)
        ends.append(ours)
        await ours.remember(conversations)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(bot.work(stop), name="bot.work")
            yield ours
            stop.set()
    configure_logs(level="warning", form="console")  # what comes after has no such file
    log_file.close()
