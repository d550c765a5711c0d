"""discord.py, and all that is imported from it: the client, its events and its calls."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import discord
import structlog
import yarl
from discord import app_commands
from discord.gateway import DiscordWebSocket
from discord.http import Ratelimit, Route

from adapters.chat.discord_breaker import Breaker, breaking
from adapters.chat.discord_buttons import Button
from adapters.chat.discord_callbacks import SILENT, Callbacks
from adapters.chat.discord_chains import lane_of
from adapters.chat.discord_commands import CALL_TIMEOUT_S, NO_MENTIONS, add_commands
from adapters.chat.discord_gateway import (
    FOR_GOOD,
    NOT_GRANTED,
    REFUSED,
    SILENT_FOR_S,
    close_zombies,
)
from adapters.chat.discord_limits import PromptRatelimit
from adapters.chat.discord_menus import add_menus
from adapters.chat.identifies import LANE_EVERY_S, PER_DAY, IdentifyBudget, ProcessBudget
from adapters.chat.ours import request_tracing
from adapters.chat.types import AdapterError

# discord.py reads with orjson where that is installed; orjson refuses half a character, and one
# message with it would end the client.
discord.utils._from_json = json.loads  # type: ignore[assignment]  # noqa: SLF001

if TYPE_CHECKING:
    from adapters.chat.discord import Shards

log = structlog.get_logger(__name__)

LONGEST_WAIT_S = 3600.0


def point_at(api_url: str, gateway_url: str | None) -> None:
    """Send discord.py to another server; its settings are one per process."""
    Route.BASE = api_url.rstrip("/")
    if gateway_url is not None:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)


class Client(discord.Client):
    """The gateway connection with the fewest intents and no caches of people or messages."""

    def __init__(
        self,
        callbacks: Callbacks,
        *,
        sync: bool,
        ask_gateway: bool,
        identifies: IdentifyBudget,
        breaker: Breaker,
        silent_for_s: float,
        **shards: Any,
    ) -> None:
        intents = discord.Intents.none()
        intents.guilds = intents.message_content = True
        intents.guild_messages = intents.dm_messages = True
        super().__init__(
            intents=intents,
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            allowed_mentions=NO_MENTIONS,
            max_messages=None,
            heartbeat_timeout=silent_for_s,
            max_ratelimit_timeout=CALL_TIMEOUT_S,
            http_trace=breaking(breaker, request_tracing()),
            **shards,
        )
        self._identifies, self._listens = identifies, callbacks is not SILENT
        self._lanes, self._sessions_from = 1, 0.0  # until Discord tells
        self._sessions = len(shards.get("shard_ids", "1"))
        self._callbacks, self._sync, self._ask_gateway = callbacks, sync, ask_gateway
        self.logged_in = asyncio.Event()
        self.commands_synced = False
        self._live: set[int] = set()
        self._known_bucket = self.http.get_ratelimit
        self.http.get_ratelimit = self._bucket  # type: ignore[method-assign]
        self._tree = app_commands.CommandTree(self)
        add_commands(self._tree, callbacks)
        add_menus(self._tree, callbacks.picked)

    def _bucket(self, key: str) -> Ratelimit:
        buckets = self.http._buckets  # noqa: SLF001 (no public way to choose the class)
        buckets.setdefault(key, PromptRatelimit(CALL_TIMEOUT_S))
        return self._known_bucket(key)

    async def setup_hook(self) -> None:
        if self._listens:
            await self._ask_for_sessions()
        self.logged_in.set()
        if self._sync:
            try:
                await self._tree.sync()
                self.commands_synced = True
            except discord.DiscordException as error:
                log.warning("discord.commands_not_synced", error=type(error).__name__)

    async def _ask_for_sessions(self) -> None:
        """Where the gateway is, and how many sessions Discord lets this bot begin."""
        try:
            answer = await self.http.request(Route("GET", "/gateway/bot"))
        except discord.HTTPException as error:
            if self._ask_gateway:
                raise
            log.warning("discord.no_session_limit", error=type(error).__name__)
            return
        if self._ask_gateway:
            DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(answer["url"])
        start: dict[str, Any] = answer["session_start_limit"]
        self._lanes = max(1, int(start["max_concurrency"]))
        if int(start["remaining"]) < self._sessions:
            reset_s = int(start["reset_after"]) / 1000
            self._sessions_from = asyncio.get_running_loop().time() + reset_s

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Waits as long as one more session could cost the bot its token (row C10)."""
        lane = None if shard_id is None else shard_id % self._lanes
        if lane is None:
            await super().before_identify_hook(shard_id, initial=initial)
        while wait_s := await self._must_wait_s(lane):
            if wait_s > LANE_EVERY_S:
                log.error("discord.identifies_spent", per_day=PER_DAY, free_in_s=round(wait_s))
            await asyncio.sleep(min(wait_s, LONGEST_WAIT_S))
        self._callbacks.begins(shard_id or 0)

    async def _must_wait_s(self, lane: int | None) -> float:
        """Discord's own count first: it knows of processes that share no store with this one."""
        left_s = self._sessions_from - asyncio.get_running_loop().time()
        return left_s if left_s > 0 else await self._identifies.take(lane=lane)

    @property
    def in_session(self) -> bool:
        """Every session that this process is to hold lives."""
        return len(self._live) >= self._sessions

    async def on_ready(self) -> None:
        self._live.add(0)
        self._callbacks.ready(None)
        log.info("discord.ready", guilds=len(self.guilds))

    async def on_resumed(self) -> None:
        self._live.add(0)

    async def on_disconnect(self) -> None:
        self._live.discard(0)

    async def on_message(self, message: discord.Message) -> None:
        self._callbacks.said(message)

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        self._callbacks.edited(payload.message)

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        lane = self._lane(payload.channel_id)
        self._callbacks.deleted(payload.guild_id, lane, (payload.message_id,))

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        lane = self._lane(payload.channel_id)
        self._callbacks.deleted(payload.guild_id, lane, payload.message_ids)

    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        self._callbacks.cleared(payload.guild_id, payload.parent_id, payload.thread_id)

    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        self._callbacks.cleared(channel.guild.id, channel.id, channel.id)

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """Not told while a server is only unavailable."""
        self._callbacks.removed(guild.id)

    def _lane(self, channel_id: int) -> int:
        channel = self.get_channel(channel_id)
        return channel_id if channel is None else lane_of(channel)

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        if interaction.type is discord.InteractionType.component:
            data: dict[str, Any] = dict(interaction.data or {})
            if button := Button.parse(str(data.get("custom_id", ""))):
                await self._callbacks.pressed(interaction, button)
        elif interaction.type is discord.InteractionType.modal_submit:
            await self._callbacks.sent(interaction)

    async def live(self, token: str) -> None:
        """Stay connected; raises `AdapterError` for what only an operator can mend."""
        watching = asyncio.create_task(close_zombies(self._sockets), name="discord heartbeats")
        try:
            await self.start(token)
        except discord.LoginFailure as error:
            raise AdapterError(REFUSED) from error
        except discord.PrivilegedIntentsRequired as error:
            raise AdapterError(NOT_GRANTED) from error
        except discord.ConnectionClosed as error:
            if error.code in FOR_GOOD:
                raise AdapterError(FOR_GOOD[error.code]) from error
            raise
        finally:
            watching.cancel()
            await self._end()

    def _sockets(self) -> list[DiscordWebSocket]:
        return [] if self.ws is None else [self.ws]

    async def _end(self) -> None:
        self.logged_in.clear()
        self._live.clear()
        if (waiting := self._connection._ready_task) is not None:  # noqa: SLF001
            waiting.cancel()  # else a closed client would still say that it is ready
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                await self.close()

    async def answer_only(self, token: str) -> None:
        """Logged in without the gateway, until cancelled."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self.login(token)
            self._live.add(0)
            await asyncio.Event().wait()
        except discord.LoginFailure as error:
            raise AdapterError(REFUSED) from error
        finally:
            await self._end()

    async def history(
        self, place: discord.abc.Messageable, *, since: datetime, limit: int
    ) -> list[discord.Message] | None:
        """A place's newest messages; none where the bot may not read, None while nobody can."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                messages = place.history(limit=limit, after=since, oldest_first=False)
                return [message async for message in messages]
        except (discord.Forbidden, discord.NotFound) as error:
            log.info("discord.not_read", error=type(error).__name__)
            return []
        except (discord.DiscordException, aiohttp.ClientError, OSError, RuntimeError) as error:
            log.warning("discord.not_read", error=type(error).__name__)
            return None

    async def lookup(self, channel_id: int, message_id: int) -> discord.Message | None:
        """A message by id, or None when it is gone or the bot may not read it."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await self.get_partial_messageable(channel_id).fetch_message(message_id)
        except (discord.DiscordException, aiohttp.ClientError, OSError):
            return None


class ShardedClient(Client, discord.AutoShardedClient):
    """Serves some of the bot's shards, or all of them; each has a session of its own.

    discord.py says that it is ready only when all of them are, which is but once.
    """

    def _sockets(self) -> list[DiscordWebSocket]:
        return [shard._parent.ws for shard in self.shards.values()]  # noqa: SLF001

    async def on_ready(self) -> None:
        log.info("discord.ready", guilds=len(self.guilds))

    async def on_resumed(self) -> None:
        """Told for each shard."""

    async def on_disconnect(self) -> None:
        """Told for each shard."""

    async def on_shard_ready(self, shard_id: int) -> None:
        self._live.add(shard_id)
        self._callbacks.ready(shard_id)

    async def on_shard_resumed(self, shard_id: int) -> None:
        self._live.add(shard_id)

    async def on_shard_disconnect(self, shard_id: int) -> None:
        self._live.discard(shard_id)


def client_for(
    callbacks: Callbacks,
    *,
    sync: bool,
    ask_gateway: bool,
    shards: Shards | None = None,
    identifies: IdentifyBudget | None = None,
    breaker: Breaker | None = None,
    silent_for_s: float = SILENT_FOR_S,
) -> Client:
    """A client that is not connected yet."""
    how: dict[str, Any] = {"sync": sync, "ask_gateway": ask_gateway, "silent_for_s": silent_for_s}
    how |= {"identifies": identifies or ProcessBudget(), "breaker": breaker or Breaker()}
    if shards is None:
        return Client(callbacks, **how)
    ids = list(shards.ids)
    return ShardedClient(callbacks, **how, shard_count=shards.count, shard_ids=ids)
