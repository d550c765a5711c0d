"""The browser: a local page with threads, for the operator.

The host mounts `BrowserAdapter.routes` in its Starlette application, on loopback.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
from starlette.routing import Route

from adapters.chat.page.guard import LOOPBACK, Guard, kept_token
from adapters.chat.page.routes import PageRoutes
from adapters.chat.page.transcript import Entry, History, ShownTurn, Thread, offered_file
from adapters.chat.page.uploads import Uploads
from adapters.chat.types import (
    NO_OFFERS,
    Attachment,
    Author,
    Command,
    Draft,
    Inbox,
    Limits,
    MayShow,
    Message,
    NotAccepted,
    NotOurs,
    Offers,
    Receipt,
    ReplyFile,
    always,
)
from tools.identity import ConversationKey, tenant_of

__all__ = ["BrowserAdapter", "BrowserReply", "ShownTurn", "ThreadInfo"]

OPERATOR = Author("operator", "operator")
TENANT = tenant_of("browser", "local")
_OPEN_THREADS = 64  # transcripts kept in memory; older ones are read from history again
_SWEEP_EVERY_S = 3600.0


class ThreadInfo(msgspec.Struct, frozen=True):
    """A line of the thread list."""

    thread_id: str
    title: str
    last_activity: float  # epoch seconds


class BrowserAdapter:
    """Serves the page and feeds its messages to the bot.

    `history`, `threads` and `remember_thread` reach the bot's memory, so that threads outlive
    a restart; without them they live as long as the process. With `entry_key` the page opens
    only by `entry_path` (for machines with several users).
    """

    def __init__(
        self,
        *,
        upload_dir: Path,
        name: str = "browser",
        history: History | None = None,
        threads: Callable[[], Awaitable[Sequence[ThreadInfo]]] | None = None,
        remember_thread: Callable[[ThreadInfo], Awaitable[None]] | None = None,
        banner: Sequence[str] = (),
        hosts: frozenset[str] = LOOPBACK,
        entry_key: str | None = None,
        limits: Limits | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.banner, self.uploads, self.now = tuple(banner), Uploads(upload_dir), now
        self.closing = asyncio.Event()
        self._name, self._entry_key = name, entry_key
        self._limits = limits or Limits(part_chars=1_000_000, edits_per_window=20, window_s=1.0)
        self._history, self._threads, self._remember = history, threads, remember_thread
        self._known: dict[str, ThreadInfo] = {}
        self._open: OrderedDict[str, Thread] = OrderedDict()
        self._inbox: Inbox | None = None
        self._token = kept_token(upload_dir / "page-token")
        self._routes = PageRoutes(self, Guard(self._token, hosts=hosts, entry_key=entry_key))

    @property
    def name(self) -> str:
        return self._name

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def connected(self) -> bool:
        return self._inbox is not None

    @property
    def routes(self) -> list[Route]:
        return self._routes.all()

    @property
    def page_token(self) -> str:
        return self._token

    @property
    def entry_path(self) -> str:
        """The path to open; carries the key where one is set."""
        return "/" if self._entry_key is None else f"/?key={self._entry_key}"

    async def run(self, inbox: Inbox) -> None:
        self.closing.clear()
        self._inbox = inbox
        try:
            while True:
                await self.uploads.sweep(self.now())
                await asyncio.sleep(_SWEEP_EVERY_S)
        finally:
            self._inbox = None
            self.closing.set()
            for thread in self._open.values():
                thread.touch()

    def reply(self, message: Message, *, may_show: MayShow = always) -> BrowserReply:
        thread = self.thread(message.conversation.channel)
        return BrowserReply(
            thread, message, adapter=self._name, may_show=may_show, uploads=self.uploads
        )

    async def answer_only(self) -> None:
        """The page is where its process is: nothing is to be opened."""
        await self.closing.wait()

    async def remove(self, conversation: ConversationKey, message_ids: Sequence[str]) -> None:
        for message_id in message_ids:
            self.thread(conversation.channel).drop(message_id)

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        return await self.uploads.fetch(attachment, max_bytes=max_bytes)

    def thread(self, thread_id: str) -> Thread:
        thread = self._open.get(thread_id)
        if thread is None:
            key = ConversationKey(TENANT, "dm", thread_id)
            thread = self._open[thread_id] = Thread(key, self._history or _no_history)
            self._forget_idle()
        self._open.move_to_end(thread_id)
        return thread

    async def list_threads(self) -> list[ThreadInfo]:
        """Every thread, the newest first."""
        stored = await self._threads() if self._threads else ()
        found = {info.thread_id: info for info in stored} | self._known
        return sorted(found.values(), key=lambda info: info.last_activity, reverse=True)

    async def say(
        self, thread_id: str, event_id: str, text: str, files: tuple[Attachment, ...]
    ) -> Receipt:
        """Give a message to the bot, and show it if it was accepted."""
        thread = self.thread(thread_id)
        await thread.load()
        key, now = thread.conversation, self.now()
        message = Message(
            f"{thread_id}:{event_id}", self._name, key, OPERATOR, text, now, event_id, "dm", files
        )
        receipt = await self._running().accept(message)
        if receipt is Receipt.ACCEPTED:
            thread.said(message)
            await self._note_thread(thread_id, text or f"Image: {files[0].name}")
        return receipt

    async def command(self, thread_id: str, name: str, argument: str) -> None:
        """Run a command; its sentence becomes a notice in the thread."""
        thread = self.thread(thread_id)
        await thread.load()
        command = Command(name, argument, self._name, thread.conversation, OPERATOR)
        sentence = await self._running().command(command)
        asked = f"/{name} {argument}".strip()
        notice = Entry(secrets.token_hex(8), "notice", self.now(), [f"**{asked}**\n\n{sentence}"])
        thread.put(notice)

    def _running(self) -> Inbox:
        if self._inbox is None:
            raise NotAccepted("the bot is starting or stopping")
        return self._inbox

    async def _note_thread(self, thread_id: str, text: str) -> None:
        known = {info.thread_id: info.title for info in await self.list_threads()}
        info = ThreadInfo(thread_id, known.get(thread_id) or title_of(text), self.now())
        self._known[thread_id] = info
        if self._remember:
            await self._remember(info)

    def _forget_idle(self) -> None:
        idle = [key for key, thread in self._open.items() if not thread.busy]
        if self._history is not None:
            for key in idle[: max(0, len(self._open) - _OPEN_THREADS)]:
                del self._open[key]


class BrowserReply:
    """A reply as an entry of the transcript; each page paces for itself, by what it missed."""

    def __init__(
        self,
        thread: Thread,
        message: Message,
        *,
        adapter: str,
        may_show: MayShow,
        uploads: Uploads,
    ) -> None:
        self._thread, self._message, self._uploads = thread, message, uploads
        self._files: dict[int, dict[str, str]] = {}
        self._adapter, self._may_show = adapter, may_show
        self._entry: Entry | None = None
        self._parts: dict[int, str] = {}

    async def open(self, placeholder: str | None, *, again: bool = False) -> str:
        entry = await self._shown(placeholder)
        entry.state = "working"
        self._thread.touch(entry)
        return entry.entry_id

    def show(self, draft: Draft) -> None:
        entry = self._entry
        if entry is None or self._parts or not self._may_show():
            return
        entry.parts = [draft.text] if draft.text else []
        entry.activities, entry.status = draft.activities, draft.status
        self._thread.touch(entry)

    async def deliver(
        self,
        index: int,
        text: str,
        *,
        token: str,
        tried_s_ago: float | None = None,
        offers: Offers = NO_OFFERS,
    ) -> str:
        entry = await self._shown(None)
        if not self._may_show():
            raise NotOurs(self._adapter)
        self._parts[index] = text
        entry.parts = [part for _, part in sorted(self._parts.items())]
        entry.state, entry.status = "done", ""
        self._thread.touch(entry)
        return entry.entry_id if index == 0 else f"{entry.entry_id}.{index}"

    async def attach(
        self, index: int, file: ReplyFile, *, token: str, tried_s_ago: float | None = None
    ) -> str:
        entry = await self._shown(None)
        kept = await self._uploads.offer(file, token=token)
        if not self._may_show():
            raise NotOurs(self._adapter)
        self._files[index] = offered_file(kept)
        entry.files = tuple(shown for _, shown in sorted(self._files.items()))
        self._thread.touch(entry)
        return f"{entry.entry_id}.{index}"

    async def remove(self) -> None:
        if self._entry is not None:
            self._thread.drop(self._entry.entry_id)
            self._entry = None

    async def aclose(self) -> None:
        if self._entry is not None and self._entry.state == "working":
            self._entry.state = "interrupted"
            self._thread.touch(self._entry)

    async def _shown(self, placeholder: str | None) -> Entry:
        if self._entry is None:
            await self._thread.load()
            entry_id = placeholder or f"{self._message.message_id}.reply"
            self._entry = self._thread.answer(self._message, entry_id)
        return self._entry


def title_of(text: str) -> str:
    """The first words of a thread's first message."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57].rsplit(" ", 1)[0] + "…"


async def _no_history(_: ConversationKey) -> Sequence[ShownTurn]:
    return ()
