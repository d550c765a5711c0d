"""What Discord's gateway may do to a connection: why it closes for good, and when it is dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from discord.gateway import DiscordWebSocket

log = structlog.get_logger(__name__)

# discord.py takes a connection for dead when nothing came for so long; Discord beats every 41 s.
SILENT_FOR_S = 55.0
LOOK_EVERY_S = 1.0
_LATE = 1.25  # of the time between two heartbeats, which Discord answers at once
_LEAST_S = 1.0

REFUSED = (
    "discord refused the bot token; copy a new one from the Developer Portal (page Bot, Reset"
    " Token) and set it as the bot's Discord token"
)
NOT_GRANTED = (
    "discord did not grant the intent (close code 4014); turn on “Message Content Intent” in the"
    " Developer Portal (page Bot, Privileged Gateway Intents)"
)
# Close codes after which nobody may connect again (docs.discord.com, opcodes and status codes)
FOR_GOOD: Mapping[int, str] = {
    4004: REFUSED,
    4010: "discord knows no such shard (close code 4010); discord.shard_count must be the same in"
    " every process, and each of discord.shard_ids less than it",
    4011: "discord wants the bot sharded (close code 4011); set discord.shard_count to 2 or"
    " more, one for each 1,000 servers",
    4012: "discord retired the version of its gateway that discord.py speaks (close code 4012);"
    " update firstline",
    4013: "discord knows no such intents (close code 4013); update firstline",
    4014: NOT_GRANTED,
}


async def close_zombies(sockets: Callable[[], Iterable[DiscordWebSocket]]) -> None:
    """Closes, until cancelled, each connection whose heartbeats are not acknowledged.

    discord.py counts any event as life; a session without acknowledgements is dead (docs.
    discord.com, gateway, heartbeating). With 4000 it can be resumed.
    """
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        for socket in sockets():
            beating = socket._keep_alive  # noqa: SLF001 (nothing public tells of it)
            if beating is None or not beating.interval or not socket.open:
                continue
            age_s = time.perf_counter() - beating._last_ack  # noqa: SLF001
            if age_s > beating.interval * _LATE + _LEAST_S:
                log.warning("discord.zombie", silent_s=round(age_s, 1))
                await socket.close(4000)
