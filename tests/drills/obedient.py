"""An obedient model that tells all it was shown, and the platforms it speaks on."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from adapters.chat.types import (
    NO_OFFERS,
    AdapterError,
    Addressing,
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
from adapters.models.scripted import DEFAULT_CAPABILITIES, Reply, ScriptedBackend, Step
from agents.ports import ModelBackend, ModelRequest
from agents.routing import Route, Router
from bot.app import Bot, open_bot
from bot.settings import Settings, load_settings
from bot.stores import open_stores
from tools.identity import ConversationKey, PrincipalKind

CANARY = re.compile(r"CANARY-[0-9a-f]{12}")


def new_canary() -> str:
    return f"CANARY-{secrets.token_hex(6)}"


def tell_everything(request: ModelRequest) -> Reply:
    """Search once for more, then tell every secret in the prompt, wherever it stands."""
    shown = "\n".join(message.text for message in request.messages)
    offers = "search_conversation" in json.dumps(request.schema)
    if offers and "Result of search_conversation" not in shown:
        call = {"action": "search_conversation", "arguments": {"query": "secret CANARY"}}
        return Step({"thought": "", "step": call}, chunk=0)
    told = " ".join(sorted(set(CANARY.findall(shown)))) or "nothing"
    answer = {"action": "final", "arguments": {"answer": f"I know: {told}"}}
    return Step({"thought": "", "step": answer}, chunk=0)


@dataclass
class Platform:
    """A platform that costs nothing; keeps all that each reply ever showed."""

    name: str
    connected: bool = True
    limits: Limits = Limits(part_chars=4000, edits_per_window=5, window_s=1)  # noqa: RUF009
    replies: dict[tuple[str, str], str] = field(default_factory=dict)  # by tenant and event
    shown: dict[tuple[str, str], str] = field(default_factory=dict)

    async def run(self, inbox: Inbox) -> None:
        await asyncio.Event().wait()

    async def answer_only(self) -> None:
        await asyncio.Event().wait()

    def reply(self, message: Message, *, may_show: MayShow = always) -> PlatformReply:
        return PlatformReply(self, (message.conversation.tenant, message.event_id), may_show)

    async def remove(self, conversation: ConversationKey, message_ids: Sequence[str]) -> None:
        for message_id in message_ids:
            self.replies.pop((conversation.tenant, message_id), None)

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        raise AdapterError("no files here")


@dataclass
class PlatformReply:
    platform: Platform
    place: tuple[str, str]
    may_show: MayShow

    async def open(self, placeholder: str | None, *, again: bool = False) -> str:
        return self.place[1]

    def show(self, draft: Draft) -> None:
        if not self.may_show():
            return
        before = self.platform.shown.get(self.place, "")
        details = " ".join(each.detail for each in draft.activities)
        self.platform.shown[self.place] = f"{before}\n{draft.text} {draft.status} {details}"

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
            raise NotOurs(self.platform.name)
        before = self.platform.replies.get(self.place, "")
        self.platform.replies[self.place] = f"{before}\n{text}".strip()
        return self.place[1]

    async def attach(
        self, index: int, file: ReplyFile, *, token: str, tried_s_ago: float | None = None
    ) -> str:
        return await self.deliver(index, file.content.decode(), token=token)

    async def remove(self) -> None:
        self.platform.replies.pop(self.place, None)

    async def aclose(self) -> None:
        return None


def said(
    key: ConversationKey,
    event_id: str,
    text: str,
    *,
    user: str,
    kind: PrincipalKind = "member",
    sent_at: float = 1.0,
) -> Message:
    platform = key.tenant.partition(":")[0]
    addressing: Addressing = "dm" if key.place == "dm" else "mention"
    author = Author(user, kind)
    return Message(event_id, platform, key, author, text, sent_at, event_id, addressing)


def open_settings(folder: Path, users: Sequence[str], **more: object) -> Settings:
    """Everyone may talk everywhere, so that only memory keeps secrets apart."""
    overrides: dict[str, object] = {
        "data_dir": folder,
        "limits.max_waiting": 1000,
        "turns.lease_s": 2,
        "turns.renew_s": 0.5,
        "turns.sweep_s": 0.2,
        "web.enabled": False,
    }
    for name in ("workspaces", "channels", "users"):
        overrides[f"slack.allow.{name}"] = ["*"]
    overrides |= {"slack.allow.guests": True, "slack.allow.external": True}
    overrides |= {"discord.allow.guilds": ["*"], "discord.allow.channels": ["*"]}
    overrides["discord.allow.users"] = list(users)
    return load_settings(environ={}, overrides=overrides | more)


@asynccontextmanager
async def running_bot(
    settings: Settings, model: ModelBackend | None = None
) -> AsyncIterator[tuple[Bot, Mapping[str, Platform]]]:
    """The bot on two platforms, until the block ends."""
    obedient = model or ScriptedBackend(
        "obedient", tell_everything, capabilities=DEFAULT_CAPABILITIES
    )

    async def load() -> ModelBackend:
        return obedient

    route = Route("obedient", "scripted", "obedient", "local", load)
    router = Router({"planner": [route], "small": [route]})
    platforms = {name: Platform(name) for name in ("slack", "discord")}
    stop = asyncio.Event()
    async with (
        open_stores(settings) as stores,
        open_bot(settings, stores, platforms.values(), router=router) as bot,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(bot.run(stop), name="bot.run")
        yield bot, platforms
        stop.set()


async def answered(
    platforms: Mapping[str, Platform], messages: Sequence[Message], timeout_s: float
) -> dict[str, str]:
    """The reply to each of `messages` by event id, once all have one."""

    def reply_to(message: Message) -> str | None:
        place = (message.conversation.tenant, message.event_id)
        return platforms[message.adapter].replies.get(place)

    async with asyncio.timeout(timeout_s):
        while not all(reply_to(each) for each in messages):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return {each.event_id: reply_to(each) or "" for each in messages}
