"""Discord over its gateway: parses events, brings the connection back, answers in place."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import structlog

from adapters.chat.discord_chains import Chains, key_of
from adapters.chat.discord_events import author_of, said_in
from adapters.chat.discord_files import fetch
from adapters.chat.discord_reply import DiscordReply, spot, spot_of
from adapters.chat.discord_setup import diagnose, invite_url
from adapters.chat.discord_turns import Turns
from adapters.chat.pacing import Pool, Urgency
from adapters.chat.safe_text import sound
from adapters.chat.splitting import clip
from adapters.chat.types import (
    AdapterError,
    Attachment,
    Command,
    DeliveryError,
    Inbox,
    Limits,
    Message,
    NotAccepted,
    Receipt,
    ReplyStream,
)

if TYPE_CHECKING:
    import discord

    from adapters.chat.discord_sdk import Client, SdkWire

log = structlog.get_logger(__name__)

PUBLIC_API = "https://discord.com/api/v10"
CALLS, WINDOW_S = 5, 5.0  # per channel, sends and edits together: observed, not documented
ACCEPT_WITHIN_S = 60.0
HEALTHY_AFTER_S = 60.0
MAX_BACKOFF_S = 60.0
POOLS = 2_000
MAX_WAITING = 2_000  # messages while the store is away; each waits ACCEPT_WITHIN_S at most
LOST = "I could not store your question. Please ask again in a minute."
DENIED = "I may not answer this person here."
FULL = "Too many questions wait here already. Please ask this one again later."
EXCUSES = {Receipt.DENIED: DENIED, Receipt.FULL: FULL}  # for who sees an echo of the question
FAILED = "That did not work. Please try again in a minute."


class DiscordAdapter:
    """Implements `ChatAdapter`. discord.py keeps its address per process, so one per process."""

    def __init__(
        self,
        *,
        token: str,
        api_url: str = PUBLIC_API,
        name: str = "discord",
        gateway_url: str | None = None,
        first_backoff_s: float = 1.0,
        accept_within_s: float = ACCEPT_WITHIN_S,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._token, self._api_url, self._gateway_url = token, api_url, gateway_url
        self._name, self._first_backoff_s = name, first_backoff_s
        self._accept_within_s, self._max_waiting = accept_within_s, max_waiting
        self._client: Client | None = None
        self._wire: SdkWire | None = None
        self._pools: dict[int, Pool] = {}
        self._turns = Turns()
        self._lanes: set[asyncio.Task[None]] = set()
        self._chains = Chains(self._lookup)
        self._inbox: Inbox | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._synced = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def limits(self) -> Limits:
        return Limits(part_chars=2000, edits_per_window=CALLS, window_s=WINDOW_S)

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.in_session

    async def run(self, inbox: Inbox) -> None:
        self._inbox = inbox
        refused: AdapterError | None = None
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await self._stay_connected()
            except AdapterError as error:
                refused = error
            finally:
                self._tasks, self._client = None, None
        if refused is not None:
            raise refused

    def reply(self, message: Message) -> ReplyStream:
        channel, _ = spot_of(message)

        def posted(message_id: str) -> None:
            self._chains.posted(message_id, message.conversation)

        return DiscordReply(self._calls(), self._pool(channel), message, posted=posted)

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        own = None if self._api_url == PUBLIC_API else self._api_url
        return await fetch(attachment, max_bytes=max_bytes, own_url=own)

    async def _stay_connected(self) -> None:
        """A new client after every crash: an explicit null in a dispatch ends discord.py."""
        from adapters.chat.discord_sdk import Callbacks, Client, point_at

        point_at(self._api_url, self._gateway_url)
        callbacks = Callbacks(said=self._said, asked=self._asked, commanded=self._commanded)
        ask_gateway = self._gateway_url is None and self._api_url != PUBLIC_API
        backoff_s, loop = self._first_backoff_s, asyncio.get_running_loop()
        while True:
            started = loop.time()
            self._client = Client(callbacks, sync=not self._synced, ask_gateway=ask_gateway)
            try:
                await self._client.live(self._token)
            except AdapterError:
                raise
            except Exception as error:  # noqa: BLE001 (this lane is the whole connection)
                log.warning("discord.client_ended", error=type(error).__name__)
            self._synced |= self._client.commands_synced
            if loop.time() - started > HEALTHY_AFTER_S:
                backoff_s = self._first_backoff_s
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)

    def _said(self, message: discord.Message) -> None:
        person = not message.author.bot and message.webhook_id is None
        if not person or message.type.name not in ("default", "reply"):
            return
        if len(self._lanes) >= self._max_waiting:  # telling each of them would take minutes
            log.error("discord.event_lost", event_id=str(message.id), reason="too many waiting")
            return
        self._spawn(self._take(message), f"discord message {message.id}")

    async def _take(self, message: discord.Message) -> None:
        """Place and pass on one message; those of one channel keep their order."""
        give_up_at = self._give_up_at()
        said, excuse = None, None
        try:
            async with self._turns.turn(message.channel.id, until=give_up_at):
                said = await self._placed(message)
                excuse = None if said is None else await self._pass_on(said, give_up_at)
        except asyncio.CancelledError:  # Discord never sends it again
            log.error("discord.event_lost", event_id=str(message.id), reason="shutdown")
            raise
        if said is not None and excuse == LOST:
            await self._reply_lost(said)

    async def _placed(self, message: discord.Message) -> Message | None:
        user = self._client.user if self._client else None
        placed = await self._chains.place(message, user.id) if user else None
        if placed is None or user is None:
            return None
        return said_in(message, *placed, adapter=self._name, bot_id=user.id)

    async def _reply_lost(self, said: Message) -> None:
        channel, reply_to = spot_of(said)
        try:
            await self._pool(channel).take(Urgency.FIRST)
            await self._calls().post(channel, LOST, reply_to=reply_to, nonce=f"l{said.event_id}")
        except DeliveryError as error:
            log.warning("discord.loss_untold", event_id=said.event_id, error=str(error))

    async def _asked(self, interaction: discord.Interaction, question: str) -> None:
        """`/ask`: echo the question where all can see it, and go on as with a message."""
        from adapters.chat.discord_sdk import echo

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
        )
        self._spawn(self._pass_on_asked(interaction, said), f"discord ask {interaction.id}")

    async def _pass_on_asked(self, interaction: discord.Interaction, said: Message) -> None:
        from adapters.chat.discord_sdk import tell

        try:
            excuse = await self._pass_on(said, self._give_up_at())
        except asyncio.CancelledError:
            log.error("discord.event_lost", event_id=said.event_id, reason="shutdown")
            raise
        if excuse is not None:
            await tell(interaction, excuse)  # replaces the echo: it shows a stranger's words

    async def _commanded(self, interaction: discord.Interaction, name: str, argument: str) -> None:
        """Answered in private; acknowledged first, because Discord waits for 3 s only."""
        from adapters.chat.discord_sdk import defer, tell

        await defer(interaction)
        if interaction.channel is None or self._inbox is None:
            return
        conversation = key_of(interaction.channel, interaction.guild, None)
        command = Command(
            name, sound(argument.strip()), self._name, conversation, author_of(interaction)
        )
        try:
            async with asyncio.timeout(ACCEPT_WITHIN_S):
                answer = await self._inbox.command(command)
        except (NotAccepted, TimeoutError):
            answer = FAILED
        await tell(interaction, clip(answer, 2000))

    def _give_up_at(self) -> float:
        return asyncio.get_running_loop().time() + self._accept_within_s

    async def _pass_on(self, said: Message, give_up_at: float) -> str | None:
        """Hand over; Discord never resends, so a store that is away is asked again.

        Returns what to tell the author when there will be no answer.
        """
        if self._inbox is None:
            return LOST
        wait_s, loop = 0.2, asyncio.get_running_loop()
        while True:
            try:
                return EXCUSES.get(await self._inbox.accept(said))
            except NotAccepted:
                left_s = give_up_at - loop.time()
                if left_s <= 0:
                    log.error("discord.event_lost", event_id=said.event_id, reason="store away")
                    return LOST
                await asyncio.sleep(min(wait_s, left_s))
                wait_s = min(wait_s * 2, 10.0)

    def _spawn(self, work: Coroutine[Any, Any, object], name: str) -> None:
        if self._tasks is None:
            work.close()
            return
        lane = self._tasks.create_task(_alone(work, name), name=name)
        self._lanes.add(lane)
        lane.add_done_callback(self._lanes.discard)

    def _calls(self) -> SdkWire:
        from adapters.chat.discord_sdk import SdkWire

        if self._wire is None:
            self._wire = SdkWire(lambda: self._client, self._pool)
        return self._wire

    def _pool(self, channel: int) -> Pool:
        if channel not in self._pools:
            if len(self._pools) >= POOLS:
                self._pools.pop(next(iter(self._pools)))
            self._pools[channel] = Pool(calls=CALLS, window_s=WINDOW_S)
        return self._pools[channel]

    async def _lookup(self, channel_id: int, message_id: int) -> discord.Message | None:
        client = self._client
        return None if client is None else await client.lookup(channel_id, message_id)


async def _alone(work: Coroutine[Any, Any, object], name: str) -> None:
    """One event's failure stays its own."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 (the border of one lane)
        log.error("discord.event_broke", event=name, error=type(error).__name__)


__all__ = ["PUBLIC_API", "DiscordAdapter", "diagnose", "invite_url"]
