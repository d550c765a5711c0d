"""Search at 100,000 passages, with the embedding of the question."""

from __future__ import annotations

import random
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from adapters.knowledge.chunks import Chunk
from adapters.knowledge.documents import Document
from adapters.knowledge.index import KnowledgeIndex
from adapters.models.embedders import load_packaged
from benchmarks.report import Table
from bot.evals import load_cases

PASSAGES = 100_000
_A_PAGE = 50
_WORDS, _VOCABULARY, _DIMENSIONS = 120, 30_000, 384
_QUERIES, _ASKED = 200, 6
_SILENT = 150  # the commonest words, which no search looks for
QUESTIONS = Path(__file__).parent / "support" / "questions.tsv"
GOAL_MS = 50.0  # p95 (issue of the knowledge base)


def vocabulary(silent: int = 0) -> tuple[list[str], list[float]]:
    """Words with their weights, added up: as often as in language (Zipf)."""
    names = [f"w{n}" for n in range(silent, _VOCABULARY)]
    return names, list(accumulate(1 / (n + 10) for n in range(silent, _VOCABULARY)))


def pages(chance: random.Random) -> Iterator[tuple[Document, list[Chunk]]]:
    """Pages of words as they come."""
    names, weights = vocabulary()
    for number in range(PASSAGES // _A_PAGE):
        chunks = [
            Chunk(f"Page {number}", " ".join(chance.choices(names, cum_weights=weights, k=_WORDS)))
            for _ in range(_A_PAGE)
        ]
        yield Document(f"p{number}", f"Page {number}", "", ()), chunks


async def measure() -> list[Table]:
    chance, draw = random.Random(7), np.random.default_rng(7)

    def vectors(count: int) -> Sequence[Sequence[float]]:
        found = draw.standard_normal((count, _DIMENSIONS)).astype(np.float32)
        return list(found / np.linalg.norm(found, axis=1, keepdims=True))

    embedder = await load_packaged()
    with tempfile.TemporaryDirectory() as folder:
        index = KnowledgeIndex(Path(folder) / "k.sqlite", embedder="drawn")
        source = index.source("drawn", topic="t")
        for document, chunks in pages(chance):
            index.put(source.source_id, document, chunks, vectors(len(chunks)))
        index.search("warm up", vectors(1)[0], audience="")
        times: list[float] = []
        asked = load_cases(QUESTIONS)
        names, weights = vocabulary(_SILENT)
        for _ in range(_QUERIES):
            query = " ".join(chance.choices(names, cum_weights=weights, k=_ASKED))
            began = time.perf_counter()
            await embedder.embed([chance.choice(asked).ask], "query")  # of a real question's length
            index.search(query, vectors(1)[0], audience="")
            times.append((time.perf_counter() - began) * 1000)
        index.close()
    p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    table = Table(f"The knowledge base at {PASSAGES:,} passages", ("what", "figure", "goal"))
    table.add("a question embedded and looked up, p50", f"{p50:.1f} ms", "-")
    table.add("the same, p95", f"{p95:.1f} ms", f"≤ {GOAL_MS:g} ms")
    table.add("peak memory of the process", f"{rss:.0f} MB", "-")
    return [table]
