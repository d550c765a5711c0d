"""What must be posted once, though Slack has no key for idempotent posts.

Every post carries its token as metadata. Where an earlier try may have got through, we wait until
that try can't land any more, look for the token, and post only if it is absent. A stream has no
token until it ends: in its thread it is the only streamed message of ours without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from adapters.chat.pacing import Urgency
from adapters.chat.slack_api import SlackApi, SlackCallError
from adapters.chat.slack_blocks import mark
from adapters.chat.slack_pacing import Pools, call_when_free
from adapters.chat.slack_stream import Streams, is_orphan
from adapters.chat.slack_uploads import shared
from adapters.chat.types import Message

_PAGES = 10  # of 200 messages; a thread that grew by more since is not searched to its end
_CLOCKS_APART_S = 60.0


class Tries:
    """Of the posts of one reply."""

    def __init__(
        self, api: SlackApi, pools: Pools, streams: Streams, message: Message, *, settle_s: float
    ) -> None:
        self._api, self._pools, self._streams = api, pools, streams
        self._settle_s = settle_s
        self._channel = message.conversation.channel
        self._thread = message.conversation.thread
        self._not_before = f"{max(message.sent_at - _CLOCKS_APART_S, 0.0):.6f}"
        self._settled_at: dict[str, float] = {}  # until when (loop time) a lost post may land

    async def once(
        self,
        token: str,
        post: Callable[[], Awaitable[str]],
        *,
        tried_s_ago: float | None,
        is_first: bool = False,
    ) -> str:
        """Post once: where an earlier try may have got through, look for it first.

        `is_first` says that the post may be a stream, which has no token.
        """
        if found := await self._tried(token, tried_s_ago, is_first):
            return found
        try:
            return await post()
        except SlackCallError as error:
            settle_s = self._settle_s if error.doubtful else 0.0
            self._settled_at[token] = asyncio.get_running_loop().time() + settle_s
            if error.doubtful and (found := await self._tried(token, None, is_first)):
                return found
            raise

    async def _tried(self, token: str, tried_s_ago: float | None, is_first: bool) -> str:
        """The ts of an earlier try that got through, or nothing; no call if there was none."""
        now = asyncio.get_running_loop().time()
        if (settled_at := self._settled_at.get(token)) is None:
            if tried_s_ago is None:
                return ""
            settled_at = now + self._settle_s - tried_s_ago
        await asyncio.sleep(max(settled_at - now, 0.0))
        return await self.find(token, await self._streams.bot_user() if is_first else "")

    async def find(self, token: str, streamer: str = "") -> str:
        """Our message that carries `token`, as `ts` or `ts:file`, or what `streamer` streamed in
        this thread and never ended; or nothing."""
        args: dict[str, Any] = {"channel": self._channel, "oldest": self._not_before}
        args |= {"include_all_metadata": True, "limit": 200}
        method = "conversations.history"
        if self._thread:
            method, args["ts"] = "conversations.replies", self._thread
        pool = self._pools.reads(method)
        for _ in range(_PAGES):
            answer = await call_when_free(self._api, method, args, pool, Urgency.FINAL)
            for message in answer.get("messages", ()):
                if (message.get("metadata") or {}) == mark(token) or is_orphan(message, streamer):
                    return str(message["ts"])
                if file_id := shared(message, token):
                    return f"{message['ts']}:{file_id}"
            cursor = str((answer.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor:
                break
            args["cursor"] = cursor
        return ""
