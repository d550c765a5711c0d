"""Discord's objects read into the chat vocabulary. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.chat.discord_reply import spot
from adapters.chat.safe_text import sound
from adapters.chat.types import Addressing, Attachment, Author, Message
from tools.identity import ConversationKey

if TYPE_CHECKING:
    import discord


def said_in(
    message: discord.Message,
    conversation: ConversationKey,
    addressing: Addressing,
    *,
    adapter: str,
    bot_id: int,
) -> Message:
    return Message(
        event_id=str(message.id),
        adapter=adapter,
        conversation=conversation,
        author=Author(str(message.author.id), "member"),
        text=sound(_without_mention(message.content, bot_id)),
        sent_at=message.created_at.timestamp(),
        message_id=spot(message.channel.id, message.id),
        addressing=addressing,
        attachments=tuple(_attachment(file) for file in message.attachments),
    )


def author_of(interaction: discord.Interaction) -> Author:
    return Author(str(interaction.user.id), "bot" if interaction.user.bot else "member")


def _without_mention(content: str, bot_id: int) -> str:
    for form in (f"<@{bot_id}>", f"<@!{bot_id}>"):
        content = content.replace(form, "")
    return content.strip()


def _attachment(file: discord.Attachment) -> Attachment:
    media_type = sound(file.content_type or "application/octet-stream")
    name, url = sound(file.filename), sound(file.url)
    return Attachment(str(file.id), name, media_type, file.size, url)
