"""The Web API: arguments from anywhere, HTTP 200 with `ok: false`, 429 when too fast."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from bot.testing.slack.methods import METHODS, SCOPES, Refused
from bot.testing.slack.previews import SURFACES, fetched
from bot.testing.slack.watching import watched

if TYPE_CHECKING:
    from bot.testing.slack import SlackTwin

Json = dict[str, Any]
_PER_CHANNEL = frozenset({"chat.postMessage"})

WATCHERS: list[Callable[[str, Json], None]] = []  # told of every call to every fake Slack


@dataclass(frozen=True, slots=True)
class Fault:
    """Any answer but the right one: a code with HTTP 200, or a body as it is."""

    error: str = ""
    status: int = 200
    body: str = "<h1>Oops</h1>"
    content_type: str = "text/html"
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_answer(self) -> web.Response:
        if self.error:
            body: Json = {"ok": False, "error": self.error}
            return _answer(body, status=self.status, headers=dict(self.headers))
        kind = self.content_type
        return web.Response(status=self.status, text=self.body, content_type=kind)


class WebApi:
    """One endpoint per method under `/api/`; counts calls and refusals."""

    def __init__(self, twin: SlackTwin) -> None:
        self._twin = twin
        self.calls: list[tuple[float, str, Json]] = []
        self.refused: Counter[str] = Counter()
        self.limits: dict[str, tuple[int, float]] = {
            "chat.postMessage": (4, 4.0),  # 1 a second per channel, short bursts
            "chat.appendStream": (100, 60.0),
            "chat.startStream": (20, 60.0),
            "chat.stopStream": (20, 60.0),
            "chat.update": (50, 60.0),
            "chat.delete": (50, 60.0),
            "conversations.history": (50, 60.0),
            "conversations.replies": (50, 60.0),
            "conversations.info": (50, 60.0),
            "users.info": (100, 60.0),
        }
        self.latency_s = 0.0  # half before a call takes effect, half after
        self.scripted_429: dict[str, deque[float]] = {}
        self.scripted_http: dict[str, deque[int]] = {}  # a gateway's page in place of an answer
        self.faults: dict[str, deque[Fault]] = {}  # by method, in place of its next answers
        self.cut_after: Counter[str] = Counter()  # accept, then drop the connection
        self.lands_late: dict[str, deque[float]] = {}  # drop the connection, accept afterwards
        self._recent: dict[tuple[str, str], deque[float]] = {}

    def count(self, method: str) -> int:
        return sum(called == method for _, called, _ in self.calls)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.latency_s / 2)
        answer = await self._serve(request)
        await asyncio.sleep(self.latency_s / 2)
        return answer

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        args = await _arguments(request)
        if (wait_s := self._over_limit(method, args)) > 0:
            self.refused[f"{method}:ratelimited"] += 1
            return _answer(
                {"ok": False, "error": "ratelimited"},
                status=429,
                headers={"Retry-After": str(math.ceil(wait_s))},
            )
        if page := self.scripted_http.get(method):
            return web.Response(
                status=page.popleft(), text="<h1>Oops</h1>", content_type="text/html"
            )
        self.calls.append((time.monotonic(), method, args))
        for watch in WATCHERS:
            watch(method, args)
        if faults := self.faults.get(method):
            return faults.popleft().to_answer()
        if (late := self.lands_late.get(method)) and request.transport:
            request.transport.abort()
            asyncio.get_running_loop().call_later(
                late.popleft(), self._run, method, args, _token(request, args)
            )
            return web.Response(status=500)
        try:
            body = {"ok": True, **self._run(method, args, _token(request, args))}
        except Refused as refused:
            self.refused[f"{method}:{refused.error}"] += 1
            body = {"ok": False, "error": refused.error, **refused.extra}
        watched(method, body)
        if body["ok"] and self.cut_after[method] > 0 and request.transport:
            self.cut_after[method] -= 1
            request.transport.abort()
        return _answer(body, headers={"x-oauth-scopes": ",".join(sorted(self._twin.scopes))})

    def _run(self, method: str, args: Json, token: str) -> Json:
        run: Callable[[SlackTwin, Json], Json] | None = METHODS.get(method)
        if run is None:
            raise Refused("unknown_method", req_method=method)
        if not token:
            raise Refused("not_authed")
        app_level = method.startswith("apps.connections.")
        if token != (self._twin.app_token if app_level else self._twin.bot_token):
            known = token in (self._twin.app_token, self._twin.bot_token)
            raise Refused("not_allowed_token_type" if known else "invalid_auth")
        needed = SCOPES.get(method, frozenset())
        if needed and not needed & self._twin.scopes:
            provided = ",".join(sorted(self._twin.scopes))
            raise Refused("missing_scope", needed=min(needed), provided=provided)
        answer = run(self._twin, args)
        if method in SURFACES:
            self._twin.previews.look(SURFACES[method], fetched(method, args))
        return answer

    def _over_limit(self, method: str, args: Json) -> float:
        """Seconds to wait, or 0; a refused call does not count."""
        if scripted := self.scripted_429.get(method):
            return scripted.popleft()
        if method not in self.limits:
            return 0.0
        calls, window_s = self.limits[method]
        key = (method, str(args.get("channel", "")) if method in _PER_CHANNEL else "")
        recent, now = self._recent.setdefault(key, deque()), time.monotonic()
        while recent and now - recent[0] >= window_s:
            recent.popleft()
        if len(recent) >= calls:
            return recent[0] + window_s - now
        recent.append(now)
        return 0.0


async def _arguments(request: web.Request) -> Json:
    """Query, form and JSON alike; structures inside a form are JSON text."""
    args: Json = dict(request.query)
    if request.content_type == "application/json":
        body = await request.text()
        return args | (json.loads(body) if body else {})
    args |= {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
    for key in ("blocks", "chunks", "metadata"):
        if isinstance(args.get(key), str):
            args[key] = json.loads(args[key])
    return args


def _token(request: web.Request, args: Json) -> str:
    header = request.headers.get("Authorization", "")
    return header.removeprefix("Bearer ").strip() or str(args.get("token", ""))


def _answer(
    body: Json, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.json_response(body, status=status, headers=headers)
