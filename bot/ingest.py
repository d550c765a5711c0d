"""`firstline knowledge add`: what is new or changed is read, what is gone is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

from adapters.decoding.sandbox import Sandbox
from adapters.knowledge.chunks import cut
from adapters.knowledge.documents import Document
from adapters.knowledge.folder import Unread, files_in, read_files
from adapters.knowledge.index import KnowledgeIndex
from adapters.knowledge.records import Source
from adapters.knowledge.site import Site
from agents.ports import Embedder

Told = Callable[[int, int, str], None]  # done, of how many (0: nobody knows), what is read now


class Report(NamedTuple):
    """Counts of documents, and what could not be read."""

    new: int = 0
    same: int = 0
    gone: int = 0
    passages: int = 0
    unread: tuple[Unread, ...] = ()
    cut: bool = False  # a site had more pages than may be read


async def ingest_folder(
    index: KnowledgeIndex,
    embedder: Embedder,
    source: Source,
    path: Path,
    *,
    base_url: str = "",
    told: Told = lambda done, total, name: None,
) -> Report:
    """Each document is stored whole as soon as it is read, so it may be interrupted and begun
    anew: what is there already is told by its digest. `told` hears of the progress."""
    names = [name for name, _ in await asyncio.to_thread(lambda: list(files_in(path)))]
    async with Sandbox() as sandbox:
        documents = read_files(path, sandbox, base_url=base_url)
        report = await _ingest(
            index, embedder, source, documents, lambda done, name: told(done, len(names), name)
        )
    gone = set(await _known(index, source)) - set(report.read)
    await asyncio.to_thread(index.drop, source.source_id, gone)
    return report.report._replace(gone=len(gone))


async def ingest_site(
    index: KnowledgeIndex,
    embedder: Embedder,
    source: Source,
    site: Site,
    *,
    told: Told = lambda done, total, name: None,
) -> Report:
    """Like a folder; a page that can't be had just now is kept as it was, one that is gone goes.

    Where more is there than may be read, nothing is dropped.
    """
    report = await _ingest(
        index, embedder, source, site.pages(), lambda done, name: told(done, 0, name)
    )
    away = {each.name for each in report.report.unread if not _is_gone(each)}
    gone = set(await _known(index, source)) - set(report.read) - away
    if site.is_cut:
        gone = set()
    await asyncio.to_thread(index.drop, source.source_id, gone)
    return report.report._replace(gone=len(gone), cut=site.is_cut)


class _Read(NamedTuple):
    report: Report
    read: tuple[str, ...]


async def _ingest(
    index: KnowledgeIndex,
    embedder: Embedder,
    source: Source,
    documents: AsyncIterator[Document | Unread],
    told: Callable[[int, str], None],
) -> _Read:
    known = await _known(index, source)
    new = same = passages = 0
    unread: list[Unread] = []
    read: list[str] = []
    async for found in documents:
        told(len(read) + len(unread), found.name)
        if isinstance(found, Unread):
            unread.append(found)
            continue
        read.append(found.name)
        if known.get(found.name) == found.digest:
            same += 1
            continue
        passages += await _put(index, embedder, source, found)
        new += 1
    told(len(read) + len(unread), "")
    return _Read(Report(new, same, 0, passages, tuple(unread)), tuple(read))


async def _known(index: KnowledgeIndex, source: Source) -> dict[str, str]:
    return await asyncio.to_thread(index.digests, source.source_id)


def _is_gone(page: Unread) -> bool:
    return page.reason.endswith((" 404", " 410"))


async def _put(
    index: KnowledgeIndex, embedder: Embedder, source: Source, document: Document
) -> int:
    chunks = await asyncio.to_thread(lambda: list(cut(document, embedder.count_tokens)))
    vectors = await embedder.embed([chunk.whole for chunk in chunks], "passage")
    await asyncio.to_thread(index.put, source.source_id, document, chunks, vectors)
    return len(chunks)
