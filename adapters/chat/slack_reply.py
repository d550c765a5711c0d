"""One reply in Slack: a placeholder, paced edits, then the final parts, each once.

Slack has no key for idempotent posts, so every post carries its token as metadata. Where an
earlier try may have got through, the reply waits until that try can't land any more, looks for
the token, and posts only if it is absent. All else are edits, which may be repeated.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

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
from adapters.chat.slack_pacing import Pools, call_when_free, delete
from adapters.chat.slack_session import Sessions
from adapters.chat.slack_text import preview
from adapters.chat.slack_uploads import shared, upload
from adapters.chat.types import Draft, MayShow, Message, ReplyFile, always

PLACEHOLDER = "_Thinking…_"  # in English
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
_PAGES = 10  # of 200 messages; a thread that grew by more since is not searched to its end
_CLOCKS_APART_S = 60.0
_SHARED_WITHIN_S = (0.5, 1.0, 2.0)  # Slack puts a file's message in place a moment after the call


class SlackReply:
    """Implements `ReplyStream`. Ids are `channel:ts`."""

    def __init__(
        self,
        api: SlackApi,
        pools: Pools,
        sessions: Sessions,
        message: Message,
        *,
        settle_s: float,
        may_show: MayShow = always,
        rating: bool = True,
    ) -> None:
        self._api, self._pools, self._settle_s = api, pools, settle_s
        self._may_show, self._rating = may_show, rating
        self._sessions, self._in_session = sessions, False
        self._channel = message.conversation.channel
        self._thread = message.conversation.thread
        self._key = hashlib.sha256(message.event_id.encode()).hexdigest()[:25]
        self._event_id, self._locale = message.event_id, message.locale
        self._buttons = {STOP: message.event_id}
        self._not_before = f"{max(message.sent_at - _CLOCKS_APART_S, 0.0):.6f}"
        self._ts = ""
        self._shown: list[str] = []  # ids of everything that was opened or delivered here
        self._settled_at: dict[str, float] = {}  # until when (loop time) a lost post may land
        self._edits = PacedEdits(
            pools.edits(), self._edit, name=message.event_id, may_show=may_show
        )

    async def open(self, placeholder: str | None, *, again: bool = False) -> str:
        if placeholder:
            self._channel, _, self._ts = placeholder.partition(":")
            await self._processing()
            return self._seen(placeholder)
        args = content(
            self._channel,
            f"_{say(self._locale, 'Thinking…')}_",
            buttons=self._buttons,
            locale=self._locale,
        )
        tried_s_ago = 0.0 if again else None
        self._ts = await self._post(args, self._key, Urgency.FIRST, tried_s_ago=tried_s_ago)
        await self._processing()
        return self._seen(f"{self._channel}:{self._ts}")

    def show(self, draft: Draft) -> None:
        if self._ts and (text := preview(draft, PART_CHARS)):
            self._edits.show(text)

    async def deliver(
        self,
        index: int,
        text: str,
        *,
        token: str,
        tried_s_ago: float | None = None,
        offer_again: bool = False,
        offer_rating: bool = False,
    ) -> str:
        await self._edits.aclose()
        rating = offer_rating and self._rating
        buttons = under_answer(self._event_id, again=offer_again, rating=rating)
        args = content(self._channel, text, buttons=buttons, tables=True, locale=self._locale)
        if has_table(args):
            try:
                return await self._put(index, args, token, tried_s_ago)
            except SlackCallError as error:
                if error.error not in NO_TABLES:
                    raise
            args = content(self._channel, text, buttons=buttons, locale=self._locale)
        return await self._put(index, args, token, tried_s_ago)

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
        ts = await self._post(args, token, Urgency.FINAL, tried_s_ago=tried_s_ago)
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
        spot = await self._once(token, share, tried_s_ago=tried_s_ago)
        return self._seen(f"{self._channel}:{spot}")

    async def remove(self) -> None:
        await self._edits.aclose()
        while self._shown:
            await delete(self._api, self._pools, self._shown[-1])
            self._shown.pop()
        self._ts = ""

    async def aclose(self) -> None:
        await self._edits.aclose()
        if self._in_session:
            self._in_session = False
            await self._sessions.set(self._channel, self._thread, "active")

    async def _processing(self) -> None:
        self._in_session = await self._sessions.set(self._channel, self._thread, "processing")

    def _seen(self, message_id: str) -> str:
        if message_id not in self._shown:
            self._shown.append(message_id)
        return message_id

    async def _edit(self, text: str) -> None:
        """One interim edit; a refusal for speed stops everybody's for a while."""
        args = content(self._channel, text, buttons=self._buttons, locale=self._locale)
        try:
            with only_while(self._may_show, "slack"):
                await self._api.call("chat.update", ts=self._ts, **args)
        except SlackCallError as error:
            if error.retry_after_s is not None:
                self._pools.updates.pause(error.retry_after_s)
            raise

    async def _update(self, args: Mapping[str, Any], token: str) -> None:
        args = {**args, "ts": self._ts, "metadata": mark(token)}
        pool, may_show = self._pools.updates, self._may_show
        await call_when_free(self._api, "chat.update", args, pool, Urgency.FINAL, may_show=may_show)

    async def _post(
        self, args: Mapping[str, Any], token: str, urgency: Urgency, *, tried_s_ago: float | None
    ) -> str:
        args = {**args, "metadata": mark(token)}
        args |= {"thread_ts": self._thread} if self._thread else {}
        pool, may_show = self._pools.posts(self._channel), self._may_show

        async def post() -> str:
            answer = await call_when_free(
                self._api, "chat.postMessage", args, pool, urgency, may_show=may_show
            )
            await self._in_thread(answer)
            return str(answer["ts"])

        return await self._once(token, post, tried_s_ago=tried_s_ago)

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
                if found := await self._find(token):
                    return found
                await asyncio.sleep(wait_s)
        return f":{file_id}"

    async def _once(
        self, token: str, post: Callable[[], Awaitable[str]], *, tried_s_ago: float | None
    ) -> str:
        """Post once: where an earlier try may have got through, look for it first."""
        if found := await self._tried(token, tried_s_ago):
            return found
        try:
            return await post()
        except SlackCallError as error:
            settle_s = self._settle_s if error.doubtful else 0.0
            self._settled_at[token] = asyncio.get_running_loop().time() + settle_s
            if error.doubtful and (found := await self._tried(token, None)):
                return found
            raise

    async def _tried(self, token: str, tried_s_ago: float | None) -> str:
        """The ts of an earlier try that got through, or nothing; no call if there was none."""
        now = asyncio.get_running_loop().time()
        if (settled_at := self._settled_at.get(token)) is None:
            if tried_s_ago is None:
                return ""
            settled_at = now + self._settle_s - tried_s_ago
        await asyncio.sleep(max(settled_at - now, 0.0))
        return await self._find(token)

    async def _find(self, token: str) -> str:
        """Our message that carries `token`, as `ts` or `ts:file`; or nothing."""
        args: dict[str, Any] = {"channel": self._channel, "oldest": self._not_before}
        args |= {"include_all_metadata": True, "limit": 200}
        method = "conversations.history"
        if self._thread:
            method, args["ts"] = "conversations.replies", self._thread
        pool = self._pools.reads(method)
        for _ in range(_PAGES):
            answer = await call_when_free(self._api, method, args, pool, Urgency.FINAL)
            for message in answer.get("messages", ()):
                if (message.get("metadata") or {}) == mark(token):
                    return str(message["ts"])
                if file_id := shared(message, token):
                    return f"{message['ts']}:{file_id}"
            cursor = str((answer.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor:
                break
            args["cursor"] = cursor
        return ""
