"""What Discord proposes while a command is typed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from adapters.chat.discord_chains import key_of
from adapters.chat.discord_events import author_of
from adapters.chat.safe_text import sound
from adapters.chat.types import Command, Inbox, NotAccepted

if TYPE_CHECKING:
    import discord

_WITHIN_S = 2.0  # Discord waits for 3


async def suggestions(
    inbox: Inbox, adapter: str, interaction: discord.Interaction, name: str, typed: str
) -> Sequence[str]:
    """What the inbox knows, or nothing: nobody is told of a failure while typing."""
    if interaction.channel is None:
        return ()
    key = key_of(interaction.channel, interaction.guild, None)
    author, locale = author_of(interaction), str(interaction.locale)
    try:
        async with asyncio.timeout(_WITHIN_S):
            return await inbox.suggest(Command(name, sound(typed), adapter, key, author, locale))
    except (NotAccepted, TimeoutError):
        return ()
