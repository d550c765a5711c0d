"""What Discord's gateway tells, handed to the inbox; Discord never tells it again.

Events of one channel keep their order. While the store is away each is offered for a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from adapters.chat.discord_backfill import Gaps
from adapters.chat.discord_chains import Chains, key_of, lane_of
from adapters.chat.discord_events import Place, author_of, by_a_person, place_in, said_in, tenant_in
from adapters.chat.discord_heard import Heard
from adapters.chat.discord_reply import Button, spot, spot_of
from adapters.chat.discord_turns import Turns
from adapters.chat.pacing import Pool, Urgency
from adapters.chat.safe_text import sound
from adapters.chat.sentences import mark, say
from adapters.chat.splitting import clip
from adapters.chat.types import Command, DeliveryError, Inbox, Message, NotAccepted, Press, Receipt

if TYPE_CHECKING:
    import discord

    from adapters.chat.discord_wire import SdkWire

log = structlog.get_logger(__name__)

ACCEPT_WITHIN_S = 60.0
MAX_WAITING = 2_000  # events while the store is away; each waits ACCEPT_WITHIN_S at most
FRESH_S = 900.0  # a preview of a link comes as an edit too, with the old edit time
LOST = mark("I could not store your question. Please ask again in a minute.")
DENIED = mark("I may not answer this person here.")
FULL = mark("Too many questions wait here already. Please ask this one again later.")
EXCUSES = {Receipt.DENIED: DENIED, Receipt.FULL: FULL}  # for who sees an echo of the question
FAILED = mark("That did not work. Please try again in a minute.")


class Intake:
    """The callbacks of a client; each returns at once, or acknowledges in time."""

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
        self._turns, self._gaps, self._heard = Turns(), gaps, Heard()
        self._lanes: set[asyncio.Task[None]] = set()

    def said(self, message: discord.Message) -> None:
        if by_a_person(message):
            event_id = str(message.id)
            self._spawn(self._take(message), f"discord message {event_id}", event_id=event_id)

    def edited(self, message: discord.Message) -> None:
        """Previews of links come this way too; then the time of the last edit is an old one."""
        at = message.edited_at
        if at is None or not by_a_person(message):
            return
        fresh = (datetime.now(UTC) - at).total_seconds() < FRESH_S
        if fresh and self._heard.is_new_edit(message.id, at.timestamp()):
            work = self._revise(message, at.timestamp())
            self._spawn(work, f"discord edit {message.id}", event_id=str(message.id))

    def deleted(self, guild_id: int | None, lane: int, message_ids: Iterable[int]) -> None:
        for message_id in message_ids:
            self._gone(guild_id, lane, self._heard.event_at(message_id))

    def cleared(self, guild_id: int, lane: int, place: int) -> None:
        """A channel or thread was deleted, and everything in it."""
        for event_id in self._heard.events_in(place):
            self._gone(guild_id, lane, event_id)

    def _gone(self, guild_id: int | None, lane: int, event_id: str) -> None:
        work = self._retract(guild_id, lane, event_id)
        self._spawn(work, f"discord deletion {event_id}", event_id=event_id)

    async def missed(self, message: discord.Message) -> None:
        """What a backfill found."""
        if by_a_person(message):
            await self._take(message, live=False)

    async def _take(self, message: discord.Message, *, live: bool = True) -> None:
        """Place and pass on one message; those of one channel keep their order."""
        said, excuse = None, None

        async def pass_on() -> None:
            nonlocal said, excuse
            if (said := await self._placed(message)) is not None:
                excuse = EXCUSES.get(await self._inbox.accept(said))
                self._heard.add(said)

        place = place_in(message)
        if not await self._in_turn(place, str(message.id), pass_on, live=live) and said:
            await self._reply_lost(said)

    async def _revise(self, message: discord.Message, edited_at: float) -> None:
        async def pass_on() -> None:
            said = await self._placed(message) or self._moved(message)
            if said is not None:
                await self._inbox.revise(said, edited_at=edited_at)

        await self._in_turn(place_in(message), str(message.id), pass_on)

    async def _retract(self, guild_id: int | None, lane: int, event_id: str) -> None:
        tenant = tenant_in(guild_id)

        async def pass_on() -> None:
            await self._inbox.retract(self._name, tenant, event_id)

        await self._in_turn((guild_id, lane), event_id, pass_on)

    async def _in_turn(
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
        return said_in(message, *placed, adapter=self._name, bot_id=bot_id)

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

    async def asked(self, interaction: discord.Interaction, question: str) -> None:
        """`/ask`: echo the question where all can see it, and go on as with a message."""
        from adapters.chat.discord_commands import echo

        channel = interaction.channel
        if channel is None:
            return
        question = sound(question.strip())
        shown = clip(f"<@{interaction.user.id}> asks: {question}", 2000)
        message_id = await echo(interaction, shown)
        key = key_of(channel, interaction.guild, str(message_id))
        self._chains.posted(str(message_id), key)
        if interaction.guild is not None and key.thread == str(channel.id):
            self._chains.joined(channel.id)
        said = Message(
            event_id=str(interaction.id),
            adapter=self._name,
            conversation=key,
            author=author_of(interaction),
            text=question,
            sent_at=interaction.created_at.timestamp(),
            message_id=spot(channel.id, message_id),
            addressing="command",
            locale=str(interaction.locale),
        )
        place = (interaction.guild_id, lane_of(channel))
        work = self._pass_on_asked(interaction, said, place)
        self._spawn(work, f"discord ask {interaction.id}", event_id=said.event_id)

    async def _pass_on_asked(
        self, interaction: discord.Interaction, said: Message, place: Place
    ) -> None:
        from adapters.chat.discord_commands import tell

        excuse: str | None = None

        async def pass_on() -> None:
            nonlocal excuse
            excuse = EXCUSES.get(await self._inbox.accept(said))
            self._heard.add(said)

        if not await self._in_turn(place, said.event_id, pass_on):
            excuse = LOST
        if excuse is not None:
            # In the place of the echo: that shows a stranger's words.
            await tell(interaction, say(said.locale, excuse))

    async def pressed(self, interaction: discord.Interaction, button: Button) -> None:
        """Acknowledged first; a sentence comes in private, and only when there is one."""
        from adapters.chat.discord_commands import acknowledge, whisper

        await acknowledge(interaction)
        if interaction.channel is None:
            return
        press = Press(
            button.kind,
            button.event_id,
            self._name,
            tenant_in(interaction.guild_id),
            str(interaction.channel.id),
            author_of(interaction),
            str(interaction.locale),
        )
        try:
            async with asyncio.timeout(self._accept_within_s):
                sentence = await self._inbox.press(press)
        except (NotAccepted, TimeoutError):
            sentence = say(press.locale, FAILED)
        if sentence:
            await whisper(interaction, clip(sentence, 2000))

    async def commanded(self, interaction: discord.Interaction, name: str, argument: str) -> None:
        """Answered in private; acknowledged first, because Discord waits for 3 s only."""
        from adapters.chat.discord_commands import defer, tell

        await defer(interaction)
        if interaction.channel is None:
            return
        conversation = key_of(interaction.channel, interaction.guild, None)
        author, locale = author_of(interaction), str(interaction.locale)
        said = sound(argument.strip())
        command = Command(name, said, self._name, conversation, author, locale)
        try:
            async with asyncio.timeout(self._accept_within_s):
                answer = await self._inbox.command(command)
        except (NotAccepted, TimeoutError):
            answer = say(command.locale, FAILED)
        await tell(interaction, clip(answer, 2000))

    def beside(self, work: Coroutine[Any, Any, object], name: str) -> asyncio.Task[None]:
        """Work of this connection, whose failure stays its own."""
        return self._tasks.create_task(_alone(work, name), name=name)

    def _spawn(self, work: Coroutine[Any, Any, object], name: str, *, event_id: str) -> None:
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
