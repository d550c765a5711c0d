"""Every chat adapter with a person who uses it, for the one contract suite.

Add an adapter by a function in `ADAPTERS`: it runs the adapter on `inbox` and yields it with
a driver that does what a person does, and sees what a person sees.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from rich.console import Console

from adapters.chat.browser import BrowserAdapter
from adapters.chat.mattermost import MattermostAdapter
from adapters.chat.terminal import TerminalAdapter
from adapters.chat.types import ChatAdapter, Command, Inbox, Message, NotAccepted, Press, Receipt
from bot.testing.mattermost import MattermostTwin
from tests.contracts.serving import serving

File = tuple[str, bytes]


class Person(Protocol):
    async def say(self, text: str, files: Sequence[File] = ()) -> None:
        """Send a message; the adapter must hand it to the inbox."""
        ...

    async def texts_of_last_reply(self) -> list[str]:
        """The reply's messages (or its one text), in order, as the person sees them now."""
        ...

    async def told(self) -> str:
        """What the person was told when a message could not be taken; empty if nothing."""
        ...


Opened = AbstractAsyncContextManager[tuple[ChatAdapter, Person]]


class NothingChanges:
    """The parts of an inbox that no test of plain messages needs."""

    async def suggest(self, command: Command) -> Sequence[str]:
        return ()

    async def revise(self, message: Message, *, edited_at: float) -> None:
        raise NotAccepted("no edits here")

    async def retract(
        self, adapter: str, tenant: str, event_id: str, *, with_answer: bool = True
    ) -> None:
        raise NotAccepted("no deletions here")

    async def press(self, press: Press) -> str:
        return "no buttons here"

    async def marks(self, tenant: str) -> Mapping[str, float]:
        return {}


class RecordingInbox:
    """Keeps what was accepted; refuses to store while `down` is set."""

    def __init__(self) -> None:
        self.down = False
        self.answer = Receipt.ACCEPTED
        self.commands: list[Command] = []
        self.suggested: list[Command] = []
        self.suggestions: tuple[str, ...] = ()
        self.revised: list[tuple[Message, float]] = []
        self.retracted: list[tuple[str, str, str]] = []
        self.presses: list[Press] = []
        self.pressed = ""  # what a press is answered
        self.heard_until: dict[str, dict[str, float]] = {}  # marks by tenant
        self._seen: set[str] = set()
        self._messages: asyncio.Queue[Message] = asyncio.Queue()

    async def accept(self, message: Message) -> Receipt:
        self._heard()
        if self.answer is not Receipt.ACCEPTED:
            return self.answer
        if message.event_id in self._seen:
            return Receipt.DUPLICATE
        self._seen.add(message.event_id)
        self._messages.put_nowait(message)
        return Receipt.ACCEPTED

    async def command(self, command: Command) -> str:
        self.commands.append(command)
        return f"{command.name} is {command.argument}"

    async def suggest(self, command: Command) -> Sequence[str]:
        self.suggested.append(command)
        return self.suggestions

    async def revise(self, message: Message, *, edited_at: float) -> None:
        self._heard()
        self.revised.append((message, edited_at))

    async def retract(
        self, adapter: str, tenant: str, event_id: str, *, with_answer: bool = True
    ) -> None:
        self._heard()
        self.retracted.append((adapter, tenant, event_id))

    async def press(self, press: Press) -> str:
        self.presses.append(press)
        return self.pressed

    async def marks(self, tenant: str) -> Mapping[str, float]:
        self._heard()
        return self.heard_until.get(tenant, {})

    def _heard(self) -> None:
        if self.down:
            raise NotAccepted("the store is down")

    async def next(self) -> Message:
        async with asyncio.timeout(10):
            return await self._messages.get()

    @property
    def is_empty(self) -> bool:
        return self._messages.empty()


@asynccontextmanager
async def running(adapter: ChatAdapter, inbox: Inbox) -> AsyncIterator[None]:
    task = asyncio.create_task(adapter.run(inbox), name=f"run {adapter.name}")
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class TerminalPerson:
    """Types lines, reads what was printed since the last one."""

    def __init__(self, folder: Path) -> None:
        self.lines: asyncio.Queue[str | None] = asyncio.Queue()
        self.output = io.StringIO()
        self._folder, self._read_from = folder, 0

    async def say(self, text: str, files: Sequence[File] = ()) -> None:
        for name, content in files:
            (self._folder / name).write_bytes(content)
            self.lines.put_nowait(f"/attach {self._folder / name}")
        self._read_from = self.output.tell()
        self.lines.put_nowait(text)

    async def texts_of_last_reply(self) -> list[str]:
        text = self.output.getvalue()[self._read_from :]
        text = text.rpartition("↻ the answer starts anew:\n")[2]
        said = re.sub(r"^(·|✗) .*\n|^.* goes with your next message\.\n", "", text, flags=re.M)
        return [said.removesuffix("\n")] if said else []

    async def told(self) -> str:
        for _ in range(100):
            if text := self.output.getvalue()[self._read_from :]:
                return text
            await asyncio.sleep(0.01)
        return ""


@asynccontextmanager
async def terminal(folder: Path, inbox: Inbox) -> AsyncIterator[tuple[ChatAdapter, Person]]:
    person = TerminalPerson(folder)
    console = Console(file=person.output, width=80)
    adapter = TerminalAdapter(channel="c1", output=console, input=person.lines.get)
    async with running(adapter, inbox):
        yield adapter, person


class BrowserPerson:
    """Uses the page's own interface: posts, and reads the event stream's first packet."""

    def __init__(self, session: aiohttp.ClientSession, base: str, token: str) -> None:
        self._session, self._base, self._token = session, base, token
        self._thread = uuid.uuid4().hex
        self._told = ""

    async def say(self, text: str, files: Sequence[File] = ()) -> None:
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("text", text)
        for name, content in files:
            form.add_field("files", content, filename=name, content_type="image/png")
        headers = {"X-Firstline-Token": self._token}
        url = f"{self._base}/api/threads/{self._thread}/messages"
        async with self._session.post(url, data=form, headers=headers) as response:
            body = await response.json()
        self._told = body.get("error", "")

    async def texts_of_last_reply(self) -> list[str]:
        replies = [entry for entry in await self.entries() if entry["kind"] == "assistant"]
        assert len({entry["id"] for entry in replies}) == len(replies)
        return list(replies[-1]["parts"]) if replies else []

    async def entries(self) -> list[dict[str, Any]]:
        url = f"{self._base}/api/threads/{self._thread}/events"
        async with self._session.get(url) as response:
            async for line in response.content:
                if line.startswith(b"data: "):
                    found: list[dict[str, Any]] = json.loads(line[6:])["entries"]
                    return found
        return []

    async def told(self) -> str:
        return self._told


@asynccontextmanager
async def browser(folder: Path, inbox: Inbox) -> AsyncIterator[tuple[ChatAdapter, Person]]:
    adapter = BrowserAdapter(upload_dir=folder / "uploads")
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        running(adapter, inbox),
        serving(adapter.routes) as base,
        aiohttp.ClientSession(cookie_jar=jar, read_bufsize=2**22) as session,
    ):
        async with session.get(base) as response:
            assert response.status == 200
        yield adapter, BrowserPerson(session, base, adapter.page_token)


class MattermostPerson:
    """Writes to the bot directly, on a server of our own."""

    def __init__(self, server: MattermostTwin) -> None:
        self._server, self._asked_at = server, 0
        self._user, self._channel = server.add_user("alice"), server.add_channel("direct", "D")

    async def say(self, text: str, files: Sequence[File] = ()) -> None:
        post_id = await self._server.say(self._user, self._channel, text, files=files)
        self._asked_at = self._server.world.posts[post_id]["create_at"]

    async def texts_of_last_reply(self) -> list[str]:
        posts = self._server.posts(self._channel)
        return [each["message"] for each in posts if each["create_at"] > self._asked_at]

    async def told(self) -> str:
        with suppress(TimeoutError):
            await self._server.wait_for(lambda: bool(self._server.posts(self._channel)), 2)
        return "\n".join(await self.texts_of_last_reply())


@asynccontextmanager
async def mattermost(_: Path, inbox: Inbox) -> AsyncIterator[tuple[ChatAdapter, Person]]:
    async with MattermostTwin() as server:
        person = MattermostPerson(server)
        adapter = MattermostAdapter(url=server.url, token=server.token, retry_for_s=0.1)
        async with running(adapter, inbox):
            await server.sockets.connected()
            yield adapter, person


ADAPTERS: dict[str, Callable[[Path, Inbox], Opened]] = {
    "terminal": terminal,
    "browser": browser,
    "mattermost": mattermost,
}
