"""What is said on Discord, handed to the inbox; Discord never tells it again.

Events of one channel keep their order. While the store is away each is offered for a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from adapters.chat.discord_backfill import Gaps
from adapters.chat.discord_chains import Chains, key_of
from adapters.chat.discord_events import Place, by_a_person, place_in, said_in, tenant_in
from adapters.chat.discord_heard import Heard
from adapters.chat.discord_spots import spot_of
from adapters.chat.discord_turns import Turns
from adapters.chat.pacing import Pool, Urgency
from adapters.chat.sentences import mark, say
from adapters.chat.types import DeliveryError, Inbox, Message, NotAccepted

if TYPE_CHECKING:
    import discord

    from adapters.chat.discord_wire import SdkWire

log = structlog.get_logger(__name__)

ACCEPT_WITHIN_S = 60.0
MAX_WAITING = 2_000  # events while the store is away; each waits ACCEPT_WITHIN_S at most
FRESH_S = 900.0  # a preview of a link comes as an edit too, with the old edit time
LOST = mark("I could not store your question. Please ask again in a minute.")


class Intake:
    """Messages, edits and deletions; each callback returns at once."""

    def __init__(
        self,
        inbox: Inbox,
        *,
        adapter: str,
        chains: Chains,
        gaps: Gaps,
        wire: SdkWire,
        pool: Callable[[int], Pool],
        bot_id: Callable[[], int | None],
        tasks: asyncio.TaskGroup,
        accept_within_s: float,
        max_waiting: int,
    ) -> None:
        self._inbox, self._name, self._chains, self._wire = inbox, adapter, chains, wire
        self._pool, self._bot_id, self._tasks = pool, bot_id, tasks
        self._accept_within_s, self._max_waiting = accept_within_s, max_waiting
        self._turns, self._gaps, self.heard = Turns(), gaps, Heard()
        self._lanes: set[asyncio.Task[None]] = set()

    def said(self, message: discord.Message) -> None:
        if by_a_person(message):
            event_id = str(message.id)
            self.spawn(self._take(message), f"discord message {event_id}", event_id=event_id)

    def edited(self, message: discord.Message) -> None:
        """Previews of links come this way too; then the time of the last edit is an old one."""
        at = message.edited_at
        if at is None or not by_a_person(message):
            return
        fresh = (datetime.now(UTC) - at).total_seconds() < FRESH_S
        if fresh and self.heard.is_new_edit(message.id, at.timestamp()):
            work = self._revise(message, at.timestamp())
            self.spawn(work, f"discord edit {message.id}", event_id=str(message.id))

    def deleted(self, guild_id: int | None, lane: int, message_ids: Iterable[int]) -> None:
        for message_id in message_ids:
            self._gone(guild_id, lane, self.heard.event_at(message_id))

    def cleared(self, guild_id: int, lane: int, place: int) -> None:
        """A channel or thread was deleted, and everything in it."""
        for event_id in self.heard.events_in(place):
            self._gone(guild_id, lane, event_id)

    def _gone(self, guild_id: int | None, lane: int, event_id: str) -> None:
        work = self._retract(guild_id, lane, event_id)
        self.spawn(work, f"discord deletion {event_id}", event_id=event_id)

    async def missed(self, message: discord.Message) -> None:
        """What a backfill found."""
        if by_a_person(message):
            await self._take(message, live=False)

    async def _take(self, message: discord.Message, *, live: bool = True) -> None:
        """Place and pass on one message; those of one channel keep their order."""
        said = None

        async def pass_on() -> None:
            nonlocal said
            if (said := await self._placed(message)) is not None:
                await self._inbox.accept(said)
                self.heard.add(said)

        place = place_in(message)
        if not await self.in_turn(place, str(message.id), pass_on, live=live) and said:
            await self._reply_lost(said)

    async def _revise(self, message: discord.Message, edited_at: float) -> None:
        async def pass_on() -> None:
            said = await self._placed(message) or self._moved(message)
            if said is not None:
                await self._inbox.revise(said, edited_at=edited_at)

        await self.in_turn(place_in(message), str(message.id), pass_on)

    async def _retract(self, guild_id: int | None, lane: int, event_id: str) -> None:
        tenant = tenant_in(guild_id)

        async def pass_on() -> None:
            await self._inbox.retract(self._name, tenant, event_id)

        await self.in_turn((guild_id, lane), event_id, pass_on)

    async def in_turn(
        self,
        place: Place,
        event_id: str,
        pass_on: Callable[[], Awaitable[None]],
        *,
        live: bool = True,
    ) -> bool:
        """After the channel's events before it, until the store has it; False when it never had."""
        give_up_at = asyncio.get_running_loop().time() + self._accept_within_s
        try:
            if live:
                await self._gaps.passed(*place)
            async with self._turns.turn(place[1], until=give_up_at):
                return await self._insist(pass_on, event_id, give_up_at)
        except asyncio.CancelledError:  # only a backfill finds it again
            log.warning("discord.event_left", event_id=event_id, reason="shutdown")
            raise

    async def _insist(
        self, pass_on: Callable[[], Awaitable[None]], event_id: str, give_up_at: float
    ) -> bool:
        """Hand over; Discord never resends, so a store that is away is asked again."""
        wait_s, loop = 0.2, asyncio.get_running_loop()
        while True:
            try:
                await pass_on()
            except NotAccepted:
                left_s = give_up_at - loop.time()
                if left_s <= 0:
                    log.error("discord.event_lost", event_id=event_id, reason="store away")
                    return False
                await asyncio.sleep(min(wait_s, left_s))
                wait_s = min(wait_s * 2, 10.0)
            else:
                return True

    async def _placed(self, message: discord.Message) -> Message | None:
        bot_id = self._bot_id()
        placed = await self._chains.place(message, bot_id) if bot_id else None
        if placed is None or bot_id is None:
            return None
        key, addressing = placed
        begins = key.thread == str(message.id) and self._chains.begins_thread(
            message.channel, message.guild
        )
        if begins:
            self._chains.joined(message.id)
        return said_in(
            message,
            key,
            addressing,
            adapter=self._name,
            bot_id=bot_id,
            own_thread=begins,
            quotes=await self._chains.quotes(message, bot_id),
        )

    def _moved(self, message: discord.Message) -> Message | None:
        """An edit that does not speak to the bot any more; the inbox knows where it belongs."""
        bot_id = self._bot_id()
        if bot_id is None:
            return None
        key = key_of(message.channel, message.guild, None)
        return said_in(message, key, "followup", adapter=self._name, bot_id=bot_id)

    async def _reply_lost(self, said: Message) -> None:
        channel, reply_to = spot_of(said)
        try:
            await self._pool(channel).take(Urgency.FIRST)
            await self._wire.post(
                channel, say(said.locale, LOST), reply_to=reply_to, nonce=f"l{said.event_id}"
            )
        except DeliveryError as error:
            log.warning("discord.loss_untold", event_id=said.event_id, error=str(error))

    def beside(self, work: Coroutine[Any, Any, object], name: str) -> asyncio.Task[None]:
        """Work of this connection, whose failure stays its own."""
        return self._tasks.create_task(_alone(work, name), name=name)

    def spawn(self, work: Coroutine[Any, Any, object], name: str, *, event_id: str) -> None:
        if len(self._lanes) >= self._max_waiting:  # telling each of them would take minutes
            work.close()
            log.error("discord.event_lost", event_id=event_id, reason="too many waiting")
            return
        lane = self.beside(work, name)
        self._lanes.add(lane)
        lane.add_done_callback(self._lanes.discard)


async def _alone(work: Coroutine[Any, Any, object], name: str) -> None:
    """One event's failure stays its own."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 (the border of one lane)
        log.error("discord.event_broke", lane=name, error=type(error).__name__)
