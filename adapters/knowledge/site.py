"""The pages of a site: those its sitemap names, else those its links lead to from where it began.

Only below the address that was given, only what robots.txt allows, one page at a time and with a
pause between two. A page that is there under many addresses is read once.
"""

from __future__ import annotations

import asyncio
import html
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from urllib.parse import urldefrag, urljoin, urlsplit
from urllib.robotparser import RobotFileParser

from adapters.knowledge.documents import Document, from_markdown, from_text
from adapters.knowledge.errors import KnowledgeError
from adapters.knowledge.folder import Unread
from adapters.web.client import Page, SafeClient
from adapters.web.errors import WebError
from adapters.web.reading import readable_html

MOST_PAGES = 10_000
AGENT = "firstline"
_PAUSE_S = 0.2
_SITEMAPS = 50  # of an index of sitemaps
_SAME_IN_A_ROW = 50  # pages that were read already under another address: the site loops
_LOC = re.compile(r"<loc>\s*([^<\s]{1,2000})\s*</loc>", re.IGNORECASE)
_LINK = re.compile(r"""<a\s[^>]{0,500}?href\s*=\s*["']([^"'\s>]{1,2000})["']""", re.IGNORECASE)
_UNTOLD = re.compile(
    r"\.(?:png|jpe?g|gif|svg|webp|css|js|zip|gz|pdf|mp4|ico|woff2?)$", re.IGNORECASE
)
Pause = Callable[[float], Awaitable[None]]


class Site:
    """One site; `pages` reads it. Raises `KnowledgeError` where nothing can be read at all."""

    def __init__(
        self,
        url: str,
        client: SafeClient,
        *,
        most: int = MOST_PAGES,
        pause: Pause = asyncio.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise KnowledgeError(f"{url}: is no address of a site; write https://docs.example.org/")
        self._root = f"{parts.scheme}://{parts.netloc}"
        self._start = _plain(url)
        self._below = self._root + parts.path.rpartition("/")[0] + "/"
        self._client, self._most, self._pause = client, most, pause
        self._robots = RobotFileParser()
        self.is_cut = False  # there was more than may be read

    async def pages(self) -> AsyncIterator[Document | Unread]:
        first = await self._began()
        named = [each async for each in self._named()]
        waiting = deque(dict.fromkeys([self._start, *named]))
        known, digests, same = set(waiting), set[str](), 0
        read = 0
        while waiting:
            url = waiting.popleft()
            if read >= self._most:
                self.is_cut = True
                return
            page = first if url == self._start else await self._get(url)
            if isinstance(page, Unread):
                yield page
                continue
            read += 1
            if not named:
                fresh = [each for each in _links(page) if self._is_ours(each) and each not in known]
                known.update(fresh)
                waiting.extend(dict.fromkeys(fresh))
            document = _document(url, page)
            if document.digest in digests:
                same += 1
                if same >= _SAME_IN_A_ROW:
                    self.is_cut = True
                    return
                continue
            same = 0
            digests.add(document.digest)
            yield document if document.sections else Unread(url, "holds no text")

    async def _began(self) -> Page:
        try:
            robots = await self._client.get(f"{self._root}/robots.txt")
            self._robots.parse(robots.text.splitlines())
        except WebError:
            self._robots.parse([])  # none: everything may be read
        if not self._robots.can_fetch(AGENT, self._start):
            raise KnowledgeError(f"{self._start}: the site's robots.txt does not let it be read")
        try:
            return await self._client.get(self._start)
        except WebError as error:
            raise KnowledgeError(f"{self._start}: {error}") from error

    async def _named(self) -> AsyncIterator[str]:
        """What the sitemaps name, below the start."""
        waiting = deque(self._robots.site_maps() or [f"{self._root}/sitemap.xml"])
        seen = 0
        while waiting and seen < _SITEMAPS:
            seen += 1
            try:
                found = await self._client.get(waiting.popleft())
            except WebError:
                continue
            urls = [html.unescape(each) for each in _LOC.findall(found.text)]
            if "<sitemapindex" in found.text:
                waiting.extend(each for each in urls if each.startswith(self._root))
                continue
            for url in urls:
                if self._is_ours(plain := _plain(url)):
                    yield plain

    async def _get(self, url: str) -> Page | Unread:
        await self._pause(_PAUSE_S)
        try:
            return await self._client.get(url)
        except WebError as error:
            return Unread(url, str(error))

    def _is_ours(self, url: str) -> bool:
        ours = url.startswith(self._below) and not _UNTOLD.search(urlsplit(url).path)
        return ours and self._robots.can_fetch(AGENT, url)


def _links(page: Page) -> Iterator[str]:
    for found in _LINK.findall(page.text):
        yield _plain(urljoin(page.url, html.unescape(found)))


def _plain(url: str) -> str:
    return urldefrag(url).url


def _document(url: str, page: Page) -> Document:
    if page.media_type in ("text/html", "application/xhtml+xml"):
        title, body = readable_html(page.text)
        document = from_markdown(url, body, url=url)
        return document._replace(title=title or document.title)
    read = from_markdown if page.media_type == "text/markdown" else from_text
    return read(url, page.text, url=url)
