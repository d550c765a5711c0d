"""The knowledge base in the running bot: opened where it is, asked for what may be read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog

from agents.errors import BackendError
from agents.ports import Embedder
from bot.settings import Settings
from tools.contract import Passage, ToolError

if TYPE_CHECKING:
    from adapters.knowledge.index import KnowledgeIndex

log = structlog.get_logger(__name__)

PACKAGED = "embedded"
FILE = "knowledge.sqlite"
# Both from `benchmarks/support` (docs/support.md): below them the answer is not in the documents.
LEAST_COSINE = 0.86
LEAST_COVERAGE = 0.55


class Found(NamedTuple):
    """Passages, and how much speaks for the answer being among them."""

    passages: tuple[Passage, ...]
    cosine: float
    coverage: float

    @property
    def is_answerable(self) -> bool:
        return self.cosine >= LEAST_COSINE and self.coverage >= LEAST_COVERAGE


class Knowledge:
    """Searches; raises `ToolError` when the embedder is away."""

    def __init__(self, index: KnowledgeIndex, embedder: Embedder) -> None:
        self._index, self._embedder = index, embedder

    async def search(
        self, query: str, *, audience: str, topics: Iterable[str] | None, limit: int
    ) -> Found:
        try:
            [vector] = await self._embedder.embed([query], "query")
        except BackendError as error:
            log.warning("knowledge.embedder_down", why=error.detail)
            raise ToolError("the documents can't be searched just now") from error

        def look() -> Found:
            hits, answerable = self._index.search(
                query, vector, audience=audience, topics=topics, limit=limit
            )
            passages = tuple(
                Passage(n, hit.title, hit.heading, hit.text, hit.url, hit.label)
                for n, hit in enumerate(hits, start=1)
            )
            return Found(passages, answerable.cosine, answerable.coverage)

        return await asyncio.to_thread(look)


def knowledge_file(settings: Settings) -> Path:
    return settings.data_dir / FILE


async def open_embedder(settings: Settings) -> Embedder:
    """The first route of the role `embed`, or the packaged one; raises `BackendError`."""
    from adapters.models.embedders import ServerEmbedder, load_packaged

    name = next(iter(settings.roles.embed), PACKAGED)
    if name == PACKAGED:
        return await load_packaged()
    route = settings.routes[name]
    if route.base_url is None:
        raise BackendError(
            name,
            "a route of role embed is a server with /embeddings, or `embedded`",
            retryable=False,
        )
    key = route.api_key.get_secret_value() if route.api_key else ""
    return ServerEmbedder(route.base_url, route.model, key=key)


@asynccontextmanager
async def open_knowledge(settings: Settings) -> AsyncIterator[Knowledge | None]:
    """What `firstline knowledge add` has made; None where nothing was added."""
    path = knowledge_file(settings)
    if not path.exists() or find_spec("langchain_text_splitters") is None:
        yield None
        return
    from adapters.knowledge.index import KnowledgeIndex

    embedder = await open_embedder(settings)
    index = await asyncio.to_thread(lambda: KnowledgeIndex(path, embedder=embedder.name))
    try:
        yield Knowledge(index, embedder)
    finally:
        await embedder.aclose()
        index.close()
