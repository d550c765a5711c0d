"""What stays on this machine: by the operator's rules and by what people ask for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from adapters.chat.types import Attachment, Author, Command
from adapters.models.scripted import ScriptedBackend, Step
from adapters.models.scripted_replies import Reply
from agents.ports import ModelBackend, ModelRequest
from agents.routing import Route, Router
from bot.app import Bot, open_bot
from bot.privacy import PRIVATE, PRIVATE_BY, LocalOnly
from bot.routes import every_route
from bot.settings import ModelsSection, SettingsError
from bot.stores import open_stores
from tests.bot.test_bot import Chat, message, settings_in, until
from tests.listening import Ear, listening
from tests.pictures import photo
from tools.identity import ConversationKey, tenant_of

HERE = message("").conversation


@dataclass
class PictureChat(Chat):
    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        return photo(40, 30, "PNG")


def looks_and_answers(request: ModelRequest) -> Reply:
    """Looks at the picture whenever there is a tool for it, then answers."""
    seen = any("look" in each.text for each in request.messages if each.role == "assistant")
    look = {"action": "look", "arguments": {"image": 1, "question": "What is it?"}}
    final = {"action": "final", "arguments": {"answer": "Seen to."}}
    return Step({"thought": "", "step": [final if seen else look]})


@asynccontextmanager
async def bot_beside(ear: Ear, folder: Path, chat: Chat, **overrides: object) -> AsyncIterator[Bot]:
    """A running bot whose first route of every role is an HTTP service elsewhere."""
    far = {
        "backend": "openai_api",
        "base_url": f"http://127.0.0.1:{ear.port}/v1",
        "model": "far",
        "placement": "cloud",
        "max_images": 1,
    }
    settings = settings_in(folder, **{"models.routes": {"far": far}, **overrides})
    near = ScriptedBackend("near", looks_and_answers)

    async def load() -> ModelBackend:
        return near

    cloud = (await every_route(settings))["far"]
    local = Route("near", "scripted", "demo", "local", load)
    router = Router({"planner": [cloud, local], "vision": [cloud]})
    async with (
        open_stores(settings) as stores,
        open_bot(settings, stores, [chat], router=router) as bot,
        asyncio.TaskGroup() as group,
    ):
        stop = asyncio.Event()
        group.create_task(bot.run(stop))
        yield bot
        stop.set()


async def ask(bot: Bot, chat: Chat, number: int) -> str:
    """One question with a picture; returns the reply."""
    asked = message("What is in this picture?", number=number)
    file = Attachment("f1", "a.png", "image/png", 100, "x")
    await bot.inbox.accept(msgspec.structs.replace(asked, attachments=(file,)))
    await until(lambda: asked.message_id in chat.delivered)
    return chat.delivered[asked.message_id][0]


async def say(bot: Bot, name: str, argument: str) -> str:
    author = Author("operator", "operator")
    return await bot.inbox.command(Command(name, argument, "browser", HERE, author))


async def test_a_private_conversation_with_a_picture_opens_no_connection(tmp_path: Path) -> None:
    chat = PictureChat()
    async with listening() as ear, bot_beside(ear, tmp_path, chat) as bot:
        assert "now stays on this machine" in await say(bot, "private", "on")
        assert "is not on this machine" in await say(bot, "model", "far")
        assert "Seen to." in await ask(bot, chat, 1)
        assert ear.connections == 0

        assert "may use models elsewhere again" in await say(bot, "private", "off")
        assert "Seen to." in await ask(bot, chat, 2)
        assert ear.connections > 0


@pytest.mark.parametrize(
    "rule",
    [
        {"models.local_only": True},
        {"models.local_only_users": ["*"]},
        {"models.local_only_channels": ["*"]},
    ],
    ids=str,
)
async def test_nobody_can_turn_the_operators_rule_off(
    tmp_path: Path, rule: dict[str, object]
) -> None:
    chat = PictureChat()
    async with listening() as ear, bot_beside(ear, tmp_path, chat, **rule) as bot:
        await say(bot, "private", "off")
        await ask(bot, chat, 1)
        assert "its operator set that" in await say(bot, "private", "off")
        await ask(bot, chat, 2)
        assert ear.connections == 0


def test_who_the_operator_keeps_here_binds_the_conversation_for_all() -> None:
    slack = ConversationKey(tenant_of("slack", "T1"), "public", "C1", "1.2")
    rules = LocalOnly(ModelsSection(local_only_channels=("C9",), local_only_users=("U1",)))

    assert rules(slack, {}, "U1")
    assert not rules(slack, {}, "U2")
    assert rules(slack, {PRIVATE_BY: "U1"}, "U2"), "what U1 said is in the conversation"
    assert not rules(slack, {PRIVATE_BY: "U3"}, "U2"), "no longer of the list"
    assert rules(slack, {PRIVATE: "on"}, "U2")
    assert not rules.is_ruled(slack, {PRIVATE: "on"})
    assert rules.is_ruled(msgspec.structs.replace(slack, channel="C9"), {})


def test_a_name_where_an_id_belongs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"local_only_channels.*never names"):
        settings_in(tmp_path, **{"models.local_only_channels": ["#general"]})
