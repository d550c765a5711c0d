"""Who looks at what every fake Discord sends, as the shapes of it are checked in tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

# Told an event's name, an op's (`op 10`) or a route with its answer's status, and what was sent
WATCHERS: list[Callable[[str, Any], None]] = []


def watched(name: str, sent: Any) -> None:
    for watch in WATCHERS:
        watch(name, sent)


def watched_answer(request: web.Request, answer: web.StreamResponse) -> None:
    route = request.match_info.route.resource
    if WATCHERS and route is not None and isinstance(answer, web.Response):
        body = bytes(answer.body) if isinstance(answer.body, bytes) else b""
        where = route.canonical.removeprefix("/api/v10")
        watched(f"{request.method} {where} {answer.status}", json.loads(body) if body else None)
