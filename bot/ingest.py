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
from adapters.knowledge.index import KnowledgeIndex, Source
from agents.ports import Embedder


class Report(NamedTuple):
    """Counts of documents, and what could not be read."""

    new: int = 0
    same: int = 0
    gone: int = 0
    passages: int = 0
    unread: tuple[Unread, ...] = ()


async def ingest_folder(
    index: KnowledgeIndex,
    embedder: Embedder,
    source: Source,
    path: Path,
    *,
    base_url: str = "",
    told: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> Report:
    """Each document is stored whole as soon as it is read, so it may be interrupted and begun
    anew: what is there already is told by its digest. `told` hears of the progress."""
    names = [name for name, _ in await asyncio.to_thread(lambda: list(files_in(path)))]
    sandbox = Sandbox()
    try:
        documents = read_files(path, sandbox, base_url=base_url)
        return await _ingest(index, embedder, source, documents, names, told)
    finally:
        await sandbox.aclose()


async def _ingest(
    index: KnowledgeIndex,
    embedder: Embedder,
    source: Source,
    documents: AsyncIterator[Document | Unread],
    names: list[str],
    told: Callable[[int, int, str], None],
) -> Report:
    known = await asyncio.to_thread(index.digests, source.source_id)
    new = same = passages = done = 0
    unread: list[Unread] = []
    async for found in documents:
        told(done, len(names), found.name)
        done += 1
        if isinstance(found, Unread):
            unread.append(found)
        elif known.get(found.name) == found.digest:
            same += 1
        else:
            passages += await _put(index, embedder, source, found)
            new += 1
    told(done, len(names), "")
    read = set(names) - {each.name for each in unread}
    gone = [name for name in known if name not in read]
    await asyncio.to_thread(index.drop, source.source_id, gone)
    return Report(new, same, len(gone), passages, tuple(unread))


async def _put(
    index: KnowledgeIndex, embedder: Embedder, source: Source, document: Document
) -> int:
    chunks = await asyncio.to_thread(lambda: list(cut(document, embedder.count_tokens)))
    vectors = await embedder.embed([chunk.whole for chunk in chunks], "passage")
    await asyncio.to_thread(index.put, source.source_id, document, chunks, vectors)
    return len(chunks)
