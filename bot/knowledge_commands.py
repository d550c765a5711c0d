"""What the commands of `firstline knowledge` do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from adapters.knowledge.index import KnowledgeIndex
from adapters.knowledge.records import Source
from adapters.knowledge.site import Site
from adapters.web.client import Net, SafeClient
from agents.ports import Embedder
from bot.ingest import Report, Told, ingest_folder, ingest_site
from bot.knowledge import Knowledge, bar_of, knowledge_file, open_embedder, reranker_of
from bot.settings import Settings
from bot.tables import report_table

_SHOWN = 5
_CHARS = 300
_UNREAD_SHOWN = 20


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[KnowledgeIndex, Embedder]]:
    embedder = await open_embedder(settings, threads=os.cpu_count() or 1)
    path = knowledge_file(settings)
    index = await asyncio.to_thread(lambda: KnowledgeIndex(path, embedder=embedder.name))
    try:
        yield index, embedder
    finally:
        await embedder.aclose()
        index.close()


class Added(NamedTuple):
    """What `knowledge add` was asked to read."""

    where: str  # a folder, a file, or the address of a site
    topic: str
    url: str = ""
    readers: Sequence[str] = ()
    is_curated: bool = True
    is_in_house: bool = False  # a site in the operator's own network


async def add_source(settings: Settings, added: Added, console: Console | None = None) -> int:
    console = console or Console()
    async with _opened(settings) as (index, embedder):
        with Progress(console=console) as progress:
            task = progress.add_task("Reading", total=None)

            def told(done: int, total: int, name: str) -> None:
                shown = name[-40:] or "Done"
                progress.update(task, completed=done, total=total or None, description=shown)

            report = await _read(index, embedder, added, told)
    _print_report(console, report)
    return 0


async def _read(index: KnowledgeIndex, embedder: Embedder, added: Added, told: Told) -> Report:
    def source_of(name: str) -> Source:
        return index.source(
            name, topic=added.topic, readers=added.readers, curated=added.is_curated
        )

    if added.where.startswith(("http://", "https://")):
        site = Site(added.where, _client(added))
        return await ingest_site(index, embedder, source_of(added.where), site, told=told)
    path = Path(added.where)
    source = source_of(await asyncio.to_thread(_whole, path))
    return await ingest_folder(index, embedder, source, path, base_url=added.url, told=told)


def _client(added: Added) -> SafeClient:
    host = urlsplit(added.where).hostname or ""
    if not added.is_in_house:
        return SafeClient((host,))
    port = urlsplit(added.where).port
    return SafeClient(
        (host,),
        net=Net(is_public=lambda address: True, ports=(80, 443, *((port,) if port else ()))),
    )


def _print_report(console: Console, report: Report) -> None:
    console.print(
        f"{report.new:,} read ({report.passages:,} passages), {report.same:,} unchanged, "
        f"{report.gone:,} dropped, {len(report.unread):,} not read.",
        highlight=False,
    )
    for each in report.unread[:_UNREAD_SHOWN]:
        console.print(Text(f"  {each.name}: {each.reason}"))
    if len(report.unread) > _UNREAD_SHOWN:
        console.print(f"  … and {len(report.unread) - _UNREAD_SHOWN:,} more")
    if report.cut:
        console.print(
            "The site has more pages, or the same ones again and again; it was cut there."
        )


async def print_sources(settings: Settings, console: Console | None = None) -> int:
    console = console or Console()
    async with _opened(settings) as (index, _):
        table = report_table("Knowledge", "source", "topic", "documents", "passages", "readers")
        for source, documents, passages in index.sources():
            readers = ", ".join(sorted(source.label.readers)) or "everyone"
            cells = (source.name, source.topic, f"{documents:,}", f"{passages:,}", readers)
            table.add_row(*map(Text, cells))
    console.print(table)
    return 0


async def remove_source(settings: Settings, name: str, console: Console | None = None) -> int:
    console = console or Console()
    async with _opened(settings) as (index, _):
        gone = await asyncio.to_thread(index.remove, name)
    console.print(Text(f"Dropped {name} with {gone:,} documents."))
    return 0


async def print_found(
    settings: Settings, query: str, *, topic: str, console: Console | None = None
) -> int:
    """As the operator, who may read everything that has no readers named."""
    console = console or Console()
    async with _opened(settings) as (index, embedder):
        found = await Knowledge(
            index, embedder, bar_of(settings), rerank=reranker_of(settings)
        ).search(query, audience="", topics=[topic] if topic else None, limit=_SHOWN)
    for each in found.passages:
        console.print(Text(f"[{each.number}] {each.heading}  {each.url}", style="bold"))
        console.print(Text(f"    {' '.join(each.text.split())[:_CHARS]}"))
    verdict = "would be answered" if found.is_answerable else "would be called not in the documents"
    told = f"It {verdict} (nearness {found.cosine:.3f}, words {found.coverage:.2f})."
    console.print(Text(told))
    return 0


def _whole(path: Path) -> str:
    return str(path.resolve())
