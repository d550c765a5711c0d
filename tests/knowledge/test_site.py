"""A site as a source: its sitemap and robots.txt honoured, its loops cut, its losses followed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from adapters.knowledge.documents import Document
from adapters.knowledge.errors import KnowledgeError
from adapters.knowledge.folder import Unread
from adapters.knowledge.index import KnowledgeIndex
from adapters.knowledge.site import Site
from adapters.models.embedders import load_packaged
from adapters.web.client import Net, SafeClient
from bot.ingest import ingest_site

HOST = "site.example"


async def here(host: str) -> list[str]:
    return ["127.0.0.1"]


@dataclass
class Served:
    """Pages by path; a callable answers for every path that has none."""

    pages: dict[str, str] = field(default_factory=dict)
    other: Callable[[str], str | None] | None = None
    asked: list[str] = field(default_factory=list)
    down: bool = False
    url: str = ""

    def site(self, path: str = "/docs/", **options: int) -> Site:
        async def at_once(seconds: float) -> None:
            return None

        port = int(self.url.rpartition(":")[2])
        net = Net(here, lambda address: True, (80, 443, port))
        return Site(self.url + path, SafeClient((HOST,), net=net), pause=at_once, **options)


@asynccontextmanager
async def serving(pages: dict[str, str]) -> AsyncIterator[Served]:
    served = Served(pages)

    async def answer(request: web.Request) -> web.Response:
        served.asked.append(request.path)
        if served.down:
            raise web.HTTPServiceUnavailable
        text = served.pages.get(request.path)
        if text is None and served.other is not None:
            text = served.other(request.path_qs)
        if text is None:
            raise web.HTTPNotFound
        kind = "text/plain" if request.path.endswith((".txt", ".xml")) else "text/html"
        return web.Response(text=text, content_type=kind)

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://{HOST}:{runner.addresses[0][1]}"
    try:
        yield served
    finally:
        await runner.cleanup()


def page(title: str, *links: str) -> str:
    shown = "".join(f'<a class="x" href="{link}">more</a>' for link in links)
    return f"<title>{title}</title><h1>{title}</h1><p>All about {title}.</p>{shown}"


async def read(site: Site) -> tuple[list[str], list[str]]:
    documents, unread = [], []
    async for found in site.pages():
        if isinstance(found, Unread):
            unread.append(found.name)
        else:
            assert isinstance(found, Document)
            documents.append(found.title)
    return documents, unread


async def test_links_below_the_start_are_followed_and_nothing_else() -> None:
    pages = {
        "/docs/": page(
            "Start", "a", "/docs/b#part", "/blog/x", "https://other.example/", "logo.png"
        ),
        "/docs/a": page("A", "b", "missing"),
        "/docs/b": page("B", "/docs/"),
        "/blog/x": page("Blog"),
    }
    async with serving(pages) as served:
        documents, unread = await read(served.site())

    assert documents == ["Start", "A", "B"]
    assert unread == [f"{served.url}/docs/missing"]
    assert "/blog/x" not in served.asked


async def test_what_robots_txt_forbids_is_not_read_and_the_sitemap_is() -> None:
    pages = {"/docs/": page("Start", "unlisted"), "/docs/a": page("A"), "/docs/secret": page("S")}
    async with serving(pages) as served:
        url = served.url
        pages["/robots.txt"] = f"User-agent: *\nDisallow: /docs/secret\nSitemap: {url}/map.xml\n"
        pages["/map.xml"] = (
            f"<sitemapindex><sitemap><loc>{url}/one.xml</loc></sitemap></sitemapindex>"
        )
        pages["/one.xml"] = "".join(
            f"<url><loc>{each}</loc></url>"
            for each in (f"{url}/docs/a", f"{url}/docs/secret", "https://other.example/docs/x")
        )
        documents, _ = await read(served.site())

    assert documents == ["Start", "A"]
    assert "/docs/secret" not in served.asked


async def test_a_site_that_forbids_the_start_is_told() -> None:
    async with serving({"/robots.txt": "User-agent: *\nDisallow: /\n", "/docs/": page("S")}) as it:
        with pytest.raises(KnowledgeError, match=r"robots\.txt does not let it be read"):
            await read(it.site())


async def test_a_site_that_loops_is_cut() -> None:
    async with serving({"/docs/": page("Start", "x?n=1")}) as served:
        count = iter(range(2, 10_000))
        served.other = lambda path: (
            page("Same", f"x?n={next(count)}") if path.startswith("/docs/x") else None
        )
        site = served.site(most=300)
        documents, _ = await read(site)

    assert site.is_cut
    assert len(documents) <= 300
    assert len(served.asked) < 320


async def test_a_page_that_is_gone_is_dropped_and_one_that_is_away_is_kept(tmp_path: Path) -> None:
    embedder = await load_packaged()
    index = KnowledgeIndex(tmp_path / "k.sqlite", embedder=embedder.name)
    pages = {
        "/docs/": page("Start", "a", "b"),
        "/docs/a": page("Vacation"),
        "/docs/b": page("Parking"),
    }
    async with serving(pages) as served:
        source = index.source(served.url, topic="t")
        first = await ingest_site(index, embedder, source, served.site())
        again = await ingest_site(index, embedder, source, served.site())
        del pages["/docs/b"]
        third = await ingest_site(index, embedder, source, served.site())
        served.down = True
        with pytest.raises(KnowledgeError, match="503"):
            await ingest_site(index, embedder, source, served.site())
        kept = len(index.digests(source.source_id))
    index.close()

    assert (first.new, again.same, third.gone) == (3, 3, 1)
    assert kept == 2


async def test_what_is_no_address_or_lies_in_the_house_is_refused() -> None:
    with pytest.raises(KnowledgeError, match="is no address of a site"):
        Site("ftp://docs.example/", SafeClient(()))
    async with serving({"/docs/": page("S")}) as served:
        port = int(served.url.rpartition(":")[2])
        site = Site(f"{served.url}/docs/", SafeClient((HOST,), net=Net(here, ports=(80, port))))
        with pytest.raises(KnowledgeError):
            await read(site)
    assert served.asked == []
