"""Stops every call before Discord bans this machine's address (row D3).

Discord bans an address for an hour or longer after 10,000 answers of 401, 403 or 429 (shared
limits excepted) within ten minutes (docs.discord.com, topics/rate-limits, Invalid Request
Limit); all the bots behind the address share that ban.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

import aiohttp
import structlog
import yarl

log = structlog.get_logger(__name__)

MOST = 500
WINDOW_S = 600.0
BAN_WAIT_S = 60.0  # after a page in place of an answer that does not say how long
_INVALID = frozenset({401, 403, 429})


class Paused(aiohttp.ClientError):
    """The call was not made; another may be in a while."""


class Breaker:
    """Counts the invalid answers of one bot; what is on its way counts as one beforehand."""

    def __init__(
        self,
        *,
        most: int = MOST,
        window_s: float = WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._window_s, self._clock = most, window_s, clock
        self._invalid: deque[float] = deque()
        self._under_way = 0
        self._paused_until = 0.0
        self._told = False

    @property
    def reason(self) -> str:
        """Why nothing is sent, for the operator; empty while all is well."""
        now = self._clock()
        self._forget(now)
        if now < self._paused_until:
            left_s = self._paused_until - now
            return f"Discord refuses every call of this address; next try in {left_s:.0f} s"
        if len(self._invalid) >= self._most:
            return (
                f"{len(self._invalid)} calls were refused within {self._window_s / 60:.0f} minutes:"
                " see discord.refused in the log and mend the first of them"
            )
        return ""

    def begin(self) -> None:
        """Before each call; raises `Paused`."""
        reason = self.reason
        if not reason and len(self._invalid) + self._under_way >= self._most:
            raise Paused("many calls of this bot were refused, and others are on their way")
        if reason:
            self._tell(reason)
            raise Paused(reason)
        self._told &= len(self._invalid) > self._most // 2
        self._under_way += 1

    def end(self, status: int, headers: Mapping[str, str]) -> None:
        """After each answer."""
        self._under_way -= 1
        if status not in _INVALID or headers.get("X-RateLimit-Scope") == "shared":
            return
        now = self._clock()
        self._invalid.append(now)
        if status == 429 and is_ban(headers):
            self._paused_until = max(self._paused_until, now + wait_s_of(headers))

    def failed(self) -> None:
        """No answer came."""
        self._under_way -= 1

    def _forget(self, now: float) -> None:
        while self._invalid and now - self._invalid[0] >= self._window_s:
            self._invalid.popleft()

    def _tell(self, reason: str) -> None:
        if not self._told:
            log.error("discord.paused", reason=reason)
        self._told = True


def is_ban(headers: Mapping[str, str]) -> bool:
    """Cloudflare's page: nothing else may be called either. discord.py waits out the rest."""
    is_json = headers.get("Content-Type", "").startswith("application/json")
    return not is_json or "Via" not in headers


def wait_s_of(headers: Mapping[str, str]) -> float:
    try:
        return max(float(headers["Retry-After"]), 0.0)
    except (KeyError, ValueError):
        return BAN_WAIT_S


def breaking(breaker: Breaker, tracing: aiohttp.TraceConfig) -> aiohttp.TraceConfig:
    """`tracing`, which asks the breaker before each call and tells it of each answer."""

    async def begin(_: object, __: object, call: aiohttp.TraceRequestStartParams) -> None:
        if _is_counted(call.url):
            breaker.begin()

    async def end(_: object, __: object, call: aiohttp.TraceRequestEndParams) -> None:
        if _is_counted(call.url):
            breaker.end(call.response.status, call.response.headers)

    async def failed(_: object, __: object, call: aiohttp.TraceRequestExceptionParams) -> None:
        if _is_counted(call.url):
            breaker.failed()

    tracing.on_request_start.append(begin)
    tracing.on_request_end.append(end)
    tracing.on_request_exception.append(failed)
    return tracing


def _is_counted(url: yarl.URL) -> bool:
    """The gateway is not: what is said meanwhile is heard."""
    return url.scheme.startswith("http")
