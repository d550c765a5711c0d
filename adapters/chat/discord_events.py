"""Discord's objects read into the chat vocabulary. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.chat.discord_chains import lane_of
from adapters.chat.discord_spots import spot
from adapters.chat.safe_text import sound
from adapters.chat.types import Addressing, Attachment, Author, Message, Quote
from tools.identity import ConversationKey, tenant_of

if TYPE_CHECKING:
    import discord

Place = tuple[int | None, int]  # guild and channel, a thread's being the one it is in


def said_in(
    message: discord.Message,
    conversation: ConversationKey,
    addressing: Addressing,
    *,
    adapter: str,
    bot_id: int,
    own_thread: bool = False,
    quotes: tuple[Quote, ...] = (),
) -> Message:
    return Message(
        event_id=str(message.id),
        adapter=adapter,
        conversation=conversation,
        author=Author(str(message.author.id), "member"),
        text=sound(_without_mention(message.content, bot_id)),
        sent_at=message.created_at.timestamp(),
        message_id=spot(message.channel.id, message.id, own_thread=own_thread),
        addressing=addressing,
        attachments=tuple(attachment_of(file, message) for file in message.attachments),
        quotes=quotes,
    )


def author_of(interaction: discord.Interaction) -> Author:
    return Author(str(interaction.user.id), "bot" if interaction.user.bot else "member")


def place_in(message: discord.Message) -> Place:
    return None if message.guild is None else message.guild.id, lane_of(message.channel)


def tenant_in(guild_id: int | None) -> str:
    return tenant_of("discord", "dm" if guild_id is None else str(guild_id))


def by_a_person(message: discord.Message) -> bool:
    person = not message.author.bot and message.webhook_id is None
    return person and message.type.name in ("default", "reply")


def _without_mention(content: str, bot_id: int) -> str:
    for form in (f"<@{bot_id}>", f"<@!{bot_id}>"):
        content = content.replace(form, "")
    return content.strip()


def attachment_of(file: discord.Attachment, message: discord.Message) -> Attachment:
    """Its address dies within a day, so the locator also says which message tells it anew."""
    media_type, name = sound(file.content_type or "application/octet-stream"), sound(file.filename)
    locator = f"{sound(file.url)}#{spot(message.channel.id, message.id)}"
    return Attachment(str(file.id), name, media_type, file.size, locator)
