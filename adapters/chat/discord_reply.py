"""One reply on Discord: placeholder, paced previews, final parts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from adapters.chat.discord_buttons import Button
from adapters.chat.discord_spots import opens_thread, spot_of
from adapters.chat.ours import only_while
from adapters.chat.pacing import PacedEdits, Pool, Urgency
from adapters.chat.safe_text import unhidden
from adapters.chat.splitting import clip
from adapters.chat.types import (
    NO_OFFERS,
    DeliveryError,
    Draft,
    MayShow,
    Message,
    MessageGone,
    Offers,
    PressKind,
    ReplyFile,
    always,
)

log = structlog.get_logger(__name__)

MESSAGE_CHARS = 2000  # docs.discord.com, resources/message
TYPING_EVERY_S = 8.0  # Discord shows it for 10 s
WAITING = "…"


NONCE_KNOWN_S = 60.0  # Discord knows a nonce for a few minutes; after this we look ourselves


class Wire(Protocol):
    """The calls a reply makes. Each raises `DeliveryError` and nothing else."""

    async def post(
        self,
        channel: int,
        text: str,
        *,
        reply_to: int | None,
        nonce: str,
        buttons: Sequence[Button] = (),
        file: ReplyFile | None = None,
    ) -> str: ...

    async def open_thread(self, channel: int, message_id: int, title: str) -> None:
        """Begin a thread at a message; one that has its thread already is fine."""
        ...

    async def find(
        self, channel: int, text: str | None, *, after: str, reply_to: int | None, nonce: str
    ) -> str | None:
        """Our message to `reply_to` that stands after `after` already, if any; with this
        text, or None for any."""
        ...

    async def edit(
        self, channel: int, message_id: str, text: str, *, buttons: Sequence[Button] = ()
    ) -> None:
        """Buttons that stood there go; these come."""
        ...

    async def delete(self, channel: int, message_id: str) -> None:
        """One that is gone is fine."""
        ...

    async def typing(self, channel: int) -> None: ...


def _title(text: str) -> str:
    """Of a thread: at most 100 characters (docs.discord.com, channel object)."""
    return clip(" ".join(unhidden(text).split()), 90) or WAITING


def nonce_of(event_id: str) -> str:
    """The placeholder's nonce: at most 25 characters."""
    return "o" + hashlib.sha256(event_id.encode()).hexdigest()[:24]


class DiscordReply:
    """Implements `ReplyStream`; `posted` is told every message id of this reply."""

    def __init__(
        self,
        wire: Wire,
        pool: Pool,
        message: Message,
        *,
        posted: Callable[[str], None],
        may_show: MayShow = always,
        rating: bool = True,
    ) -> None:
        self._wire, self._pool, self._posted, self._may_show = wire, pool, posted, may_show
        self._channel, self._question = spot_of(message)
        self._reply_to: int | None = self._question if message.message_id else None
        self._title = _title(message.text) if opens_thread(message) else ""
        self._event_id = message.event_id
        self._nonce = nonce_of(message.event_id)
        self._placeholder = self._last = ""
        self._rating = rating
        self._shown: list[str] = []
        self._stop = Button("stop", message.event_id, message.locale)
        name = f"discord {message.event_id}"
        self._edits = PacedEdits(pool, self._show, name=name, may_show=may_show)
        self._typing: asyncio.Task[None] | None = None

    async def open(self, placeholder: str | None, *, again: bool = False) -> str:
        """Post the placeholder as a reply, or adopt the one of an earlier process."""
        await self._in_its_thread(begun=placeholder is not None)
        if placeholder is None and again:
            # Discord would know the nonce for a few minutes, and this may be later.
            placeholder = await self._in_channel()
        if placeholder is None:
            await self._pool.take(Urgency.FIRST)
            placeholder = await self._post(WAITING, nonce=self._nonce, buttons=(self._stop,))
        else:
            self._seen(placeholder)
        self._placeholder = placeholder
        name = f"typing {self._event_id}"
        self._typing = asyncio.create_task(self._keep_typing(), name=name)
        return self._placeholder

    def show(self, draft: Draft) -> None:
        if self._placeholder:
            self._edits.show(preview(draft))

    async def deliver(
        self,
        index: int,
        text: str,
        *,
        token: str,
        tried_s_ago: float | None = None,
        offers: Offers = NO_OFFERS,
    ) -> str:
        """Put final part `index` in place; never skipped, and first in line for a slot."""
        if len(text) > MESSAGE_CHARS:
            detail = f"part of {len(text)} characters is over the limit of {MESSAGE_CHARS}"
            raise DeliveryError("discord", detail, retryable=False)
        await self.aclose()
        await self._in_its_thread()
        await self._pool.take(Urgency.FINAL)
        buttons = self._final_buttons(offers)
        if index > 0:
            return await self._post_once(text, buttons, nonce=token, tried_s_ago=tried_s_ago)
        try:
            await self._edit(text, buttons)
        except MessageGone:  # somebody deleted the placeholder: the answer is still wanted
            await self._pool.take(Urgency.FINAL)
            self._placeholder = await self._post_once(
                text, buttons, nonce=token, tried_s_ago=tried_s_ago
            )
        return self._placeholder

    async def attach(
        self, index: int, file: ReplyFile, *, token: str, tried_s_ago: float | None = None
    ) -> str:
        await self.aclose()
        await self._in_its_thread()
        await self._pool.take(Urgency.FINAL)
        return await self._post_once(
            file.sentence, (), nonce=token, tried_s_ago=tried_s_ago, file=file
        )

    async def remove(self) -> None:
        await self.aclose()
        while self._shown:
            await self._wire.delete(self._channel, self._shown[-1])
            self._shown.pop()

    async def aclose(self) -> None:
        if self._typing is not None:
            self._typing.cancel()
            await asyncio.wait((self._typing,))
            self._typing = None
        await self._edits.aclose()

    async def _in_its_thread(self, *, begun: bool = False) -> None:
        """The first call makes the thread; where none may be made, the channel has to do,
        unless the reply has begun in a thread."""
        if not self._title:
            return
        try:
            with only_while(self._may_show, "discord"):
                await self._wire.open_thread(self._channel, self._question, self._title)
        except DeliveryError as error:
            if error.retryable or (begun and await self._in_channel() is None):
                raise
            log.info("discord.no_thread", error=str(error))
        else:
            self._channel, self._reply_to = self._question, None
        self._title = ""

    async def _in_channel(self) -> str | None:
        """The placeholder that stands where this reply goes, if any."""
        return await self._wire.find(
            self._channel,
            None,
            after=str(self._question),
            reply_to=self._reply_to,
            nonce=self._nonce,
        )

    async def _show(self, text: str) -> None:
        await self._edit(text, (self._stop,))

    def _final_buttons(self, offers: Offers) -> Sequence[Button]:
        kinds: list[PressKind] = ["approve", "deny"] if offers.press else []
        kinds += ["resolve"] if offers.resolve else []
        kinds += ["again"] if offers.again else []
        kinds += ["up", "down"] if offers.rating and self._rating else []
        return [Button(kind, self._event_id, self._stop.locale) for kind in kinds]

    async def _edit(self, text: str, buttons: Sequence[Button]) -> None:
        with only_while(self._may_show, "discord"):
            await self._wire.edit(self._channel, self._placeholder, text, buttons=buttons)

    async def _post_once(
        self,
        text: str,
        buttons: Sequence[Button],
        *,
        nonce: str,
        tried_s_ago: float | None,
        file: ReplyFile | None = None,
    ) -> str:
        """Post a part; Discord itself knows a nonce for a few minutes only."""
        posted = None
        if tried_s_ago is not None and tried_s_ago >= NONCE_KNOWN_S:
            after = self._last or self._placeholder
            posted = await self._wire.find(
                self._channel, text, after=after, reply_to=self._reply_to, nonce=nonce
            )
        if posted is None:
            posted = await self._post(text, nonce=nonce, buttons=buttons, file=file)
        self._seen(posted)
        self._last = posted
        return posted

    async def _post(
        self, text: str, *, nonce: str, buttons: Sequence[Button], file: ReplyFile | None = None
    ) -> str:
        with only_while(self._may_show, "discord"):
            message_id = await self._wire.post(
                self._channel,
                text,
                reply_to=self._reply_to,
                nonce=nonce,
                buttons=buttons,
                file=file,
            )
        self._seen(message_id)
        return message_id

    def _seen(self, message_id: str) -> None:
        self._posted(message_id)
        if message_id not in self._shown:
            self._shown.append(message_id)

    async def _keep_typing(self) -> None:
        while True:
            try:
                with only_while(self._may_show, "discord"):
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
