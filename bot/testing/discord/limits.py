"""Rate limits and refusals of the REST side, with the exact headers, counted."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from bot.testing.discord.watching import watched_answer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(Exception):
    """The request is answered with Discord's error body."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass
class Bucket:
    limit: int
    window_s: float
    resets_at: float = 0.0
    used: int = 0

    def spend(self, now: float) -> bool:
        if now >= self.resets_at:
            self.resets_at, self.used = now + self.window_s, 0
        self.used += 1
        return self.used <= self.limit

    def headers(self, now: float, name: str) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(0, self.limit - self.used)),
            "X-RateLimit-Reset": f"{time.time() + self.resets_at - now:.3f}",
            "X-RateLimit-Reset-After": f"{max(0.0, self.resets_at - now):.3f}",
            "X-RateLimit-Bucket": name,
        }


@dataclass
class Planned:
    """A refusal a test asked for."""

    method: str
    path: re.Pattern[str]
    status: int
    body: dict[str, Any] | str  # a page, as Cloudflare or a proxy sends it
    times: int
    headers: dict[str, str]

    def answer(self) -> web.Response:
        if not isinstance(self.body, str):
            return json_answer(self.status, self.body, self.headers)
        head = {"Content-Type": "text/html", **self.headers}
        return web.Response(status=self.status, body=self.body.encode(), headers=head)

    @property
    def code(self) -> int:
        return 0 if isinstance(self.body, str) else int(self.body.get("code", 0))


def json_answer(status: int, body: Any, headers: dict[str, str] | None = None) -> web.Response:
    """discord.py reads JSON only when the content type has no charset."""
    if status == 204:
        return web.Response(status=204, headers=headers)
    kind = {"Content-Type": "application/json", "Via": "1.1 google"}
    return web.Response(
        status=status, body=json.dumps(body).encode(), headers=kind | (headers or {})
    )


class Gate:
    """Middleware: token, planned refusals, rate limits, Discord's error bodies."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.messages_limit = (5, 5.0)  # sends and edits of one channel share it
        self.other_limit = (50, 1.0)
        self.latency_s = 0.0  # half before a request takes effect, half after
        self.planned: list[Planned] = []
        self.refused: Counter[tuple[int, int]] = Counter()  # (status, code) -> times
        self.calls: list[tuple[float, str, str]] = []  # monotonic time, method, path
        self.cut_after: Counter[str] = Counter()  # by method: accept, then drop the connection
        self._buckets: dict[str, Bucket] = {}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/api/"):
            return await handler(request)
        await asyncio.sleep(self.latency_s / 2)
        answer = await self._answer(request, handler)
        await asyncio.sleep(self.latency_s / 2)
        return answer

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        now = time.monotonic()
        self.calls.append((now, request.method, request.path))
        try:
            self._check_token(request)
            planned = self._take_planned(request)
            if planned is not None:
                self.refused[planned.status, planned.code] += 1
                return planned.answer()
            name, bucket = self._bucket(request)
            if not bucket.spend(now):
                return self._limited(bucket, now, name)
            answer = await handler(request)
            watched_answer(request, answer)
            answer.headers.update(bucket.headers(now, name))
            if name == "talk" and self.cut_after[request.method] > 0 and request.transport:
                self.cut_after[request.method] -= 1
                request.transport.abort()
        except Refused as refused:
            self.refused[refused.status, refused.code] += 1
            return json_answer(refused.status, {"message": refused.message, "code": refused.code})
        return answer

    def _check_token(self, request: web.Request) -> None:
        path = request.path
        by_token = "/interactions/" in path or "/webhooks/" in path
        if not by_token and request.headers.get("Authorization") != f"Bot {self._token}":
            raise Refused(401, 0, "401: Unauthorized")

    def _take_planned(self, request: web.Request) -> Planned | None:
        for planned in self.planned:
            if planned.method == request.method and planned.path.search(request.path):
                planned.times -= 1
                if planned.times == 0:
                    self.planned.remove(planned)
                return planned
        return None

    def _bucket(self, request: web.Request) -> tuple[str, Bucket]:
        talk = re.search(r"/channels/(\d+)/messages(/\d+)?$", request.path)
        if talk and request.method in ("POST", "PATCH"):
            name, limit = "talk", self.messages_limit
            key = f"talk:{talk[1]}"
        else:
            key = re.sub(r"(?<!channels)/\d{15,}", "/:id", f"{request.method}{request.path}")
            name, limit = format(abs(hash(request.method + key)), "x")[:12], self.other_limit
        return name, self._buckets.setdefault(key, Bucket(*limit))

    def _limited(self, bucket: Bucket, now: float, name: str) -> web.Response:
        self.refused[429, 0] += 1
        wait_s = round(bucket.resets_at - now, 3)
        body = {"message": "You are being rate limited.", "retry_after": wait_s, "global": False}
        told = {"Retry-After": str(int(wait_s) + 1), "X-RateLimit-Scope": "user"}
        return json_answer(429, body, bucket.headers(now, name) | told)
