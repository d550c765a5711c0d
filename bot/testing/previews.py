"""Link previews: what a platform would have fetched of what a bot said, and who is told by it.

A model that was talked into an address with somebody's words in it has told them to its owner as
soon as the platform, or a reader's client, fetches it: nobody need press anything.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from bot.testing.loopback import Loopback

TIMEOUT_S = 10.0
_CODE = re.compile(r"(?P<fence>`{3,}|~{3,}).*?(?:(?P=fence)|\Z)|`[^`\n]+`", re.DOTALL)
_LINK = re.compile(r"(?:https?://|www\.)[^\s<>|\"')\]]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fetch:
    """One address, and where it was shown: `post`, `edit`, `ephemeral`, `modal`, …"""

    surface: str
    url: str


WATCHERS: list[Callable[[Fetch], None]] = []  # told of every fetch of every fake platform


class Attacker:
    """A web server that writes down who comes: `async with Attacker() as attacker`."""

    def __init__(self) -> None:
        self.visits: list[str] = []  # hosts with paths and queries, as they were asked for
        self.url = ""
        self._server = Loopback()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._visit)
        self.url = await self._server.open(app)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._server.close()

    async def _visit(self, request: web.Request) -> web.Response:
        self.visits.append(f"{request.host}{request.path_qs}")
        return web.Response(text="<title>Thanks</title>", content_type="text/html")


class Previewer:
    """Keeps what one platform fetched; with an `attacker` all is fetched there, really."""

    def __init__(self) -> None:
        self.fetches: list[Fetch] = []
        self.looked = 0  # at how many texts and views of the bot
        self.attacker: Attacker | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self, surface: str, urls: Iterable[str]) -> None:
        self.looked += 1
        for url in urls:
            fetch = Fetch(surface, url)
            self.fetches.append(fetch)
            for watch in WATCHERS:
                watch(fetch)
            if self.attacker is not None:
                task = asyncio.create_task(self._fetch(url, self.attacker), name="twin preview")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait until all fetches are over."""
        await asyncio.gather(*self._tasks)

    async def _fetch(self, url: str, attacker: Attacker) -> None:
        there = urlsplit(url if "://" in url else f"https://{url}")
        where = f"{attacker.url}{there.path or '/'}" + f"?{there.query}" * bool(there.query)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await session.get(where, headers={"Host": there.netloc})


def links_in(text: str) -> list[str]:
    """The addresses that are shown as links; in code nothing is."""
    return _LINK.findall(_CODE.sub(" ", text))
