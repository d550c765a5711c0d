"""The calls of a Discord reply, over discord.py."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import TypeVar

import aiohttp
import discord
import structlog
from discord.http import handle_message_parameters

from adapters.chat.discord_breaker import Paused
from adapters.chat.discord_buttons import Button
from adapters.chat.discord_commands import CALL_TIMEOUT_S, NO_MENTIONS
from adapters.chat.discord_errors import ANEW, ARCHIVED, HAS_ITS_THREAD, meaning_of
from adapters.chat.discord_sdk import Client
from adapters.chat.pacing import Pool
from adapters.chat.refusals import Told
from adapters.chat.sentences import mark, say
from adapters.chat.types import DeliveryError, MessageGone, ReplyFile

T = TypeVar("T")

log = structlog.get_logger(__name__)

# RuntimeError: a reconnect closed the session. The last three: a proxy's page, or half an answer,
# in place of Discord's object; a nonce makes it safe to try again.
_NO_ANSWER = (
    discord.DiscordException,
    aiohttp.ClientError,
    OSError,
    RuntimeError,
    KeyError,
    TypeError,
    ValueError,
)
LOOK_BACK = 100  # messages, one call
READY_TIMEOUT_S = 30.0
_LABELS = {
    "stop": mark("Stop"),
    "again": mark("Try again"),
    "up": "👍",
    "down": "👎",
    "approve": mark("Approve"),
    "deny": mark("Refuse"),
    "resolve": mark("Resolved"),
}


def _is_part(
    client: Client, message: discord.Message, text: str | None, *, reply_to: int | None, nonce: str
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


async def _opened_again(client: Client, thread: int) -> bool:
    """An archived thread takes new messages, but no edits; a locked one only moderators open."""
    try:
        await client.http.edit_channel(thread, archived=False)
    except (discord.Forbidden, discord.NotFound):
        return False
    return True


class SdkWire:
    """Implements `discord_reply.Wire` over the client that is connected at the moment."""

    def __init__(self, client: Callable[[], Client | None], pool: Callable[[int], Pool]) -> None:
        self._client, self._pool = client, pool
        self._told = Told(adapter="discord", event="discord.refused")

    async def post(
        self,
        channel: int,
        text: str,
        *,
        reply_to: int | None,
        nonce: str,
        buttons: Sequence[Button] = (),
        file: ReplyFile | None = None,
    ) -> str:
        answered = discord.utils.MISSING
        if reply_to is not None:
            answered = discord.MessageReference(
                message_id=reply_to, channel_id=channel, fail_if_not_exists=False
            ).to_message_reference_dict()

        async def send(client: Client) -> str:
            sent = discord.File(io.BytesIO(file.content), file.name) if file else None
            params = handle_message_parameters(
                content=text,
                message_reference=answered,
                nonce=nonce,  # discord.py adds enforce_nonce
                flags=discord.MessageFlags(suppress_embeds=True),
                allowed_mentions=NO_MENTIONS,
                view=_view(buttons),
                file=sent or discord.utils.MISSING,
            )
            posted = await client.http.send_message(channel, params=params)
            return str(posted["id"])

        return await self._call(channel, send)

    async def open_thread(self, channel: int, message_id: int, title: str) -> None:
        async def begin(client: Client) -> None:
            try:
                await client.http.start_thread_with_message(
                    channel, message_id, name=title, auto_archive_duration=1440
                )
            except discord.HTTPException as error:
                if error.code != HAS_ITS_THREAD:
                    raise

        await self._call(channel, begin)

    async def find(
        self, channel: int, text: str | None, *, after: str, reply_to: int | None, nonce: str
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
        with self._refusals(channel):
            async with asyncio.timeout(CALL_TIMEOUT_S):
                client = await self._connected()
                try:
                    return await call(client)
                except discord.HTTPException as error:
                    if error.code != ARCHIVED or not await _opened_again(client, channel):
                        raise
                return await call(client)

    @contextmanager
    def answering(self, channel: int | None) -> Iterator[None]:
        """An answer to an interaction: where it fails, Discord itself tells the person."""
        try:
            with self._refusals(channel or 0):
                yield
        except DeliveryError as error:
            log.info("discord.interaction_unanswered", error=str(error))

    @contextmanager
    def _refusals(self, channel: int) -> Iterator[None]:
        """What discord.py raises, as `DeliveryError`; the operator is told what to mend."""
        try:
            yield
        except discord.RateLimited as error:
            self._pool(channel).pause(error.retry_after)
            detail = f"rate limit, free again in {error.retry_after:.0f} s"
            raise DeliveryError("discord", detail, retryable=True) from error
        except discord.HTTPException as error:
            meaning = meaning_of(error.code, error.status)
            if not meaning.passes:
                self._told.tell(error.code, str(channel), meaning.remedy)
            detail = f"HTTP {error.status}, code {error.code}"
            detail += f"; {meaning.remedy}" if meaning.remedy else ""
            kind = MessageGone if error.code in ANEW else DeliveryError
            raise kind("discord", detail, retryable=meaning.passes) from error
        except Paused as error:
            raise DeliveryError("discord", str(error), retryable=True) from error
        except _NO_ANSWER as error:
            detail = f"no answer ({type(error).__name__})"
            raise DeliveryError("discord", detail, retryable=True) from error

    async def _connected(self) -> Client:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while (client := self._client()) is None or not client.logged_in.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # a crash replaces the client, and its event
        return client
