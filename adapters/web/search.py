"""Web search by the provider that the operator chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from urllib.parse import urlencode

import msgspec

from adapters.web.client import TrustedClient
from adapters.web.errors import WebFailed

MOST = 5
_SNIPPET_CHARS = 300


class Result(NamedTuple):
    title: str
    url: str
    snippet: str


class SearchProvider(Protocol):
    async def search(self, query: str) -> Sequence[Result]:
        """At most `MOST` results; raises `WebError`."""
        ...


class _Found(msgspec.Struct):
    """A result as both providers tell it."""

    title: str = ""
    url: str = ""
    content: str = ""  # SearXNG
    description: str = ""  # Brave

    def read(self) -> Result:
        snippet = self.content or self.description
        return Result(self.title, self.url, " ".join(snippet.split())[:_SNIPPET_CHARS])


class _Searx(msgspec.Struct):
    results: list[_Found]


class _Web(msgspec.Struct):
    results: list[_Found]


class _Brave(msgspec.Struct):
    web: _Web | None = None


class SearxNG:
    """The JSON API of the operator's own instance (docs.searxng.org, search API); it must allow
    `format=json`."""

    def __init__(self, client: TrustedClient, url: str) -> None:
        self._client, self._url = client, url.rstrip("/")

    async def search(self, query: str) -> Sequence[Result]:
        words = urlencode({"q": query, "format": "json"})
        page = await self._client.get(f"{self._url}/search?{words}")
        try:
            found = msgspec.json.decode(page.text, type=_Searx)
        except msgspec.DecodeError as error:
            raise WebFailed("the search service gave no list of results") from error
        return [each.read() for each in found.results[:MOST]]


class Brave:
    """The web search of api.search.brave.com; the key goes to that host alone."""

    URL = "https://api.search.brave.com"

    def __init__(self, client: TrustedClient, key: str, *, url: str = URL) -> None:
        self._client, self._key, self._url = client, key, url

    async def search(self, query: str) -> Sequence[Result]:
        words = urlencode({"q": query, "count": MOST})
        page = await self._client.get(
            f"{self._url}/res/v1/web/search?{words}",
            headers={"X-Subscription-Token": self._key, "Accept": "application/json"},
        )
        try:
            found = msgspec.json.decode(page.text, type=_Brave)
        except msgspec.DecodeError as error:
            raise WebFailed("the search service gave no list of results") from error
        return [each.read() for each in (found.web.results if found.web else [])[:MOST]]
