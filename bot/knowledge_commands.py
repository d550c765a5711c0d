"""What the commands of `firstline knowledge` do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from adapters.knowledge.index import KnowledgeIndex
from agents.ports import Embedder
from bot.ingest import ingest_folder
from bot.knowledge import Knowledge, bar_of, knowledge_file, open_embedder
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


async def add_folder(
    settings: Settings,
    path: Path,
    *,
    topic: str,
    url: str,
    readers: Sequence[str],
    curated: bool,
    console: Console | None = None,
) -> int:
    console = console or Console()
    async with _opened(settings) as (index, embedder):
        name = await asyncio.to_thread(lambda: str(path.resolve()))
        source = index.source(name, topic=topic, readers=readers, curated=curated)
        with Progress(console=console) as progress:
            task = progress.add_task("Reading", total=None)

            def told(done: int, total: int, name: str) -> None:
                progress.update(task, completed=done, total=total, description=name[-40:] or "Done")

            report = await ingest_folder(index, embedder, source, path, base_url=url, told=told)
    console.print(
        f"{report.new:,} read ({report.passages:,} passages), {report.same:,} unchanged, "
        f"{report.gone:,} dropped, {len(report.unread):,} not read.",
        highlight=False,
    )
    for each in report.unread[:_UNREAD_SHOWN]:
        console.print(Text(f"  {each.name}: {each.reason}"))
    if len(report.unread) > _UNREAD_SHOWN:
        console.print(f"  … and {len(report.unread) - _UNREAD_SHOWN:,} more")
    return 0


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
        found = await Knowledge(index, embedder, bar_of(settings)).search(
            query, audience="", topics=[topic] if topic else None, limit=_SHOWN
        )
    for each in found.passages:
        console.print(Text(f"[{each.number}] {each.heading}  {each.url}", style="bold"))
        console.print(Text(f"    {' '.join(each.text.split())[:_CHARS]}"))
    verdict = "would be answered" if found.is_answerable else "would be called not in the documents"
    told = f"It {verdict} (nearness {found.cosine:.3f}, words {found.coverage:.2f})."
    console.print(Text(told))
    return 0


def _whole(path: Path) -> str:
    return str(path.resolve())
