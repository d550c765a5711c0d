"""What was said while no session lived: read once more, oldest first, as if it were said now.

What is said meanwhile waits, so that a mark never passes over what is still missing: whenever
this process dies, the next one begins where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from adapters.chat.discord_chains import lane_of
from adapters.chat.discord_events import tenant_in
from adapters.chat.types import Inbox, NotAccepted

if TYPE_CHECKING:
    import discord

    from adapters.chat.discord_sdk import Client

log = structlog.get_logger(__name__)

MAX_AGE_S = 15 * 60.0
MAX_MESSAGES = 200  # of one channel or thread, the newest
MAX_CHANNELS = 200  # of one guild, the last to be written in
HOLD_S = 30.0  # how long what is said now waits for what was said before
_AT_ONCE = 8  # channels
_TRIES, _AGAIN_S = 5, 2.0


class Gaps:
    """Between a new session and the end of its backfill, what is told live waits."""

    def __init__(self, inbox: Inbox, *, shard_count: int) -> None:
        self._inbox, self._count = inbox, shard_count
        self._shards: dict[int, asyncio.Event] = {}
        self._lanes: dict[int, asyncio.Event] = {}
        self._marks: dict[str, Mapping[str, float]] = {}
        self._reading = asyncio.Lock()

    def begin(self, shard: int) -> None:
        """A session is about to begin: it is not known yet where something was missed."""
        self._shards.setdefault(shard, asyncio.Event())
        self._marks = {}

    def known(self, shard: int) -> None:
        if (event := self._shards.pop(shard, None)) is not None:
            event.set()

    @contextmanager
    def lanes(self, lanes: Iterable[int]) -> Iterator[Callable[[int], None]]:
        """Hold these channels; gives what lets one of them go on."""
        held = {lane: self._lanes.setdefault(lane, asyncio.Event()) for lane in lanes}

        def free(lane: int) -> None:
            if (event := held.pop(lane, None)) is not None:
                self._lanes.pop(lane, None)
                event.set()

        try:
            yield free
        finally:
            for lane in list(held):
                free(lane)

    async def passed(self, guild_id: int | None, lane: int) -> None:
        """What was said in this place before is heard, or takes too long."""
        shard = 0 if guild_id is None else (guild_id >> 22) % self._count
        with suppress(TimeoutError):
            async with asyncio.timeout(HOLD_S):
                event = self._shards.get(shard)
                if event is not None and await self._was_heard(guild_id, lane):
                    await event.wait()
                if (event := self._lanes.get(lane)) is not None:
                    await event.wait()

    async def _was_heard(self, guild_id: int | None, lane: int) -> bool:
        """Nothing is missing where nothing was ever heard.

        Read once for a session: what is said first moves the mark, and its edit must not wait
        where it did not.
        """
        tenant, marks = tenant_in(guild_id), self._marks
        async with self._reading:
            if tenant not in marks:
                try:
                    marks[tenant] = await self._inbox.marks(tenant)
                except NotAccepted:
                    return True
        return str(lane) in marks[tenant]


class Missed(NamedTuple):
    """A channel with its threads, and until when it was heard."""

    lane: int
    until: float
    places: Sequence[Any]


class Backfill:
    """Runs after every new session; where the bot was never spoken to, it reads nothing."""

    def __init__(
        self, inbox: Inbox, gaps: Gaps, take: Callable[[discord.Message], Awaitable[None]]
    ) -> None:
        self._inbox, self._gaps, self._take = inbox, gaps, take

    async def run(self, client: Client, shard: int | None) -> None:
        """Fill the gap of one shard, or of a bot without shards."""
        try:
            missed = await self._missed(client, shard)
            with self._gaps.lanes(each.lane for each in missed) as free:
                self._gaps.known(shard or 0)
                await self._fill_all(client, missed, free)
        finally:
            self._gaps.known(shard or 0)

    async def _missed(self, client: Client, shard: int | None) -> list[Missed]:
        missed: list[Missed] = []
        for guild in list(client.guilds):
            if shard is None or guild.shard_id == shard:
                missed += _places_in(guild, await self._marks(guild.id))
        if not shard:  # direct messages come to the first one
            for channel, until in _newest(await self._marks(None)):
                place = client.get_partial_messageable(int(channel))
                missed.append(Missed(place.id, until, [place]))
        return missed

    async def _marks(self, guild_id: int | None) -> Mapping[str, float]:
        """Asked until the store is back: by then nothing was accepted either."""
        give_up_at = asyncio.get_running_loop().time() + MAX_AGE_S
        while True:
            try:
                return await self._inbox.marks(tenant_in(guild_id))
            except NotAccepted:
                if asyncio.get_running_loop().time() > give_up_at:
                    log.warning("discord.no_marks")
                    return {}
                await asyncio.sleep(0.5)

    async def _fill_all(
        self, client: Client, missed: Sequence[Missed], free: Callable[[int], None]
    ) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def fill(each: Missed) -> int:
            async with slots:
                try:
                    return await self._fill(client, each)
                finally:
                    free(each.lane)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fill(each), name="discord gap") for each in missed]
        if found := sum(task.result() for task in tasks):
            log.info("discord.backfilled", read=found)

    async def _fill(self, client: Client, missed: Missed) -> int:
        oldest = datetime.now(UTC) - timedelta(seconds=MAX_AGE_S)
        since = max(oldest, datetime.fromtimestamp(missed.until, UTC))
        found: list[discord.Message] = []
        for place in missed.places:
            found += await _read(client, place, since)
        heard_until = missed.until + 0.0005  # Discord counts in milliseconds
        new = [each for each in found if each.created_at.timestamp() > heard_until]
        for message in sorted(new, key=lambda each: each.id):
            await self._take(message)
        return len(new)


async def _read(client: Client, place: Any, since: datetime) -> Sequence[discord.Message]:
    for n in range(_TRIES):
        found = await client.history(place, since=since, limit=MAX_MESSAGES)
        if found is not None:
            return found
        await asyncio.sleep(_AGAIN_S * (n + 1))
    return ()


def _places_in(guild: discord.Guild, marks: Mapping[str, float]) -> list[Missed]:
    """The marked text channels, each with the live threads in it."""
    places: dict[str, list[Any]] = {}
    for place in (*guild.text_channels, *guild.voice_channels, *guild.threads):
        places.setdefault(str(lane_of(place)), []).append(place)
    here = {channel: at for channel, at in marks.items() if channel in places}
    return [Missed(int(channel), at, places[channel]) for channel, at in _newest(here)]


def _newest(marks: Mapping[str, float]) -> list[tuple[str, float]]:
    known = [(channel, at) for channel, at in marks.items() if channel.isdecimal()]
    return sorted(known, key=lambda each: each[1], reverse=True)[:MAX_CHANNELS]
