"""A part of a reply that is a file, on every platform: once, whole, and only while it is ours."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import aiohttp
import pytest
from yarl import URL

from adapters.chat.browser import BrowserAdapter
from adapters.chat.terminal import TerminalAdapter
from adapters.chat.types import ChatAdapter, Message, NotOurs, ReplyFile
from bot.testing.discord import DiscordTwin
from bot.testing.slack.world import Posted
from tests.adapters.chat import slack_bot, test_discord
from tests.contracts.chat import BrowserPerson, RecordingInbox, TerminalPerson
from tests.contracts.chat import running as run_with
from tests.contracts.serving import serving

FILE = ReplyFile("answer.md", "# Alles\n\nwörtlich ✓\n".encode(), "The whole answer.")
TOKEN = "5f0c1d2e3a4b5c6d7e8f9a0b"


class Stage(Protocol):
    """An adapter, a question it was asked, and what its person can save of the answer."""

    adapter: ChatAdapter
    message: Message

    async def files(self) -> list[tuple[str, bytes]]:
        """Each name as it is shown, with what one gets by it."""
        ...

    async def texts(self) -> list[str]: ...


class OnTerminal:
    def __init__(self, folder: Path, person: TerminalPerson) -> None:
        self._folder, self._person = folder, person

    adapter: ChatAdapter
    message: Message

    async def files(self) -> list[tuple[str, bytes]]:
        printed = set(re.findall(r"\S+-5f0c1d2e\.md", self._person.output.getvalue()))
        return [("answer.md", path.read_bytes()) for path in map(Path, printed)]

    async def texts(self) -> list[str]:
        return [self._person.output.getvalue().splitlines()[0]]


@asynccontextmanager
async def terminal(folder: Path) -> AsyncIterator[Stage]:
    from rich.console import Console

    inbox, person = RecordingInbox(), TerminalPerson(folder)
    stage = OnTerminal(folder, person)
    stage.adapter = TerminalAdapter(
        channel="c1",
        output=Console(file=person.output, width=400),
        input=person.lines.get,
        folder=folder,
    )
    async with run_with(stage.adapter, inbox):
        await person.say("Tell me all.")
        stage.message = await inbox.next()
        yield stage


class OnBrowser:
    adapter: ChatAdapter
    message: Message

    def __init__(self, person: BrowserPerson, session: aiohttp.ClientSession, base: str) -> None:
        self._person, self._session, self._base = person, session, base

    async def files(self) -> list[tuple[str, bytes]]:
        found = []
        for entry in await self._person.entries():
            for file in entry["files"] if entry["kind"] == "assistant" else ():
                async with self._session.get(self._base + file["url"]) as answer:
                    assert answer.headers["Content-Disposition"].endswith("answer.md")
                    assert answer.headers["X-Content-Type-Options"] == "nosniff"
                    assert answer.content_type == "application/octet-stream"
                    found.append((file["name"], await answer.read()))
        return found

    async def texts(self) -> list[str]:
        return await self._person.texts_of_last_reply()


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Stage]:
    inbox, adapter = RecordingInbox(), BrowserAdapter(upload_dir=folder / "uploads")
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        run_with(adapter, inbox),
        serving(adapter.routes) as base,
        aiohttp.ClientSession(cookie_jar=jar, read_bufsize=2**22) as session,
    ):
        async with session.get(base) as response:
            assert response.status == 200
        person = BrowserPerson(session, base, adapter.page_token)
        stage = OnBrowser(person, session, base)
        stage.adapter = adapter
        await person.say("Tell me all.")
        stage.message = await inbox.next()
        yield stage


class OnSlack:
    adapter: ChatAdapter
    message: Message

    def __init__(self, bench: slack_bot.Bench) -> None:
        self._slack, self.adapter = bench.slack, bench.adapter

    async def files(self) -> list[tuple[str, bytes]]:
        shared = [file for each in self._ours() for file in each.files]
        return [(file["title"], self._slack.world.files[file["id"]][1]) for file in shared]

    async def texts(self) -> list[str]:
        return [each.text for each in self._ours()]

    def _ours(self) -> list[Posted]:
        key, user = self.message.conversation, self._slack.world.bot_user_id
        return [each for each in self._slack.posted(key.channel, key.thread) if each.user == user]


@asynccontextmanager
async def slack(folder: Path) -> AsyncIterator[Stage]:
    async with slack_bot.running() as bench:
        stage = OnSlack(bench)
        await bench.slack.say("U1", "C1", "Tell me all.", mention_bot=True)
        [stage.message] = await bench.heard()
        yield stage


class OnDiscord:
    adapter: ChatAdapter
    message: Message

    def __init__(self, discord: DiscordTwin, adapter: ChatAdapter) -> None:
        self._discord, self.adapter = discord, adapter

    async def files(self) -> list[tuple[str, bytes]]:
        world = self._discord.world
        posted = self._discord.posted(self._discord.general)
        shared = [file for each in posted for file in each.files]
        return [(file["filename"], world.files[URL(file["url"]).path]) for file in shared]

    async def texts(self) -> list[str]:
        return [each.content for each in self._discord.posted(self._discord.general)]


@asynccontextmanager
async def discord(folder: Path) -> AsyncIterator[Stage]:
    inbox = test_discord.RecordingInbox()
    async with DiscordTwin() as twin, test_discord.connected(twin, inbox) as adapter:
        stage = OnDiscord(twin, adapter)
        await twin.say(twin.alice, twin.general, "Tell me all.", mention_bot=True)
        await inbox.hears(1)
        stage.message = inbox.messages[0]
        yield stage


STAGES: dict[str, Callable[[Path], AbstractAsyncContextManager[Stage]]] = {
    "terminal": terminal,
    "browser": browser,
    "slack": slack,
    "discord": discord,
}


@pytest.fixture(params=sorted(STAGES))
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async with STAGES[request.param](tmp_path) as opened:
        yield opened


async def test_a_file_stands_behind_the_texts_and_holds_the_exact_bytes(stage: Stage) -> None:
    reply = stage.adapter.reply(stage.message)
    await reply.open(None)
    first = await reply.deliver(0, "It is long.", token="t0")
    second = await reply.attach(1, FILE, token=TOKEN)
    await reply.aclose()

    assert first != second
    assert await stage.files() == [("answer.md", FILE.content)]
    assert (await stage.texts())[0] == "It is long."


async def test_a_file_that_an_earlier_process_may_have_sent_is_there_once(stage: Stage) -> None:
    died = stage.adapter.reply(stage.message)
    placeholder = await died.open(None)
    await died.deliver(0, "It is long.", token="t0")
    sent = await died.attach(1, FILE, token=TOKEN)
    await died.aclose()

    reply = stage.adapter.reply(stage.message)
    await reply.open(placeholder, again=True)
    assert await reply.attach(1, FILE, token=TOKEN, tried_s_ago=0.1) == sent
    await reply.aclose()

    assert await stage.files() == [("answer.md", FILE.content)]


async def test_a_file_of_a_reply_that_is_not_ours_is_not_sent(stage: Stage) -> None:
    is_ours = True
    reply = stage.adapter.reply(stage.message, may_show=lambda: is_ours)
    await reply.open(None)
    await reply.deliver(0, "It is long.", token="t0")
    is_ours = False
    with pytest.raises(NotOurs):
        await reply.attach(1, FILE, token=TOKEN)
    await reply.aclose()

    assert await stage.files() == []


async def test_a_file_goes_with_its_reply_when_that_is_taken_back(stage: Stage) -> None:
    reply = stage.adapter.reply(stage.message)
    ids = [await reply.open(None)]
    await reply.deliver(0, "It is long.", token="t0")
    ids.append(await reply.attach(1, FILE, token=TOKEN))
    await reply.aclose()
    await stage.adapter.remove(stage.message.conversation, ids)

    if not isinstance(stage, OnTerminal):  # what was saved stays saved
        assert await stage.files() == []
