"""What a thread's page shows, and what is new of it for each reader."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from adapters.chat.types import Activity, Attachment, Message
from tools.identity import ConversationKey

EntryKind = Literal["user", "assistant", "notice"]
EntryState = Literal["working", "done", "interrupted"]


class ShownTurn(msgspec.Struct, frozen=True):
    """One turn of a conversation's memory, as the page shows it after a restart.

    A user turn's `said_at` is its message's `sent_at`: by it a reply that is delivered again
    after a restart finds its place.
    """

    role: Literal["user", "assistant"]
    text: str
    said_at: float
    activities: tuple[Activity, ...] = ()
    file_names: tuple[str, ...] = ()


History = Callable[[ConversationKey], Awaitable[Sequence[ShownTurn]]]


@dataclass(slots=True)
class Entry:
    """One block of the transcript; `revision` is the thread's when it last changed."""

    entry_id: str
    kind: EntryKind
    said_at: float
    parts: list[str] = field(default_factory=list)
    activities: tuple[Activity, ...] = ()
    files: tuple[dict[str, str], ...] = ()
    status: str = ""
    state: EntryState = "done"
    revision: int = 0

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.entry_id,
            "kind": self.kind,
            "said_at": self.said_at,
            "parts": self.parts,
            "activities": self.activities,
            "files": self.files,
            "status": self.status,
            "state": self.state,
        }


class Thread:
    """The transcript of one conversation: history first, then what happened since."""

    def __init__(self, conversation: ConversationKey, history: History) -> None:
        self.conversation = conversation
        self.entries: list[Entry] = []
        self.revision = 0
        self.readers = 0
        self.tag = secrets.token_hex(4)  # revisions of another process mean nothing here
        self._history = history
        self._loading = asyncio.Lock()
        self._loaded = False
        self._changed = asyncio.Event()

    @property
    def busy(self) -> bool:
        return self.readers > 0 or any(entry.state == "working" for entry in self.entries)

    async def load(self) -> None:
        """Read the history once, before anything of this process is added."""
        async with self._loading:
            if not self._loaded:
                turns = await self._history(self.conversation)
                self.entries = [_remembered(index, turn) for index, turn in enumerate(turns)]
                self._loaded = True

    def put(self, entry: Entry, *, after: Entry | None = None) -> Entry:
        at = len(self.entries) if after is None else self.entries.index(after) + 1
        self.entries.insert(at, entry)
        self.touch(entry)
        return entry

    def drop(self, entry_id: str) -> None:
        """Take an entry away; pages see it by the order they are sent."""
        kept = [entry for entry in self.entries if entry.entry_id != entry_id]
        if len(kept) < len(self.entries):
            self.entries = kept
            self.touch()

    def touch(self, entry: Entry | None = None) -> None:
        """Mark an entry as changed and wake every reader."""
        self.revision += 1
        if entry is not None:
            entry.revision = self.revision
        self._changed.set()
        self._changed = asyncio.Event()

    def revision_of(self, mark: str) -> int | None:
        """The revision a page has already seen, by the last event id it got."""
        tag, _, revision = mark.partition("-")
        known = int(revision) if tag == self.tag and revision.isdecimal() else None
        return known if known is None or known <= self.revision else None

    async def changed(self, since: int) -> None:
        while self.revision <= since:
            await self._changed.wait()

    def said(self, message: Message) -> Entry:
        """The person's entry for a message; added if it is not there yet."""
        for entry in self.entries:
            if entry.kind == "user" and (
                entry.entry_id == message.message_id or _is_same_time(entry, message)
            ):
                return entry
        files = tuple(shown_file(file) for file in message.attachments)
        parts = [message.text] if message.text else []
        entry = Entry(message.message_id, "user", message.sent_at, parts, files=files)
        return self.put(entry)

    def answer(self, message: Message, entry_id: str) -> Entry:
        """The reply's entry; one from an earlier process or attempt is taken over."""
        asked = self.said(message)
        for entry in self.entries:
            if entry.entry_id == entry_id:
                return entry
        at = self.entries.index(asked) + 1
        remembered = self.entries[at] if at < len(self.entries) else None
        if remembered is not None and remembered.kind == "assistant" and not remembered.revision:
            self.entries.remove(remembered)  # stored as memory before it was delivered
            return self.put(Entry(entry_id, "assistant", message.sent_at), after=asked)
        return self.put(Entry(entry_id, "assistant", message.sent_at))


class Reader:
    """One page's view of a thread: says only what changed since it was last asked."""

    def __init__(self, thread: Thread, *, known: int | None) -> None:
        self.revision = -1 if known is None else known
        self._thread = thread
        self._sent: dict[str, dict[str, Any]] = {}
        self._order: list[str] = []

    @property
    def mark(self) -> bytes:
        return f"{self._thread.tag}-{self.revision}".encode()

    def news(self) -> dict[str, Any] | None:
        """A packet, or None. `reset` replaces all; `append` grows an entry's only part."""
        thread = self._thread
        if thread.revision <= self.revision:
            return None
        reset = self.revision < 0
        fresh = [entry for entry in thread.entries if reset or entry.revision > self.revision]
        self.revision = thread.revision
        order, before = [entry.entry_id for entry in thread.entries], self._order
        if not fresh and not reset and order == before:
            return None
        self._order = order
        return {"reset": reset, "order": order, "entries": [self._change(item) for item in fresh]}

    def _change(self, entry: Entry) -> dict[str, Any]:
        shown = entry.shown() | {"parts": list(entry.parts)}
        before = self._sent.get(entry.entry_id)
        self._sent[entry.entry_id] = shown
        if before is None or len(before["parts"]) != 1 or len(entry.parts) != 1:
            return shown
        old, new = before["parts"][0], entry.parts[0]
        if not new.startswith(old):
            return shown
        changed = {key: value for key, value in shown.items() if value != before[key]}
        changed.pop("parts", None)
        return changed | {"id": entry.entry_id, "append": new[len(old) :]}


def shown_file(file: Attachment) -> dict[str, str]:
    return {"name": file.name, "type": file.media_type, "url": f"/api/uploads/{file.locator}"}


def offered_file(file: Attachment) -> dict[str, str]:
    """A file to save; the page shows it as a link."""
    url = f"/api/uploads/{file.locator}?save={quote(file.name, safe='')}"
    return {"name": file.name, "type": "", "url": url}


def _remembered(index: int, turn: ShownTurn) -> Entry:
    files = tuple({"name": name, "type": "", "url": ""} for name in turn.file_names)
    parts = [turn.text] if turn.text else []
    return Entry(f"h{index}", turn.role, turn.said_at, parts, turn.activities, files)


def _is_same_time(entry: Entry, message: Message) -> bool:
    """Only for entries out of the history, whose revision is 0."""
    return entry.revision == 0 and abs(entry.said_at - message.sent_at) < 0.001
