"""The knowledge base in the running bot: opened where it is, asked for what may be read."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog

from agents.citations import NOBODY_ASKED, Alike
from agents.errors import BackendError
from agents.ports import Embedder
from bot.settings import Settings, SettingsError
from tools.contract import Passage, ToolError

if TYPE_CHECKING:
    from adapters.knowledge.index import KnowledgeIndex

log = structlog.get_logger(__name__)

PACKAGED = "embedded"
FILE = "knowledge.sqlite"
SAME = 0.855  # of the packaged embedder; tests/knowledge/test_citations.py has the pairs
_RERANKED = 4  # times as many passages are put in order as are wanted
_ALL_WORDS, _ALLOWANCE = 0.99, 0.05


Rerank = Callable[[str, list[str]], Sequence[float]]  # question, passages → a score for each


class Bar(NamedTuple):
    """What a question must reach to be answered; below it the answer is not in the documents.

    `nearness` is the cosine of the best passage and depends on the embedder; `words` the share of
    the question's words, by how rare they are, that the passages found hold. Where they hold all,
    a little less nearness will do. The defaults are from docs/support.md.
    """

    nearness: float = 0.87
    words: float = 0.45

    def is_reached(self, cosine: float, coverage: float) -> bool:
        if coverage >= _ALL_WORDS:
            return cosine >= self.nearness - _ALLOWANCE
        return cosine >= self.nearness and coverage >= self.words


class Found(NamedTuple):
    """Passages, and how much speaks for the answer being among them."""

    passages: tuple[Passage, ...]
    cosine: float
    coverage: float
    is_answerable: bool
    vectors: tuple[tuple[float, ...], ...] = ()  # of the passages, in their order


class Knowledge:
    """Searches; raises `ToolError` when the embedder is away."""

    def __init__(
        self,
        index: KnowledgeIndex,
        embedder: Embedder,
        bar: Bar,
        *,
        is_local: bool = True,
        rerank: Rerank | None = None,
        alike: float = SAME,
    ) -> None:
        """`is_local`: questions are embedded on this machine. `rerank` orders what was found;
        `alike` is the cosine from which a claim means what a passage says."""
        self._index, self._embedder, self._bar = index, embedder, bar
        self._rerank, self._alike = rerank, alike
        self.is_local = is_local

    async def search(
        self, query: str, *, audience: str, topics: Iterable[str] | None, limit: int
    ) -> Found:
        try:
            [vector] = await self._embedder.embed([query], "query")
        except BackendError as error:
            log.warning("knowledge.embedder_down", why=error.detail)
            raise ToolError("the documents can't be searched just now") from error

        def look() -> Found:
            wide = limit if self._rerank is None else limit * _RERANKED
            hits, answerable = self._index.search(
                query, vector, audience=audience, topics=topics, limit=wide
            )
            if self._rerank is not None and hits:
                scores = self._rerank(query, [f"{hit.heading}\n{hit.text}" for hit in hits])
                ranked = sorted(zip(scores, hits, strict=True), key=lambda each: -each[0])
                hits = [hit for _, hit in ranked[:limit]]
            passages = tuple(
                Passage(n, hit.title, hit.heading, hit.text, hit.url, hit.label)
                for n, hit in enumerate(hits, start=1)
            )
            is_there = self._bar.is_reached(answerable.cosine, answerable.coverage)
            vectors = tuple(hit.vector for hit in hits)
            return Found(passages, answerable.cosine, answerable.coverage, is_there, vectors)

        return await asyncio.to_thread(look)

    async def alike(
        self, sentences: Sequence[str], vectors: Mapping[int, Sequence[float]]
    ) -> Alike:
        """How near each sentence comes to each passage; nothing while the embedder is away."""
        try:
            told = await self._embedder.embed(sentences, "passage")
        except BackendError as error:
            log.warning("knowledge.embedder_down", why=error.detail)
            return NOBODY_ASKED
        cosines = {
            (sentence, number): _cosine(mine, theirs)
            for sentence, mine in zip(sentences, told, strict=True)
            for number, theirs in vectors.items()
        }
        return Alike(cosines, self._alike)


def _is_local(settings: Settings) -> bool:
    name = next(iter(settings.roles.embed), PACKAGED)
    return name == PACKAGED or settings.routes[name].placement == "local"


def reranker_of(settings: Settings) -> Rerank | None:
    """The operator's own function, if one is named; raises `SettingsError`."""
    if not settings.knowledge.rerank:
        return None
    module, _, name = settings.knowledge.rerank.partition(":")
    try:
        found: Rerank = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"knowledge.rerank: {settings.knowledge.rerank!r}: {error}") from error
    return found


def bar_of(settings: Settings) -> Bar:
    return Bar(settings.knowledge.nearness, settings.knowledge.words)


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=False)) if other else -1.0


def knowledge_file(settings: Settings) -> Path:
    return settings.data_dir / FILE


async def open_embedder(settings: Settings, *, threads: int = 1) -> Embedder:
    """The first route of the role `embed`, or the packaged one; raises `BackendError`."""
    from adapters.models.embedders import ServerEmbedder, load_packaged

    name = next(iter(settings.roles.embed), PACKAGED)
    if name == PACKAGED:
        return await load_packaged(threads=threads)
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
        yield Knowledge(
            index,
            embedder,
            bar_of(settings),
            is_local=_is_local(settings),
            rerank=reranker_of(settings),
            alike=settings.knowledge.alike,
        )
    finally:
        await embedder.aclose()
        index.close()
