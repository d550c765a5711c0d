"""What a tool is: the values every tool, planner and store agree on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal, Protocol

import msgspec

from tools.identity import ConversationKey, Place, Principal
from tools.labels import Label

Effect = Literal["read", "write", "destructive", "egress"]
Idempotency = Literal["natural", "key", "none"]
JsonSchema = Mapping[str, Any]


class ToolCall(msgspec.Struct, frozen=True):
    """One planned call; `call_id` is unique in the turn and is the idempotency key's tail."""

    call_id: str
    name: str
    arguments: dict[str, Any]


class ToolResult(msgspec.Struct, frozen=True):
    """What a call gave, as text for the model; data, never an instruction."""

    call_id: str
    name: str
    text: str
    is_error: bool = False
    label: Label = Label()


class Found(msgspec.Struct, frozen=True):
    """One passage of the conversation's own memory."""

    role: str
    text: str
    said_at: float  # epoch seconds
    label: Label = Label()


class Seen(msgspec.Struct, frozen=True):
    """What a vision route says of an image."""

    text: str
    route: str
    label: Label = Label()


class Opened(msgspec.Struct, frozen=True):
    """The whole text of an attached file."""

    name: str
    text: str
    label: Label = Label()


class OpenDocument(Protocol):
    """Opens file number `document`, those of the newest message first; raises `ToolError`."""

    async def __call__(self, document: int) -> Opened: ...


class ConversationSearch(Protocol):
    """Searches the memory of the running conversation, and of no other."""

    async def __call__(self, query: str, limit: int) -> Sequence[Found]: ...


class Look(Protocol):
    """Asks the vision route about image number `image` (1 is the first of the conversation)."""

    async def __call__(self, image: int, question: str) -> Seen: ...


class Passage(msgspec.Struct, frozen=True):
    """A passage of the team's documents; `number` is what an answer cites it by."""

    number: int
    title: str
    heading: str
    text: str
    url: str = ""
    label: Label = Label()


class KnowledgeSearch(Protocol):
    """Searches what everyone who reads the reply may read; numbers go on through a turn."""

    async def __call__(self, query: str, limit: int) -> list[Passage]: ...


class Remind(Protocol):
    """Has the bot say `text` here at `at` (aware); raises `ToolError` when too much waits."""

    async def __call__(self, text: str, at: datetime) -> None: ...


class HandOver(Protocol):
    """Calls a person into the running conversation; raises `ToolError` where none can be."""

    async def __call__(self, reason: str, summary: str) -> None: ...


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What the framework hands a tool; nothing of it comes from the model."""

    principal: Principal
    place: Place
    conversation: ConversationKey
    call_key: str  # "<turn id>:<call id>", the idempotency key of this very call
    now: Callable[[], datetime]  # aware, UTC
    search: ConversationSearch
    look: Look
    open_document: OpenDocument | None = None
    remind: Remind | None = None
    hand_over: HandOver | None = None
    knowledge: KnowledgeSearch | None = None
    zone: tzinfo = UTC  # of times that people name here


@dataclass(frozen=True, slots=True)
class Tool:
    """A function a model may ask for, with everything the rules need to know about it.

    `parameters` is a JSON schema object in the subset every decoding engine agrees on.
    `example` is one (question, arguments) pair shown to the planner: tiny models need it
    more than they need the grammar. `places` and `principals` are the grants.
    """

    name: str
    description: str
    parameters: JsonSchema
    run: Callable[[ToolContext, Mapping[str, Any]], Awaitable[str | Labelled]]
    effect: Effect = "destructive"  # undeclared means the worst
    idempotency: Idempotency = "none"
    timeout_s: float = 30.0
    example: tuple[str, Mapping[str, Any]] | None = None
    principals: frozenset[str] = frozenset({"operator", "member"})
    places: frozenset[str] = frozenset({"dm", "private", "public"})
    needs_images: bool = False  # offered only when the conversation holds an image
    needs_documents: bool = False  # likewise, an attached file with text
    is_foreign: bool = False  # run by another's server: the reply says that it was used


class Labelled(msgspec.Struct, frozen=True):
    """A tool's text with the label of what it was made from."""

    text: str
    label: Label


class ToolError(Exception):
    """A tool could not do what was asked; the message is shown to the model."""
