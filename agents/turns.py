"""The model's vocabulary: turns and their parts, plain values stored as JSON."""

from __future__ import annotations

from typing import Literal

import msgspec

from tools.contract import ToolCall, ToolResult
from tools.labels import Label

EndState = Literal["answered", "asked", "stopped", "refused", "failed"]
TurnRole = Literal["user", "assistant", "tool"]


class Text(msgspec.Struct, frozen=True, gc=False, tag="text"):
    text: str


class Image(msgspec.Struct, frozen=True, gc=False, tag="image"):
    """An image by content hash; `seen` is what a vision route said when it arrived."""

    sha256: str
    media_type: str
    name: str = ""  # untrusted text from the uploader
    seen: str = ""
    seen_by: str = ""  # route name; empty when no vision route could serve
    more: tuple[str, ...] = ()  # hashes of later key frames, of an animation or a video


class Called(msgspec.Struct, frozen=True, tag="called"):
    call: ToolCall


class Returned(msgspec.Struct, frozen=True, tag="returned"):
    result: ToolResult


Part = Text | Image | Called | Returned


class Quoted(msgspec.Struct, frozen=True, gc=False):
    """What somebody said elsewhere and a person put before the bot: untrusted text."""

    user_id: str
    text: str
    said_at: float  # epoch seconds


class Document(msgspec.Struct, frozen=True, gc=False):
    """An attached file's text: untrusted, and only as much of it as a prompt may hold."""

    sha256: str  # of the whole text, kept as a blob
    name: str  # untrusted text from the uploader
    kind: str
    text: str
    whole: bool = True


class Turn(msgspec.Struct, frozen=True, gc=False):
    """One entry of a conversation as the model sees it."""

    role: TurnRole
    parts: tuple[Part, ...]
    label: Label = Label()
    said_at: float = 0.0  # epoch seconds
    turn_id: str = ""
    quotes: tuple[Quoted, ...] = ()  # oldest first
    documents: tuple[Document, ...] = ()

    @property
    def text(self) -> str:
        return "\n".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(part for part in self.parts if isinstance(part, Image))
