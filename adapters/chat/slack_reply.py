"""One reply in Slack: a stream or a placeholder with paced edits, then the final parts, each once.

What was posted is changed by edits, which may be repeated; what may not is `slack_tries`' part.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from msgspec import structs

from adapters.chat.ours import only_while
from adapters.chat.pacing import PacedEdits, Urgency
from adapters.chat.sentences import say
from adapters.chat.slack_api import SlackApi, SlackCallError
from adapters.chat.slack_blocks import (
    NO_TABLES,
    PART_CHARS,
    STOP,
    content,
    has_table,
    mark,
    under_answer,
)
from adapters.chat.slack_pacing import (
    STILL_STREAMED,
    Pools,
    call_when_free,
    change,
    delete,
    stop_stream,
)
from adapters.chat.slack_session import Sessions
from adapters.chat.slack_stream import Stream, StreamEnded, Streams
from adapters.chat.slack_text import preview
from adapters.chat.slack_tries import Tries
from adapters.chat.slack_uploads import upload
from adapters.chat.types import (
    NO_OFFERS,
    DeliveryError,
    Draft,
    MayShow,
    Message,
    Offers,
    ReplyFile,
    always,
)

PLACEHOLDER = "_Thinking…_"  # in English
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
_SHARED_WITHIN_S = (0.5, 1.0, 2.0)  # Slack puts a file's message in place a moment after the call


class SlackReply:
    """Implements `ReplyStream`. Ids are `channel:ts`."""

    def __init__(
        self,
        api: SlackApi,
        pools: Pools,
        sessions: Sessions,
        streams: Streams,
        message: Message,
        *,
        settle_s: float,
        may_show: MayShow = always,
        rating: bool = True,
    ) -> None:
        self._api, self._pools = api, pools
        self._may_show, self._rating = may_show, rating
        self._sessions, self._in_session = sessions, False
        self._streams = streams
        self._stream: Stream | None = None
        self._message = message
        self._channel = message.conversation.channel
        self._thread = message.conversation.thread
        self._key = hashlib.sha256(message.event_id.encode()).hexdigest()[:25]
        self._event_id, self._locale = message.event_id, message.locale
        self._buttons = {STOP: message.event_id}
        self._tries = Tries(api, pools, streams, message, settle_s=settle_s)
        self._ts = ""
        self._shown: list[str] = []  # ids of everything that was opened or delivered here
        self._edits = PacedEdits[Draft](
            pools.drafts(self._is_streamed), self._draw, name=message.event_id, may_show=may_show
        )

    async def open(self, placeholder: str | None, *, again: bool = False) -> str:
        if placeholder:
            self._channel, _, self._ts = placeholder.partition(":")
            await self._processing()
            return self._seen(placeholder)
        tried_s_ago = 0.0 if again else None
        self._ts = await self._tries.once(
            self._key, self._begin, tried_s_ago=tried_s_ago, is_first=True
        )
        await self._processing()
        return self._seen(f"{self._channel}:{self._ts}")

    async def _begin(self) -> str:
        """The first sign: a stream where Slack has its stop button beside it, else a message."""
        if self._streams.fits(self._message) and await self._sessions.has_button(
            self._channel, self._thread
        ):
            self._stream = await self._streams.start(self._message, may_show=self._may_show)
        if self._stream is not None:
            self._in_session = True
            return self._stream.ts
        text = f"_{say(self._locale, 'Thinking…')}_"
        args = content(self._channel, text, buttons=self._buttons, locale=self._locale)
        return await self._send(args, self._key, Urgency.FIRST)

    def show(self, draft: Draft) -> None:
        if self._ts and preview(draft, PART_CHARS):
            steps = tuple(structs.replace(each, detail="") for each in draft.activities)
            self._edits.show(structs.replace(draft, activities=steps))

    async def deliver(
        self,
        index: int,
        text: str,
        *,
        token: str,
        tried_s_ago: float | None = None,
        offers: Offers = NO_OFFERS,
    ) -> str:
        await self._edits.aclose()
        buttons = under_answer(self._event_id, offers, rating=self._rating)
        args = content(self._channel, text, buttons=buttons, tables=True, locale=self._locale)
        if index == 0 and await self._ended(args, token):
            return f"{self._channel}:{self._ts}"
        if has_table(args):
            try:
                return await self._put(index, args, token, tried_s_ago)
            except SlackCallError as error:
                if error.error not in NO_TABLES:
                    raise
            args = content(self._channel, text, buttons=buttons, locale=self._locale)
        return await self._put(index, args, token, tried_s_ago)

    async def _ended(self, args: Mapping[str, Any], token: str) -> bool:
        """Whether the stream said it all; else it is over now, and its message can be edited."""
        if self._stream is None:
            return False
        ends_session = self._stream.is_open
        is_whole = await self._stream.finish(args, token)
        self._stream = None
        self._in_session &= not ends_session
        return is_whole

    async def _put(
        self, index: int, args: Mapping[str, Any], token: str, tried_s_ago: float | None
    ) -> str:
        if index == 0 and self._ts:
            try:
                await self._update(args, token)
                return f"{self._channel}:{self._ts}"
            except SlackCallError as error:
                if error.error not in _GONE:
                    raise
        ts = await self._post(args, token, tried_s_ago=tried_s_ago)
        if index == 0:
            self._ts = ts
        return self._seen(f"{self._channel}:{ts}")

    async def attach(
        self, index: int, file: ReplyFile, *, token: str, tried_s_ago: float | None = None
    ) -> str:
        """The id names the file too: it outlives its message. Where Slack shows the message too
        late, the file alone is named."""
        await self._edits.aclose()
        share = partial(self._share, file, token)
        spot = await self._tries.once(token, share, tried_s_ago=tried_s_ago)
        return self._seen(f"{self._channel}:{spot}")

    async def remove(self) -> None:
        await self._edits.aclose()
        while self._shown:
            await delete(self._api, self._pools, self._shown[-1])
            self._shown.pop()
        self._ts = ""

    async def aclose(self) -> None:
        await self._edits.aclose()
        if self._stream is not None:
            with suppress(DeliveryError):
                await self._stream.stop("active")
            self._stream.give_up()
        if self._in_session and self._may_show():
            await self._sessions.set(self._channel, self._thread, "active")
        self._in_session = False

    async def _processing(self) -> None:
        if not self._in_session:
            self._in_session = await self._sessions.set(self._channel, self._thread, "processing")

    def _seen(self, message_id: str) -> str:
        if message_id not in self._shown:
            self._shown.append(message_id)
        return message_id

    def _is_streamed(self) -> bool:
        return self._stream is not None and self._stream.is_open

    async def _draw(self, draft: Draft) -> None:
        """One draft; a stream that takes no more leaves its message to the edits."""
        if self._stream is not None and self._stream.is_open:
            with suppress(StreamEnded):
                await self._stream.show(draft)
                return
        await self._edit(preview(draft, PART_CHARS))

    async def _edit(self, text: str) -> None:
        """One interim edit; a refusal for speed stops everybody's for a while."""
        args = content(self._channel, text, buttons=self._buttons, locale=self._locale)
        try:
            with only_while(self._may_show, "slack"):
                await self._api.call("chat.update", ts=self._ts, **args)
        except SlackCallError as error:
            if error.retry_after_s is not None:
                self._pools.updates.pause(error.retry_after_s)
            if error.error != STILL_STREAMED:
                raise
            where = (self._api, self._pools, self._channel, self._ts)
            await stop_stream(*where, may_show=self._may_show, session_status="processing")

    async def _update(self, args: Mapping[str, Any], token: str) -> None:
        args = {**args, "ts": self._ts, "metadata": mark(token)}
        await change(self._api, self._pools, args, may_show=self._may_show)

    async def _post(self, args: Mapping[str, Any], token: str, *, tried_s_ago: float | None) -> str:
        send = partial(self._send, args, token, Urgency.FINAL)
        return await self._tries.once(token, send, tried_s_ago=tried_s_ago)

    async def _send(self, args: Mapping[str, Any], token: str, urgency: Urgency) -> str:
        args = {**args, "metadata": mark(token)}
        args |= {"thread_ts": self._thread} if self._thread else {}
        pool, may_show = self._pools.posts(self._channel), self._may_show
        answer = await call_when_free(
            self._api, "chat.postMessage", args, pool, urgency, may_show=may_show
        )
        await self._in_thread(answer)
        return str(answer["ts"])

    async def _in_thread(self, answer: Mapping[str, Any]) -> None:
        """What landed in the open channel, for its thread is gone, is taken away at once (D8)."""
        said = answer.get("message")
        if not self._thread or not said or said.get("thread_ts"):
            return
        await delete(self._api, self._pools, f"{self._channel}:{answer['ts']}")
        raise SlackCallError("slack", "chat.postMessage", "thread_not_found", retryable=False)

    async def _share(self, file: ReplyFile, token: str) -> str:
        file_id = await upload(
            self._api,
            self._pools,
            file,
            token=token,
            channel=self._channel,
            thread=self._thread,
            may_show=self._may_show,
        )
        with suppress(SlackCallError):
            for wait_s in _SHARED_WITHIN_S:
                if found := await self._tries.find(token):
                    return found
                await asyncio.sleep(wait_s)
        return f":{file_id}"
