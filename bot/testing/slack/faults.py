"""What may go wrong on the fake Slack; the names are those of `bot.testing.faults`."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal

from bot.testing.slack.web_api import Fault

if TYPE_CHECKING:
    from bot.testing.slack import SlackTwin

Reason = Literal["warning", "refresh_requested", "link_disabled", "too_many_websockets"]


class SlackFaults:
    def __init__(self, slack: SlackTwin) -> None:
        self._slack = slack

    def slow(self, seconds: float) -> None:
        self._slack.web.latency_s = seconds

    def limited(self, call: str, retry_after_s: float, *, times: int = 1) -> None:
        waits = self._slack.web.scripted_429.setdefault(call, deque())
        waits.extend([retry_after_s] * times)

    def refused(self, call: str, error: str, *, times: int = 1) -> None:
        faults = self._slack.web.faults.setdefault(call, deque())
        faults.extend([Fault(error)] * times)

    def page(self, call: str, status: int = 503, *, times: int = 1) -> None:
        pages = self._slack.web.scripted_http.setdefault(call, deque())
        pages.extend([status] * times)

    def cut(self, call: str, *, times: int = 1) -> None:
        self._slack.web.cut_after[call] += times

    def twice(self, *, times: int = 1) -> None:
        self._slack.socket.order.twice += times

    def swapped(self, *, times: int = 1) -> None:
        self._slack.socket.order.swapped += times

    async def disconnect(self, reason: Reason = "refresh_requested") -> None:
        """As Socket Mode tells it; `link_disabled` lets nobody back in."""
        await self._slack.socket.disconnect(reason)

    async def drop(self) -> None:
        await self._slack.socket.cut()

    def acks_lost(self, *, times: int = 1) -> None:
        """Slack hears none of the next acks, and sends again: `retry_attempt`, `retry_reason`."""
        self._slack.socket.lost_acks += times

    def unreadable_files(self) -> None:
        """From now on files are Slack's login page: the app lacks `files:read`."""
        self._slack.scopes.discard("files:read")
