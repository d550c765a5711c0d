"""One reply on Discord: placeholder, paced previews, final parts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from adapters.chat.pacing import PacedEdits, Pool, Urgency
from adapters.chat.splitting import clip
from adapters.chat.types import DeliveryError, Draft, Message, MessageGone

MESSAGE_CHARS = 2000  # docs.discord.com, resources/message
TYPING_EVERY_S = 8.0  # Discord shows it for 10 s
WAITING = "…"


class Wire(Protocol):
    """The calls a reply makes. Each raises `DeliveryError` and nothing else."""

    async def post(self, channel: int, text: str, *, reply_to: int, nonce: str) -> str: ...

    async def find(
        self, channel: int, text: str, *, after: str, reply_to: int, nonce: str
    ) -> str | None:
        """The part with this text that stands after `after` already, if any."""
        ...

    async def edit(self, channel: int, message_id: str, text: str) -> None: ...

    async def typing(self, channel: int) -> None: ...


def spot(channel_id: int, message_id: int) -> str:
    """`Message.message_id` on Discord: a chain's key alone can't tell where it was said."""
    return f"{channel_id}/{message_id}"


def spot_of(message: Message) -> tuple[int, int]:
    """The channel or thread, and the message, that a reply goes to."""
    channel_id, _, message_id = message.message_id.partition("/")
    return int(channel_id), int(message_id)


class DiscordReply:
    """Implements `ReplyStream`; `posted` is told every message id of this reply."""

    def __init__(
        self, wire: Wire, pool: Pool, message: Message, *, posted: Callable[[str], None]
    ) -> None:
        self._wire, self._pool, self._posted = wire, pool, posted
        self._channel, self._reply_to = spot_of(message)
        self._event_id = message.event_id
        self._placeholder = self._last = ""
        self._resumed = False  # an earlier attempt may have posted parts, long ago
        self._edits = PacedEdits(pool, self._edit, name=f"discord {message.event_id}")
        self._typing: asyncio.Task[None] | None = None

    async def open(self, placeholder: str | None, *, again: bool = False) -> str:
        """Post the placeholder as a reply, or adopt the one of an earlier process."""
        if placeholder is None:
            await self._pool.take(Urgency.FIRST)
            self._placeholder = await self._post(WAITING, nonce=f"o{self._event_id}")
        else:
            self._placeholder, self._resumed = placeholder, True
            self._posted(placeholder)
        name = f"typing {self._event_id}"
        self._typing = asyncio.create_task(self._keep_typing(), name=name)
        return self._placeholder

    def show(self, draft: Draft) -> None:
        if self._placeholder:
            self._edits.show(preview(draft))

    async def deliver(
        self, index: int, text: str, *, token: str, tried_s_ago: float | None = None
    ) -> str:
        """Put final part `index` in place; never skipped, and first in line for a slot."""
        if len(text) > MESSAGE_CHARS:
            detail = f"part of {len(text)} characters is over the limit of {MESSAGE_CHARS}"
            raise DeliveryError("discord", detail, retryable=False)
        await self.aclose()
        await self._pool.take(Urgency.FINAL)
        if index > 0:
            return await self._post_once(text, nonce=token)
        try:
            await self._wire.edit(self._channel, self._placeholder, text)
        except MessageGone:  # somebody deleted the placeholder: the answer is still wanted
            await self._pool.take(Urgency.FINAL)
            self._placeholder = await self._post_once(text, nonce=token)
        return self._placeholder

    async def aclose(self) -> None:
        if self._typing is not None:
            self._typing.cancel()
            await asyncio.wait((self._typing,))
            self._typing = None
        await self._edits.aclose()

    async def _edit(self, text: str) -> None:
        await self._wire.edit(self._channel, self._placeholder, text)

    async def _post_once(self, text: str, *, nonce: str) -> str:
        """Post a part; Discord itself knows a nonce for a few minutes only."""
        posted = None
        if self._resumed:
            after = self._last or self._placeholder
            posted = await self._wire.find(
                self._channel, text, after=after, reply_to=self._reply_to, nonce=nonce
            )
        if posted is None:
            posted = await self._post(text, nonce=nonce)
        self._posted(posted)
        self._last = posted
        return posted

    async def _post(self, text: str, *, nonce: str) -> str:
        message_id = await self._wire.post(
            self._channel, text, reply_to=self._reply_to, nonce=nonce
        )
        self._posted(message_id)
        return message_id

    async def _keep_typing(self) -> None:
        while True:
            try:
                await self._wire.typing(self._channel)
            except DeliveryError:
                return  # only an ornament
            await asyncio.sleep(TYPING_EVERY_S)


def preview(draft: Draft) -> str:
    """The draft as one message; while there is no text, one line of what is being done."""
    if draft.text.strip():
        return clip(draft.text, MESSAGE_CHARS)
    running = [activity.name for activity in draft.activities if activity.state == "running"]
    line = draft.status or (f"{', '.join(running)} …" if running else "")
    return clip(" ".join(line.split()), 200)
