"""The attachment host: addresses that are signed, and die a day after they were told.

`ex`, `is` and `hm` are the end, the beginning and a seal (Discord, API changes of 2023-11-09).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from aiohttp import web

from bot.testing.discord.limits import Refused, json_answer

Json = dict[str, Any]
LIVES_S = 86_400.0
MOST_REFRESHED = 50


class Cdn:
    """Keeps the bytes by path; every payload tells an address that was signed for it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.base_url = ""
        self.clock: Callable[[], float] = time.time
        self.lives_s = LIVES_S
        self.fetched: list[tuple[int, str]] = []  # status and path, each time somebody asked
        self._key = secrets.token_bytes(16)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/attachments/{channel}/{id}/{name}", self._file),
            web.post("/api/v10/attachments/refresh-urls", self._refresh),
        ]

    def address(self, path: str) -> str:
        """Where a file can be had from now on, for as long as addresses live."""
        begins = int(self.clock())
        ends = begins + int(self.lives_s)
        about = {"ex": f"{ends:x}", "is": f"{begins:x}", "hm": self._seal(path, ends, begins)}
        return f"{self.base_url}{quote(path)}?{urlencode(about)}&"

    def told(self, file: Json) -> Json:
        """An attachment as a payload tells it now."""
        anew = self.address(unquote(urlsplit(file["url"]).path))
        return file | {"url": anew, "proxy_url": anew}

    async def _file(self, request: web.Request) -> web.Response:
        if "Authorization" in request.headers:
            raise web.HTTPBadRequest(text="a token was sent to the attachment host")
        content = self.files.get(request.path)
        is_there = content is not None and self._is_live(request)
        self.fetched.append((200 if is_there else 404, request.path))
        if not is_there:
            raise web.HTTPNotFound(text="This content is no longer available.")
        return web.Response(body=content, content_type="application/octet-stream")

    async def _refresh(self, request: web.Request) -> web.Response:
        """Discord's clients use it; it is not in the documentation for bots."""
        asked = (await request.json())["attachment_urls"]
        if not 0 < len(asked) <= MOST_REFRESHED:
            raise Refused(400, 50035, "Invalid Form Body")
        told = [{"original": each, "refreshed": self._anew(each)} for each in asked]
        return json_answer(200, {"refreshed_urls": told})

    def _anew(self, url: str) -> str | None:
        path = unquote(urlsplit(url).path)
        return self.address(path) if path in self.files else None

    def _is_live(self, request: web.Request) -> bool:
        asked = request.query
        try:
            ends, begins = int(asked["ex"], 16), int(asked["is"], 16)
        except (KeyError, ValueError):
            return False
        return self.clock() < ends and asked.get("hm") == self._seal(request.path, ends, begins)

    def _seal(self, path: str, ends: int, begins: int) -> str:
        return hmac.new(self._key, f"{path} {ends} {begins}".encode(), hashlib.sha256).hexdigest()
