"""Slack's agent sessions: while one is "processing", Slack shows a stop button of its own.

Only apps declared as agents have them (docs.slack.dev/ai/agent-sessions, 2026-08).
"""

from __future__ import annotations

import asyncio
from typing import Literal

import structlog

from adapters.chat.pacing import Pool, Urgency
from adapters.chat.slack_api import SlackApi, SlackCallError
from adapters.chat.slack_pacing import call_when_free

log = structlog.get_logger(__name__)

_WAIT_S = 10.0  # no reply waits longer than this for its decoration


class Sessions:
    """Sets statuses until Slack says that the app has no sessions; its failures harm nothing."""

    def __init__(self, api: SlackApi, *, enabled: bool, updates: int, window_s: float) -> None:
        self._api, self._enabled = api, enabled
        self._pool = Pool(calls=updates, window_s=window_s, reserve=updates // 4)

    async def set(
        self, channel: str, thread: str | None, status: Literal["processing", "active"]
    ) -> bool:
        """True when Slack took it. Sessions are of threads: a bare direct message has none."""
        if not self._enabled or thread is None:
            return False
        urgency = Urgency.EDIT if status == "processing" else Urgency.FINAL
        args = {"channel_id": channel, "thread_ts": thread, "status": status}
        try:
            async with asyncio.timeout(_WAIT_S):
                await call_when_free(
                    self._api, "agents.sessions.setStatus", args, self._pool, urgency
                )
        except TimeoutError:
            return False
        except SlackCallError as error:
            log.warning("slack.no_session", error=str(error))
            self._enabled = error.retryable
            return False
        return True
