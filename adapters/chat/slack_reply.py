"""One reply in Slack: a placeholder, paced edits, then the final parts, each once."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from adapters.chat.pacing import PacedEdits, Pool, Urgency
from adapters.chat.slack_api import SlackApi, SlackCallError
from adapters.chat.slack_text import fallback, preview, unpinged
from adapters.chat.types import Draft, Message

PART_CHARS = 11_000  # a markdown block takes 12,000
PLACEHOLDER = "_Thinking…_"
MARK = "firstline_part"
LONGEST_WAIT_S = 60.0  # a longer Retry-After is given back to the caller
_TRIES = 5
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
_CHANNELS = 2_000


class Pools:
    """Slack's limits: chat.update per workspace, chat.postMessage per channel."""

    def __init__(self, *, updates: int, window_s: float, edit_every_s: float) -> None:
        self.updates = Pool(calls=updates, window_s=window_s, reserve=updates // 4)
        self._edit_every_s = edit_every_s
        self._posts: OrderedDict[str, Pool] = OrderedDict()

    def posts(self, channel: str) -> Pool:
        if channel not in self._posts:
            # one a second on average; Slack allows short bursts
            self._posts[channel] = Pool(calls=3, window_s=3.0, reserve=0)
        self._posts.move_to_end(channel)
        if len(self._posts) > _CHANNELS:
            self._posts.popitem(last=False)
        return self._posts[channel]

    def edits(self) -> Pool:
        """The pool of one message's interim edits: slow by itself, and within `updates`."""
        return _Slow(self.updates, self._edit_every_s)


class _Slow(Pool):
    def __init__(self, shared: Pool, every_s: float) -> None:
        super().__init__(calls=1, window_s=every_s, reserve=0)
        self._shared = shared

    async def take(self, urgency: Urgency) -> None:
        await super().take(urgency)
        await self._shared.take(urgency)


class SlackReply:
    """Implements `ReplyStream`. Ids are `channel:ts`."""

    def __init__(self, api: SlackApi, pools: Pools, message: Message, *, settle_s: float) -> None:
        self._api, self._pools, self._settle_s = api, pools, settle_s
        self._channel = message.conversation.channel
        self._thread = message.conversation.thread
        self._key = hashlib.sha256(message.event_id.encode()).hexdigest()[:25]
        self._ts = ""
        self._doubtful = False  # an earlier try may have posted something
        self._edits = PacedEdits(pools.edits(), self._edit, name=message.event_id)

    async def open(self, placeholder: str | None, *, again: bool = False) -> str:
        if placeholder:
            self._channel, _, self._ts = placeholder.partition(":")
            self._doubtful = True
            return placeholder
        self._ts = await self._post(PLACEHOLDER, token=self._key, urgency=Urgency.FIRST)
        return f"{self._channel}:{self._ts}"

    def show(self, draft: Draft) -> None:
        if self._ts and (text := preview(draft, PART_CHARS)):
            self._edits.show(text)

    async def deliver(
        self, index: int, text: str, *, token: str, tried_s_ago: float | None = None
    ) -> str:
        await self._edits.aclose()
        if index == 0 and self._ts:
            try:
                await self._update(text, token)
                return f"{self._channel}:{self._ts}"
            except SlackCallError as error:
                if error.error not in _GONE:
                    raise
        ts = await self._post(text, token=token, urgency=Urgency.FINAL)
        if index == 0:
            self._ts = ts
        return f"{self._channel}:{ts}"

    async def aclose(self) -> None:
        await self._edits.aclose()

    async def _edit(self, text: str) -> None:
        """One interim edit; a refusal for speed stops everybody's for a while."""
        try:
            await self._api.call("chat.update", ts=self._ts, **self._content(text))
        except SlackCallError as error:
            if error.retry_after_s is not None:
                self._pools.updates.pause(error.retry_after_s)
            raise

    async def _update(self, text: str, token: str) -> None:
        args = self._content(text) | {"ts": self._ts, "metadata": _mark(token)}
        await self._patiently("chat.update", args, self._pools.updates, Urgency.FINAL)

    async def _post(self, text: str, *, token: str, urgency: Urgency) -> str:
        """Post once: after a doubt, look for the part before posting it again."""
        if self._doubtful and (found := await self._find(token)):
            return found
        args = self._content(text) | {"metadata": _mark(token)}
        args |= {"thread_ts": self._thread} if self._thread else {}
        pool = self._pools.posts(self._channel)
        try:
            answer = await self._patiently("chat.postMessage", args, pool, urgency)
        except SlackCallError as error:
            if not error.doubtful:
                raise
            self._doubtful = True
            await asyncio.sleep(self._settle_s)  # the lost request may still land
            if found := await self._find(token):
                return found
            raise
        return str(answer["ts"])

    async def _patiently(
        self, method: str, args: Mapping[str, Any], pool: Pool, urgency: Urgency
    ) -> Mapping[str, Any]:
        """Call when the pool allows; waits out a Retry-After of up to a minute."""
        for tries_left in reversed(range(_TRIES)):
            await pool.take(urgency)
            try:
                return await self._api.call(method, **args)
            except SlackCallError as error:
                wait_s = error.retry_after_s
                if wait_s is None:
                    raise
                pool.pause(wait_s)
                if wait_s > LONGEST_WAIT_S or not tries_left:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _find(self, token: str) -> str:
        """The ts of our message that carries `token`, or nothing."""
        where: dict[str, Any] = {"channel": self._channel, "include_all_metadata": True}
        method = "conversations.history"
        if self._thread:
            method, where["ts"] = "conversations.replies", self._thread
        cursor = ""
        for _ in range(10):  # pages; a thread longer than this is not searched to its end
            answer = await self._api.call(method, limit=200, cursor=cursor, **where)
            for message in answer.get("messages", ()):
                if (message.get("metadata") or {}) == _mark(token):
                    return str(message["ts"])
            cursor = str((answer.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor or not self._thread:  # history begins with the newest
                break
        return ""

    def _content(self, text: str) -> dict[str, Any]:
        """Text as a markdown block; links never unfold and nobody can be pinged."""
        shown = unpinged(text.strip("\n")) if text.strip() else "…"
        return {
            "channel": self._channel,
            "text": fallback(shown),
            "blocks": [{"type": "markdown", "text": shown}],
            "unfurl_links": False,
            "unfurl_media": False,
            "parse": "none",
            "link_names": False,
        }


def _mark(token: str) -> dict[str, Any]:
    return {"event_type": MARK, "event_payload": {"token": token}}
