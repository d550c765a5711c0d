"""The calls of a Discord reply, over discord.py."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import TypeVar

import aiohttp
import discord
from discord.http import handle_message_parameters

from adapters.chat.discord_commands import CALL_TIMEOUT_S, NO_MENTIONS
from adapters.chat.discord_reply import Button
from adapters.chat.discord_sdk import Client
from adapters.chat.pacing import Pool
from adapters.chat.sentences import mark, say
from adapters.chat.types import DeliveryError, MessageGone, ReplyFile

T = TypeVar("T")

UNKNOWN_MESSAGE = 10008  # Discord's error code table
LOOK_BACK = 100  # messages, one call
READY_TIMEOUT_S = 30.0
_LABELS = {"stop": mark("Stop"), "again": mark("Try again"), "up": "👍", "down": "👎"}


def _is_part(
    client: Client, message: discord.Message, text: str | None, *, reply_to: int, nonce: str
) -> bool:
    """Discord need not tell a nonce; then the bot's same words to the same question count."""
    ours = client.user is not None and message.author.id == client.user.id
    answered = message.reference.message_id if message.reference else None
    same = message.nonce is None or str(message.nonce) == nonce
    said = text is None or message.content.strip() == text.strip()
    return ours and same and answered == reply_to and said


def _view(buttons: Sequence[Button]) -> discord.ui.View | None:
    """Buttons as discord.py sends them. No view is kept: a press is read from its event."""
    if not buttons:
        return None
    view = discord.ui.View(timeout=None)
    for each in buttons:
        label = say(each.locale, _LABELS[each.kind])
        view.add_item(discord.ui.Button(label=label, custom_id=each.custom_id))
    return view


class SdkWire:
    """Implements `discord_reply.Wire` over the client that is connected at the moment."""

    def __init__(self, client: Callable[[], Client | None], pool: Callable[[int], Pool]) -> None:
        self._client, self._pool = client, pool

    async def post(
        self,
        channel: int,
        text: str,
        *,
        reply_to: int,
        nonce: str,
        buttons: Sequence[Button] = (),
        file: ReplyFile | None = None,
    ) -> str:
        reference = discord.MessageReference(
            message_id=reply_to, channel_id=channel, fail_if_not_exists=False
        )

        async def send(client: Client) -> str:
            sent = discord.File(io.BytesIO(file.content), file.name) if file else None
            params = handle_message_parameters(
                content=text,
                message_reference=reference.to_message_reference_dict(),
                nonce=nonce,  # discord.py adds enforce_nonce
                flags=discord.MessageFlags(suppress_embeds=True),
                allowed_mentions=NO_MENTIONS,
                view=_view(buttons),
                file=sent or discord.utils.MISSING,
            )
            posted = await client.http.send_message(channel, params=params)
            return str(posted["id"])

        return await self._call(channel, send)

    async def find(
        self, channel: int, text: str | None, *, after: str, reply_to: int, nonce: str
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

    async def edit(
        self, channel: int, message_id: str, text: str, *, buttons: Sequence[Button] = ()
    ) -> None:
        async def change(client: Client) -> None:
            params = handle_message_parameters(
                content=text,
                flags=discord.MessageFlags(suppress_embeds=True),
                allowed_mentions=NO_MENTIONS,
                view=_view(buttons),
            )
            await client.http.edit_message(channel, message_id, params=params)

        await self._call(channel, change)

    async def delete(self, channel: int, message_id: str) -> None:
        async def remove(client: Client) -> None:
            with suppress(discord.NotFound):  # somebody was quicker
                await client.http.delete_message(channel, message_id)

        await self._call(channel, remove)

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
