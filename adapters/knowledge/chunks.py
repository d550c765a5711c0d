"""Sections cut to what an embedder reads at once, each with the headings it stands under."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from langchain_text_splitters import RecursiveCharacterTextSplitter

from adapters.knowledge.documents import Document

MAX_TOKENS = 256  # of a chunk with its headings; e5 reads 512, and finds short passages better
OVERLAP_TOKENS = 24
_LEAST_TOKENS = 64  # left for text under the longest headings
_HEADINGS_SHOWN = 4


class Chunk(NamedTuple):
    """One passage; `text` is what is shown and embedded, below its headings."""

    heading: str  # "Page › Section › Part"
    text: str

    @property
    def whole(self) -> str:
        return f"{self.heading}\n{self.text}" if self.heading else self.text


def cut(
    document: Document, count: Callable[[str], int], *, max_tokens: int = MAX_TOKENS
) -> Iterator[Chunk]:
    """Neighbouring short sections stay apart: a heading belongs to its own text."""
    for section in document.sections:
        path = section.path or (document.title,)
        heading = " › ".join(path[-_HEADINGS_SHOWN:])
        room = max(max_tokens - count(heading), _LEAST_TOKENS)
        if count(section.text) <= room:
            yield Chunk(heading, section.text)
            continue
        splitter = RecursiveCharacterTextSplitter(
            chunk_size=room, chunk_overlap=OVERLAP_TOKENS, length_function=count
        )
        for text in splitter.split_text(section.text):
            yield Chunk(heading, text)
