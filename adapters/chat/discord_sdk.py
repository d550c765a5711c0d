"""discord.py, and all that is imported from it: the client, its events and its calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import discord
import structlog
import yarl
from discord import app_commands
from discord.gateway import DiscordWebSocket
from discord.http import Ratelimit, Route, handle_message_parameters

from adapters.chat.pacing import Pool
from adapters.chat.types import AdapterError, DeliveryError, MessageGone

# discord.py reads with orjson where that is installed; orjson refuses half a character, and one
# message with it would end the client.
discord.utils._from_json = json.loads  # type: ignore[assignment]  # noqa: SLF001

T = TypeVar("T")
log = structlog.get_logger(__name__)

UNKNOWN_MESSAGE = 10008  # Discord's error code table
CALL_TIMEOUT_S = 60.0
LOOK_BACK = 100  # messages, one call
READY_TIMEOUT_S = 30.0
NO_MENTIONS = discord.AllowedMentions.none()
COMMANDS = {"model": "Show or switch the model", "reset": "Forget this conversation"}
REFUSED = (
    "discord refused the bot token; copy a new one from the Developer Portal (page Bot, Reset"
    " Token) and set it as the bot's Discord token"
)
NOT_GRANTED = (
    "discord did not grant the intent (close code 4014); turn on “Message Content Intent” in the"
    " Developer Portal (page Bot, Privileged Gateway Intents)"
)


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the adapter does with events; each returns at once or acknowledges in time."""

    said: Callable[[discord.Message], None]
    asked: Callable[[discord.Interaction, str], Awaitable[None]]
    commanded: Callable[[discord.Interaction, str, str], Awaitable[None]]


def point_at(api_url: str, gateway_url: str | None) -> None:
    """Send discord.py to another server; its settings are one per process."""
    Route.BASE = api_url.rstrip("/")
    if gateway_url is not None:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)


class PromptRatelimit(Ratelimit):
    """Gives the answer of a bucket's last call back at once.

    discord.py 2.7 holds that answer until the bucket is full again (5 s for messages); here
    the next call waits instead, and a part that arrived is known to have arrived.
    """

    async def __aexit__(self, *error: Any) -> None:
        unknown = self.expires is None  # the answer had no limits in it: nothing to wait for
        if unknown or self._pending_requests or self.remaining - self.outgoing >= 0:
            await super().__aexit__(*error)
        else:
            self.outgoing -= 1

    async def _refresh(self) -> None:
        if self.expires is not None:
            self.reset_after = max(0.0, self.expires - self._loop.time())
        await super()._refresh()


class Client(discord.Client):
    """The gateway connection with the fewest intents and no caches of people or messages."""

    def __init__(self, callbacks: Callbacks, *, sync: bool, ask_gateway: bool) -> None:
        intents = discord.Intents.none()
        intents.guilds = intents.message_content = True
        intents.guild_messages = intents.dm_messages = True
        super().__init__(
            intents=intents,
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            allowed_mentions=NO_MENTIONS,
            max_messages=None,
            max_ratelimit_timeout=CALL_TIMEOUT_S,
        )
        self._callbacks, self._sync, self._ask_gateway = callbacks, sync, ask_gateway
        self.logged_in = asyncio.Event()
        self.commands_synced = self.in_session = False
        self._known_bucket = self.http.get_ratelimit
        self.http.get_ratelimit = self._bucket  # type: ignore[method-assign]
        self._tree = app_commands.CommandTree(self)
        _add_commands(self._tree, callbacks)

    def _bucket(self, key: str) -> Ratelimit:
        buckets = self.http._buckets  # noqa: SLF001 (no public way to choose the class)
        buckets.setdefault(key, PromptRatelimit(CALL_TIMEOUT_S))
        return self._known_bucket(key)

    async def setup_hook(self) -> None:
        if self._ask_gateway:
            answer = await self.http.request(Route("GET", "/gateway"))
            DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(answer["url"])
        self.logged_in.set()
        if self._sync:
            try:
                await self._tree.sync()
                self.commands_synced = True
            except discord.DiscordException as error:
                log.warning("discord.commands_not_synced", error=type(error).__name__)

    async def on_ready(self) -> None:
        self.in_session = True
        log.info("discord.ready", guilds=len(self.guilds))

    async def on_resumed(self) -> None:
        self.in_session = True

    async def on_disconnect(self) -> None:
        self.in_session = False

    async def on_message(self, message: discord.Message) -> None:
        self._callbacks.said(message)

    async def live(self, token: str) -> None:
        """Stay connected; raises `AdapterError` for what only an operator can mend."""
        try:
            await self.start(token)
        except discord.LoginFailure as error:
            raise AdapterError(REFUSED) from error
        except discord.PrivilegedIntentsRequired as error:
            raise AdapterError(NOT_GRANTED) from error
        except discord.ConnectionClosed as error:
            if error.code == 4004:
                raise AdapterError(REFUSED) from error
            if error.code == 4014:
                raise AdapterError(NOT_GRANTED) from error
            if 4010 <= error.code <= 4013:
                raise AdapterError(f"discord closed the gateway for good ({error.code})") from error
            raise
        finally:
            self.logged_in.clear()
            self.in_session = False
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await self.close()

    async def lookup(self, channel_id: int, message_id: int) -> discord.Message | None:
        """A message by id, or None when it is gone or the bot may not read it."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await self.get_partial_messageable(channel_id).fetch_message(message_id)
        except (discord.DiscordException, aiohttp.ClientError, OSError):
            return None


def _add_commands(tree: app_commands.CommandTree[Any], callbacks: Callbacks) -> None:
    @tree.command(name="ask", description="Ask the assistant a question")
    @app_commands.describe(question="Your question")
    async def ask(interaction: discord.Interaction, question: str) -> None:
        await callbacks.asked(interaction, question)

    @tree.command(name="model", description=COMMANDS["model"])
    @app_commands.describe(route="The route to use from now on; empty shows them all")
    async def model(interaction: discord.Interaction, route: str = "") -> None:
        await callbacks.commanded(interaction, "model", route)

    @tree.command(name="reset", description=COMMANDS["reset"])
    async def reset(interaction: discord.Interaction) -> None:
        await callbacks.commanded(interaction, "reset", "")


async def echo(interaction: discord.Interaction, text: str) -> int:
    """Answer a slash command visibly; returns the message's id."""
    async with asyncio.timeout(CALL_TIMEOUT_S):
        answer = await interaction.response.send_message(
            text, allowed_mentions=NO_MENTIONS, suppress_embeds=True
        )
    if answer.message_id is None:
        raise DeliveryError("discord", "the acknowledgement has no id", retryable=False)
    return answer.message_id


async def defer(interaction: discord.Interaction) -> None:
    """Acknowledge a slash command in private; `tell` completes it."""
    async with asyncio.timeout(CALL_TIMEOUT_S):
        await interaction.response.defer(ephemeral=True)


async def tell(interaction: discord.Interaction, text: str) -> None:
    async with asyncio.timeout(CALL_TIMEOUT_S):
        await interaction.edit_original_response(content=text, allowed_mentions=NO_MENTIONS)


def _is_part(
    client: Client, message: discord.Message, text: str, *, reply_to: int, nonce: str
) -> bool:
    """Discord need not tell a nonce; then the bot's same words to the same question count."""
    ours = client.user is not None and message.author.id == client.user.id
    answered = message.reference.message_id if message.reference else None
    same = message.nonce is None or str(message.nonce) == nonce
    return ours and same and answered == reply_to and message.content.strip() == text.strip()


class SdkWire:
    """Implements `discord_reply.Wire` over the client that is connected at the moment."""

    def __init__(self, client: Callable[[], Client | None], pool: Callable[[int], Pool]) -> None:
        self._client, self._pool = client, pool

    async def post(self, channel: int, text: str, *, reply_to: int, nonce: str) -> str:
        reference = discord.MessageReference(
            message_id=reply_to, channel_id=channel, fail_if_not_exists=False
        )

        async def send(client: Client) -> str:
            posted = await client.get_partial_messageable(channel).send(
                text,
                reference=reference,
                nonce=nonce,  # discord.py adds enforce_nonce
                allowed_mentions=NO_MENTIONS,
                suppress_embeds=True,
            )
            return str(posted.id)

        return await self._call(channel, send)

    async def find(
        self, channel: int, text: str, *, after: str, reply_to: int, nonce: str
    ) -> str | None:
        async def look(client: Client) -> str | None:
            place, since = client.get_partial_messageable(channel), discord.Object(int(after))
            try:
                history = place.history(limit=LOOK_BACK, after=since, oldest_first=True)
                async with aclosing(history) as messages:  # type: ignore[type-var]
                    async for each in messages:
                        if _is_part(client, each, text, reply_to=reply_to, nonce=nonce):
                            return str(each.id)
            except (discord.Forbidden, discord.NotFound):
                pass  # the bot may not read there: an answer twice is better than none
            return None

        return await self._call(channel, look)

    async def edit(self, channel: int, message_id: str, text: str) -> None:
        async def change(client: Client) -> None:
            params = handle_message_parameters(
                content=text,
                flags=discord.MessageFlags(suppress_embeds=True),
                allowed_mentions=NO_MENTIONS,
            )
            await client.http.edit_message(channel, message_id, params=params)

        await self._call(channel, change)

    async def typing(self, channel: int) -> None:
        async def show(client: Client) -> None:
            await client.http.send_typing(channel)

        await self._call(channel, show)

    async def _call(self, channel: int, call: Callable[[Client], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await call(await self._connected())
        except discord.RateLimited as error:
            self._pool(channel).pause(error.retry_after)
            detail = f"rate limit, free again in {error.retry_after:.0f} s"
            raise DeliveryError("discord", detail, retryable=True) from error
        except discord.HTTPException as error:
            again = error.status == 429 or error.status >= 500
            detail = f"HTTP {error.status}, code {error.code}"
            if error.code == UNKNOWN_MESSAGE:
                raise MessageGone("discord", detail, retryable=False) from error
            raise DeliveryError("discord", detail, retryable=again) from error
        except (discord.DiscordException, aiohttp.ClientError, OSError, RuntimeError) as error:
            # RuntimeError: the session was closed by a reconnect
            detail = f"no answer ({type(error).__name__})"
            raise DeliveryError("discord", detail, retryable=True) from error

    async def _connected(self) -> Client:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while (client := self._client()) is None or not client.logged_in.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # a crash replaces the client, and its event
        return client
