"""The index: one SQLite file with the documents, their words (FTS5) and their vectors.

A query is answered by both: BM25 over the words, exact cosine over all vectors, joined by
reciprocal rank fusion. What the readers of the reply may not read is left out before ranking.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.knowledge.chunks import Chunk
from adapters.knowledge.documents import Document
from adapters.knowledge.errors import KnowledgeError
from adapters.knowledge.records import SCHEMA, Answerable, Hit, Source, source_of
from adapters.knowledge.words import words_of
from tools.labels import Integrity, Label

FORMAT = 1
_CANDIDATES = 50  # of each way of searching
_RRF = 60  # Cormack, Clarke and Büttcher (2009)
_HEADING_WEIGHT = 2.0
_COMMON = 5000  # a word of more passages tells little
_MOST_RANKED = 8000  # passages that BM25 weighs for one question: the words they cost, rarest first
_RELOAD_SHARE = 20  # times as long as a reload took is the next one waited for
_PER_DOCUMENT = 2  # passages of one page among those found


class KnowledgeIndex:
    """Blocking; callers go through a thread. Raises `KnowledgeError`."""

    def __init__(self, path: Path, *, embedder: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, timeout=30)
        try:
            self._db.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            raise KnowledgeError(
                f"{path}: is no index of knowledge ({error}); delete it and add the sources again"
            ) from error
        self._check(path, embedder)
        self._seen, self._reload_from = -1, 0.0
        self._matrix: NDArray[np.float32] = np.zeros((0, 1), np.float32)
        self._ids: NDArray[np.int64] = np.zeros(0, np.int64)
        self._of: NDArray[np.int64] = np.zeros(0, np.int64)

    def _check(self, path: Path, embedder: str) -> None:
        meta = dict(self._db.execute("SELECT name, value FROM meta"))
        if meta["format"] != str(FORMAT):
            raise KnowledgeError(f"{path}: format {meta['format']}; this version knows {FORMAT}")
        known = meta.setdefault("embedder", embedder)
        if known != embedder:
            raise KnowledgeError(
                f"{path}: was made with the embedder {known!r}, and {embedder!r} is set now; "
                "delete the file and add the sources again, or set the old one"
            )
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('embedder', ?)", (embedder,))
        self._db.commit()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # What is there

    def source(
        self, name: str, *, topic: str, readers: Iterable[str] = (), curated: bool = True
    ) -> Source:
        """The source of that name, made or changed to this."""
        label = Label(Integrity.OPERATOR if curated else Integrity.UNTRUSTED, frozenset(readers))
        with self._lock, self._db:
            self._db.execute(
                "INSERT INTO sources(name, topic, readers, curated) VALUES (?, ?, ?, ?) "
                "ON CONFLICT(name) DO UPDATE SET topic = excluded.topic, "
                "readers = excluded.readers, curated = excluded.curated",
                (name, topic, json.dumps(sorted(label.readers)), int(curated)),
            )
            [row] = self._db.execute("SELECT id FROM sources WHERE name = ?", (name,))
        return Source(row[0], name, topic, label)

    def sources(self) -> list[tuple[Source, int, int]]:
        """Every source, with its documents and its passages."""
        with self._lock:
            rows = self._db.execute(
                "SELECT id, name, topic, readers, curated, "
                "(SELECT count(*) FROM documents WHERE source_id = sources.id), "
                "(SELECT count(*) FROM chunks WHERE source_id = sources.id) "
                "FROM sources ORDER BY name"
            ).fetchall()
        return [(source_of(row[:5]), row[5], row[6]) for row in rows]

    def digests(self, source_id: int) -> dict[str, str]:
        """What is kept of each document of a source, by its name."""
        with self._lock:
            rows = self._db.execute(
                "SELECT name, digest FROM documents WHERE source_id = ?", (source_id,)
            )
            return dict(rows.fetchall())

    # Changes

    def put(
        self,
        source_id: int,
        document: Document,
        chunks: Sequence[Chunk],
        vectors: Sequence[Sequence[float]],
    ) -> None:
        """A document whole, in the place of what was kept of it, or not at all."""
        with self._lock, self._db:
            self._drop(source_id, document.name)
            made = self._db.execute(
                "INSERT INTO documents(source_id, name, title, url, digest) VALUES (?,?,?,?,?)",
                (source_id, document.name, document.title, document.url, document.digest),
            )
            for chunk, vector in zip(chunks, vectors, strict=True):
                stored = np.asarray(vector, np.float32).tobytes()
                row = (made.lastrowid, source_id, chunk.heading, chunk.text, stored)
                put = self._db.execute(
                    "INSERT INTO chunks(document_id, source_id, heading, text, vector) "
                    "VALUES (?,?,?,?,?)",
                    row,
                )
                self._db.execute(
                    "INSERT INTO found(rowid, heading, text) VALUES (?,?,?)",
                    (put.lastrowid, chunk.heading, chunk.text),
                )

    def drop(self, source_id: int, names: Iterable[str]) -> None:
        with self._lock, self._db:
            for name in names:
                self._drop(source_id, name)

    def remove(self, name: str) -> int:
        """Drop a source with all its documents; how many there were. Raises `KnowledgeError`."""
        with self._lock, self._db:
            row = self._db.execute("SELECT id FROM sources WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise KnowledgeError(f"there is no source {name!r}; `knowledge list` shows them")
            names = self._db.execute(
                "SELECT name FROM documents WHERE source_id = ?", row
            ).fetchall()
            for (document,) in names:
                self._drop(row[0], document)
            self._db.execute("DELETE FROM sources WHERE id = ?", row)
        return len(names)

    def _drop(self, source_id: int, name: str) -> None:
        where = "document_id IN (SELECT id FROM documents WHERE source_id = ? AND name = ?)"
        self._db.execute(
            "INSERT INTO found(found, rowid, heading, text) "  # noqa: S608  our own words
            f"SELECT 'delete', id, heading, text FROM chunks WHERE {where}",
            (source_id, name),
        )
        self._db.execute(f"DELETE FROM chunks WHERE {where}", (source_id, name))  # noqa: S608
        self._db.execute(
            "DELETE FROM documents WHERE source_id = ? AND name = ?", (source_id, name)
        )

    # Search

    def search(
        self,
        query: str,
        vector: Sequence[float],
        *,
        audience: str,
        topics: Iterable[str] | None = None,
        limit: int = 5,
        by: tuple[str, ...] = ("words", "vectors"),
    ) -> tuple[list[Hit], Answerable]:
        """The best passages that everyone in `audience` may read, the best first; of `topics`,
        or of all. `by` leaves out a way of searching, for the evals."""
        with self._lock:
            self._refresh()
            allowed = self._allowed(audience, None if topics is None else frozenset(topics))
            if not allowed:
                return [], Answerable(-1.0, 0.0)
            words = words_of(query)
            counts = {word: self._count(word) for word in words}
            cosines = self._cosines(vector, allowed) if len(self._ids) else {}
            ranked: dict[int, float] = {}
            lists = []
            if "words" in by:
                lists.append(self._by_words(counts, allowed))
            if "vectors" in by:
                lists.append(list(cosines)[:_CANDIDATES])
            for found in lists:
                for place, chunk_id in enumerate(found):
                    ranked[chunk_id] = ranked.get(chunk_id, 0.0) + 1 / (_RRF + place + 1)
            order = sorted(ranked, key=lambda each: (-ranked[each], each))
            hits = self._hits(order, ranked, allowed, cosines, limit)
            best = max((hit.cosine for hit in hits), default=-1.0)
            return hits, Answerable(best, self._coverage(counts, [hit.chunk_id for hit in hits]))

    def _allowed(self, audience: str, topics: frozenset[str] | None) -> dict[int, Label]:
        rows = self._db.execute("SELECT id, name, topic, readers, curated FROM sources")
        found = map(source_of, rows.fetchall())
        return {
            each.source_id: each.label
            for each in found
            if each.label.may_flow_to(audience) and (topics is None or each.topic in topics)
        }

    def _count(self, word: str) -> int:
        """The passages that hold it, counted up to `_COMMON`."""
        [row] = self._db.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM found WHERE found MATCH ? LIMIT {_COMMON})",  # noqa: S608
            (f'"{word}"',),
        )
        return int(row[0])

    def _by_words(self, counts: Mapping[str, int], allowed: Mapping[int, Label]) -> list[int]:
        words: list[str] = []
        room = _MOST_RANKED
        for word, count in sorted(counts.items(), key=lambda each: each[1]):
            room -= count
            if 0 < count < _COMMON and (room >= 0 or not words):
                words.append(word)
        if not words:
            return []  # the vectors know better than words that stand everywhere
        marks = ",".join("?" * len(allowed))
        rows = self._db.execute(
            "SELECT found.rowid FROM found JOIN chunks ON chunks.id = found.rowid "  # noqa: S608
            f"WHERE found MATCH ? AND chunks.source_id IN ({marks}) "
            f"ORDER BY bm25(found, {_HEADING_WEIGHT}, 1.0) LIMIT {_CANDIDATES}",
            (" OR ".join(f'"{word}"' for word in words), *allowed),
        )
        return [row[0] for row in rows]

    def _cosines(self, vector: Sequence[float], allowed: Mapping[int, Label]) -> dict[int, float]:
        """The nearest passages by chunk id, the nearest first."""
        scores = self._matrix @ np.asarray(vector, np.float32)
        mask = np.isin(self._of, np.fromiter(allowed, np.int64))
        scores = np.where(mask, scores, -2.0)
        most = min(_CANDIDATES, int(mask.sum()))
        if not most:
            return {}
        nearest = np.argpartition(-scores, most - 1)[:most]
        nearest = nearest[np.argsort(-scores[nearest], kind="stable")]
        return {int(self._ids[at]): float(scores[at]) for at in nearest}

    def _hits(
        self,
        order: Sequence[int],
        ranked: Mapping[int, float],
        allowed: Mapping[int, Label],
        cosines: Mapping[int, float],
        limit: int,
    ) -> list[Hit]:
        """A few passages of a page at most, so that one page does not hide the others."""
        hits: list[Hit] = []
        of_document: dict[int, int] = {}
        for chunk_id in order:
            row = self._db.execute(
                "SELECT documents.id, title, url, name, heading, text, chunks.source_id "
                "FROM chunks JOIN documents ON documents.id = document_id WHERE chunks.id = ?",
                (chunk_id,),
            ).fetchone()
            if row is None or of_document.get(row[0], 0) >= _PER_DOCUMENT:
                continue
            of_document[row[0]] = of_document.get(row[0], 0) + 1
            cosine = cosines.get(chunk_id, -1.0)
            title, url, name, heading, text, source_id = row[1:]
            label = allowed[source_id]
            hits.append(
                Hit(
                    chunk_id,
                    title,
                    url,
                    name,
                    heading,
                    text,
                    label,
                    ranked[chunk_id],
                    cosine,
                    self._vector(chunk_id),
                )
            )
            if len(hits) == limit:
                break
        return hits

    def _vector(self, chunk_id: int) -> tuple[float, ...]:
        """Of the passage, as it was when the vectors were read; empty for a newer one."""
        at = int(np.searchsorted(self._ids, chunk_id))
        if at >= len(self._ids) or self._ids[at] != chunk_id:
            return ()
        return tuple(map(float, self._matrix[at]))

    def _coverage(self, counts: Mapping[str, int], chunk_ids: Sequence[int]) -> float:
        """Of the words' weight (rare ones weigh most), what the passages hold."""
        if not counts or not chunk_ids:
            return 0.0
        total = there = 0.0
        marks = ",".join("?" * len(chunk_ids))
        for word, count in counts.items():
            term = f'"{word}"'
            weight = math.log((len(self._ids) + 1) / (count + 1)) + 0.1
            held = self._db.execute(
                f"SELECT 1 FROM found WHERE found MATCH ? AND rowid IN ({marks}) LIMIT 1",  # noqa: S608
                (term, *chunk_ids),
            ).fetchone()
            total += weight
            there += weight if held else 0.0
        return there / total if total else 0.0

    def _refresh(self) -> None:
        """The vectors in memory, read again when this or another process has changed them."""
        [(version,)] = self._db.execute("PRAGMA data_version").fetchall()
        [(changes,)] = self._db.execute("SELECT total_changes()").fetchall()
        began = time.monotonic()
        if (stamp := version * 1_000_003 + changes) == self._seen or began < self._reload_from:
            return
        rows = self._db.execute("SELECT id, source_id, vector FROM chunks ORDER BY id").fetchall()
        self._ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        self._of = np.fromiter((row[1] for row in rows), np.int64, len(rows))
        if rows:
            raw = b"".join(row[2] for row in rows)
            self._matrix = np.frombuffer(raw, np.float32).reshape(len(rows), -1)
        self._seen = stamp
        # Beside a long `add`, which changes it every second, most of the time is left to searches.
        self._reload_from = began + _RELOAD_SHARE * (time.monotonic() - began)
