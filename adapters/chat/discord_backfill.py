"""What was said while no session lived: read once more, oldest first, as if it were said now.

The inbox knows what it has heard, so that reading too far back does no harm.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog

from adapters.chat.types import Inbox, NotAccepted
from tools.identity import tenant_of

if TYPE_CHECKING:
    import discord

    from adapters.chat.discord_sdk import Client

log = structlog.get_logger(__name__)

MAX_AGE_S = 15 * 60.0
MAX_MESSAGES = 200  # of one channel
MAX_CHANNELS = 200  # of one guild, the last to be written in first


class Backfill:
    """Runs after every new session; where the bot was never spoken to, it reads nothing."""

    def __init__(self, inbox: Inbox, take: Callable[[discord.Message], Awaitable[None]]) -> None:
        self._inbox, self._take = inbox, take

    async def run(self, client: Client) -> None:
        for guild in list(client.guilds):
            await self._fill(client, await self._marks(str(guild.id)), _places_in(guild))
        marks = await self._marks("dm")
        direct = ((channel, client.get_partial_messageable(int(channel))) for channel in marks)
        await self._fill(client, marks, direct)

    async def _marks(self, workspace: str) -> Mapping[str, float]:
        try:
            marks = await self._inbox.marks(tenant_of("discord", workspace))
        except NotAccepted:
            log.warning("discord.no_marks")
            return {}
        return {channel: at for channel, at in marks.items() if channel}

    async def _fill(
        self, client: Client, marks: Mapping[str, float], places: Iterable[tuple[str, Any]]
    ) -> None:
        marked = [(marks[channel], place) for channel, place in places if channel in marks]
        marked.sort(key=lambda each: each[0], reverse=True)
        since = datetime.now(UTC) - timedelta(seconds=MAX_AGE_S)
        found: list[discord.Message] = []
        for _, place in marked[:MAX_CHANNELS]:
            found += await client.history(place, since=since, limit=MAX_MESSAGES)
        for message in sorted(found, key=lambda each: each.id):
            await self._take(message)
        if found:
            log.info("discord.backfilled", read=len(found))


def _places_in(guild: discord.Guild) -> Iterable[tuple[str, Any]]:
    """Text channels and the live threads in them, each with the channel that has the mark."""
    for channel in (*guild.text_channels, *guild.voice_channels):
        yield str(channel.id), channel
    for thread in guild.threads:
        yield str(thread.parent_id), thread
