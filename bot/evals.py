"""`firstline eval`: how well the documents are found, and what is refused."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from adapters.knowledge.index import KnowledgeIndex
from agents.ports import Embedder
from bot.knowledge import Bar

AT = 5
WAYS: dict[str, tuple[str, ...]] = {
    "words and vectors": ("words", "vectors"),
    "words alone (BM25)": ("words",),
    "vectors alone": ("vectors",),
}


class Case(NamedTuple):
    """A question, and the documents that answer it; none where nothing does."""

    ask: str
    documents: frozenset[str]


class Retrieval(NamedTuple):
    """Over the answerable questions; the times are of the search without the embedding."""

    recall: float  # of 5: a document that answers is among the first five passages
    reciprocal_rank: float
    p50_ms: float
    p95_ms: float


class Gate(NamedTuple):
    """Shares of questions: answerable ones let through, others refused."""

    let_through: float
    refused: float
    wrongly_refused: tuple[str, ...]
    wrongly_let_through: tuple[str, ...]


class EvalError(Exception):
    """The set of questions can't be used; names the line."""


def load_cases(path: Path) -> list[Case]:
    """`question<TAB>document,document`, or `-` for none; raises `EvalError`."""
    return list(_cases(path.read_text(encoding="utf-8").splitlines(), path))


def _cases(lines: Sequence[str], path: Path) -> Iterator[Case]:
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        ask, tab, wanted = line.partition("\t")
        if not tab or not ask.strip() or not wanted.strip():
            raise EvalError(
                f"{path}:{number}: write a question, a tab, and its documents or `-` for none"
            )
        named = frozenset(each.strip() for each in wanted.split(",")) - {"-"}
        yield Case(ask.strip(), named)


async def vectors_of(embedder: Embedder, cases: Sequence[Case]) -> list[Sequence[float]]:
    return list(await embedder.embed([case.ask for case in cases], "query"))


def retrieval(
    index: KnowledgeIndex,
    cases: Sequence[Case],
    vectors: Sequence[Sequence[float]],
    by: tuple[str, ...],
) -> Retrieval:
    """Blocking."""
    ranks: list[float] = []
    times: list[float] = []
    for case, vector in zip(cases, vectors, strict=True):
        if not case.documents:
            continue
        began = time.perf_counter()
        hits, _ = index.search(case.ask, vector, audience="", limit=AT, by=by)
        times.append((time.perf_counter() - began) * 1000)
        places = [n for n, hit in enumerate(hits, start=1) if hit.document in case.documents]
        ranks.append(1 / places[0] if places else 0.0)
    found = sum(rank > 0 for rank in ranks) / len(ranks)
    p95 = statistics.quantiles(times, n=20)[-1]
    return Retrieval(found, statistics.fmean(ranks), statistics.median(times), p95)


def gate(
    index: KnowledgeIndex, cases: Sequence[Case], vectors: Sequence[Sequence[float]], bar: Bar
) -> Gate:
    """Blocking."""
    refused: list[Case] = []
    for case, vector in zip(cases, vectors, strict=True):
        _, told = index.search(case.ask, vector, audience="", limit=AT)
        if not bar.is_reached(told.cosine, told.coverage):
            refused.append(case)
    answerable = [case for case in cases if case.documents]
    others = [case for case in cases if not case.documents]
    lost = tuple(case.ask for case in refused if case.documents)
    passed = tuple(case.ask for case in others if case not in refused)
    return Gate(
        1 - len(lost) / len(answerable) if answerable else 1.0,
        1 - len(passed) / len(others) if others else 1.0,
        lost,
        passed,
    )


async def measured(
    index: KnowledgeIndex, embedder: Embedder, cases: Sequence[Case], bar: Bar
) -> tuple[dict[str, Retrieval], Gate]:
    """Every way of searching in one run, and the gate."""
    vectors = await vectors_of(embedder, cases)
    await asyncio.to_thread(index.search, "warm up", vectors[0], audience="")
    ways = {
        name: await asyncio.to_thread(retrieval, index, cases, vectors, by)
        for name, by in WAYS.items()
    }
    return ways, await asyncio.to_thread(gate, index, cases, vectors, bar)
