"""Posts in Discord's forums: a thread with a title, whose first message has the thread's id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapters.chat.safe_text import sound
from adapters.chat.splitting import clip
from adapters.chat.types import Quote

if TYPE_CHECKING:
    import discord

_QUOTE_CHARS = 4000


def is_post(channel: Any) -> bool:
    kind = getattr(getattr(channel, "parent", None), "type", None)
    return kind is not None and kind.name in ("forum", "media")


def begins_post(message: discord.Message) -> bool:
    return message.id == message.channel.id and is_post(message.channel)


def quote_of(said: discord.Message, *, title: str = "") -> Quote:
    text = sound("\n".join(filter(None, (title, said.content))))
    return Quote(str(said.author.id), clip(text, _QUOTE_CHARS), said.created_at.timestamp())


def title_of(message: discord.Message) -> Quote:
    """A post's title, which its first message does not repeat."""
    title = sound(str(getattr(message.channel, "name", "")))
    return Quote(str(message.author.id), title, message.created_at.timestamp())
