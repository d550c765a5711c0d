"""Slack's agent sessions: while one is "processing", Slack shows a stop button of its own.

Only apps declared as agents have them (docs.slack.dev/ai/agent-sessions, 2026-08).
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Literal

import structlog

from adapters.chat.pacing import Pool, Urgency
from adapters.chat.slack_api import SlackApi, SlackCallError
from adapters.chat.slack_pacing import call_when_free

log = structlog.get_logger(__name__)

_WAIT_S = 10.0  # no reply waits longer than this for its decoration
_OF_THIS_THREAD = frozenset(
    {"channel_not_found", "invalid_thread_ts", "message_not_found", "thread_not_found"}
)


class _Way(Enum):
    """How this app says what it does: the method's name."""

    AGENT = "agents.sessions.setStatus"
    ASSISTANT = "assistant.threads.setStatus"
    NONE = ""


class Sessions:
    """Sets statuses until Slack says that the app has none; its failures harm nothing.

    An older app, declared as an assistant, has a line of text in its threads and no button.
    """

    def __init__(self, api: SlackApi, *, enabled: bool, updates: int, window_s: float) -> None:
        self._api, self._way = api, _Way.AGENT if enabled else _Way.NONE
        self._is_known = False
        self._pool = Pool(calls=updates, window_s=window_s, reserve=updates // 4)

    async def has_button(self, channel: str, thread: str | None) -> bool:
        """Whether Slack shows its stop button while a reply is streamed; tried out once."""
        if self._way is _Way.AGENT and not self._is_known:
            await self.set(channel, thread, "processing")
        return self._way is _Way.AGENT and self._is_known

    async def set(
        self, channel: str, thread: str | None, status: Literal["processing", "active"]
    ) -> bool:
        """True when Slack took it. Sessions are of threads: a bare direct message has none."""
        if thread is None or self._way is _Way.NONE:
            return False
        try:
            async with asyncio.timeout(_WAIT_S):
                if self._way is _Way.AGENT and await self._set(channel, thread, status):
                    return True
                if self._way is _Way.ASSISTANT:
                    text = "is thinking…" if status == "processing" else ""
                    return await self._set(channel, thread, text)
        except TimeoutError:
            pass
        return False

    async def _set(self, channel: str, thread: str, status: str) -> bool:
        urgency = Urgency.EDIT if status == "processing" else Urgency.FINAL
        args = {"channel_id": channel, "thread_ts": thread, "status": status}
        try:
            await call_when_free(self._api, self._way.value, args, self._pool, urgency)
        except SlackCallError as error:
            if not error.retryable and error.error not in _OF_THIS_THREAD:
                log.warning("slack.no_session", error=str(error))
                self._way = _Way.NONE if self._way is _Way.ASSISTANT else _Way.ASSISTANT
            return False
        self._is_known = True
        return True
