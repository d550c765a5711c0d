"""Discord over its gateway: parses events, brings the connection back, answers in place."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from adapters.chat.discord_backfill import Backfill, Gaps
from adapters.chat.discord_breaker import Breaker
from adapters.chat.discord_callbacks import SILENT, Callbacks
from adapters.chat.discord_chains import Chains
from adapters.chat.discord_events import tenant_in
from adapters.chat.discord_files import fetch
from adapters.chat.discord_gateway import SILENT_FOR_S
from adapters.chat.discord_intake import ACCEPT_WITHIN_S, MAX_WAITING, Intake
from adapters.chat.discord_reply import DiscordReply
from adapters.chat.discord_setup import diagnose, invite_url
from adapters.chat.discord_spots import place_of_reply
from adapters.chat.discord_suggest import suggestions
from adapters.chat.identifies import IdentifyBudget, ProcessBudget
from adapters.chat.pacing import Pool
from adapters.chat.types import (
    AdapterError,
    Attachment,
    ChannelRules,
    Inbox,
    Limits,
    MayShow,
    Message,
    ReplyStream,
    always,
    usual,
)
from tools.identity import ConversationKey

if TYPE_CHECKING:
    import discord

    from adapters.chat.discord_sdk import Client
    from adapters.chat.discord_wire import SdkWire

log = structlog.get_logger(__name__)

PUBLIC_API = "https://discord.com/api/v10"
CALLS, WINDOW_S = 5, 5.0  # per channel, sends and edits together: observed, not documented
HEALTHY_AFTER_S = 60.0
MAX_BACKOFF_S = 60.0
POOLS = 2_000


@dataclass(frozen=True, slots=True)
class Shards:
    """Which of the bot's `count` shards this process serves; Discord numbers them from 0."""

    count: int
    ids: tuple[int, ...]


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
        shards: Shards | None = None,
        identifies: IdentifyBudget | None = None,
        rules: ChannelRules = usual,
        feedback: bool = True,
        breaker: Breaker | None = None,
        silent_for_s: float = SILENT_FOR_S,
    ) -> None:
        self._token, self._api_url, self._gateway_url = token, api_url, gateway_url
        self._name, self._first_backoff_s = name, first_backoff_s
        self._accept_within_s, self._max_waiting = accept_within_s, max_waiting
        self._client: Client | None = None
        self._wire: SdkWire | None = None
        self._pools: dict[int, Pool] = {}
        self._shards, self._identifies = shards, identifies or ProcessBudget()
        self._chains = Chains(self._lookup, rules)
        self._synced, self._rating = False, feedback
        self._breaker, self._silent_for_s = breaker or Breaker(), silent_for_s
        self._left: dict[str, int] = {}  # servers that removed the bot, by their tenants

    @property
    def name(self) -> str:
        return self._name

    @property
    def limits(self) -> Limits:
        return Limits(part_chars=2000, edits_per_window=CALLS, window_s=WINDOW_S)

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.in_session

    @property
    def warnings(self) -> Mapping[str, str]:
        """Why nothing is sent at all, if so."""
        return {self._name: reason} if (reason := self._breaker.reason) else {}

    def paused(self, tenant: str) -> str:
        """Why nothing can be said in this tenant now, or nothing."""
        guild_id = self._left.get(tenant)
        if guild_id is None:
            return ""
        if self._client is not None and self._client.get_guild(guild_id) is not None:
            del self._left[tenant]  # invited again
            return ""
        return "the bot was removed from the server"

    def has_left(self, tenant: str) -> bool:
        """Whether the platform told us that the bot was removed there."""
        return bool(self.paused(tenant))

    def _removed(self, guild_id: int) -> None:
        tenant = tenant_in(guild_id)
        log.error("discord.removed", tenant=tenant, remedy="invite the bot again, if wanted")
        self._left[tenant] = guild_id

    async def run(self, inbox: Inbox) -> None:
        refused: AdapterError | None = None
        async with asyncio.TaskGroup() as tasks:
            try:
                await self._stay_connected(self._callbacks(inbox, tasks))
            except AdapterError as error:
                refused = error
            finally:
                self._client = None
        if refused is not None:
            raise refused

    async def answer_only(self) -> None:
        from adapters.chat.discord_sdk import client_for, point_at

        point_at(self._api_url, self._gateway_url)
        self._client = client_for(SILENT, sync=False, ask_gateway=False, breaker=self._breaker)
        try:
            await self._client.answer_only(self._token)
        finally:
            self._client = None

    def reply(self, message: Message, *, may_show: MayShow = always) -> ReplyStream:
        def posted(message_id: str) -> None:
            self._chains.posted(message_id, message.conversation)

        return DiscordReply(
            self._calls(),
            self._pool(place_of_reply(message)),
            message,
            posted=posted,
            may_show=may_show,
            rating=self._rating,
        )

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        own = None if self._api_url == PUBLIC_API else self._api_url
        return await fetch(attachment, max_bytes=max_bytes, own_url=own, anew=self._address_anew)

    async def _address_anew(self, channel_id: int, message_id: int, file_id: str) -> str | None:
        message = await self._lookup(channel_id, message_id)
        files = message.attachments if message is not None else ()
        return next((file.url for file in files if str(file.id) == file_id), None)

    async def remove(self, conversation: ConversationKey, message_ids: Sequence[str]) -> None:
        """The key of a chain of replies does not say which it is: a thread, or a channel."""
        places = [int(conversation.channel)]
        if conversation.thread is not None:
            places.append(int(conversation.thread))
        for message_id in message_ids:
            for place in places:
                await self._calls().delete(place, message_id)

    def _callbacks(self, inbox: Inbox, tasks: asyncio.TaskGroup) -> Callbacks:
        from adapters.chat.discord_interactions import Interactions
        from adapters.chat.discord_menus import Menus

        gaps = Gaps(inbox, shard_count=self._shards.count if self._shards else 1)
        intake = Intake(
            inbox,
            adapter=self._name,
            chains=self._chains,
            gaps=gaps,
            wire=self._calls(),
            pool=self._pool,
            bot_id=self._bot_id,
            tasks=tasks,
            accept_within_s=self._accept_within_s,
            max_waiting=self._max_waiting,
        )
        interactions = Interactions(
            inbox,
            adapter=self._name,
            chains=self._chains,
            intake=intake,
            wire=self._calls(),
            accept_within_s=self._accept_within_s,
        )
        menus = Menus(
            inbox,
            adapter=self._name,
            chains=self._chains,
            intake=intake,
            wire=self._calls(),
            client=lambda: self._client,
        )
        backfill = Backfill(inbox, gaps, intake.missed)

        def ready(shard: int | None) -> None:
            if (client := self._client) is not None:
                intake.beside(backfill.run(client, shard), "discord backfill")

        return Callbacks(
            said=intake.said,
            edited=intake.edited,
            deleted=intake.deleted,
            cleared=intake.cleared,
            asked=interactions.asked,
            commanded=interactions.commanded,
            suggested=partial(suggestions, inbox, self._name),
            picked=menus.picked,
            sent=menus.sent,
            pressed=interactions.pressed,
            removed=self._removed,
            begins=gaps.begin,
            ready=ready,
        )

    async def _stay_connected(self, callbacks: Callbacks) -> None:
        """A new client after every crash: an explicit null in a dispatch ends discord.py."""
        from adapters.chat.discord_sdk import client_for, point_at

        point_at(self._api_url, self._gateway_url)
        ask_gateway = self._gateway_url is None and self._api_url != PUBLIC_API
        backoff_s, loop = self._first_backoff_s, asyncio.get_running_loop()
        while True:
            started = loop.time()
            self._client = client_for(
                callbacks,
                sync=not self._synced,
                ask_gateway=ask_gateway,
                shards=self._shards,
                identifies=self._identifies,
                breaker=self._breaker,
                silent_for_s=self._silent_for_s,
            )
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

    def _calls(self) -> SdkWire:
        from adapters.chat.discord_wire import SdkWire

        if self._wire is None:
            self._wire = SdkWire(lambda: self._client, self._pool)
        return self._wire

    def _pool(self, channel: int) -> Pool:
        if channel not in self._pools:
            if len(self._pools) >= POOLS:
                self._pools.pop(next(iter(self._pools)))
            self._pools[channel] = Pool(calls=CALLS, window_s=WINDOW_S, spread=True)
        return self._pools[channel]

    def _bot_id(self) -> int | None:
        user = self._client.user if self._client else None
        return None if user is None else user.id

    async def _lookup(self, channel_id: int, message_id: int) -> discord.Message | None:
        client = self._client
        return None if client is None else await client.lookup(channel_id, message_id)


__all__ = ["PUBLIC_API", "DiscordAdapter", "Shards", "diagnose", "invite_url"]
