"""What lies in the index, and what a search gives."""

from __future__ import annotations

import json
from typing import NamedTuple

from tools.labels import Integrity, Label

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sources(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, topic TEXT NOT NULL,
  readers TEXT NOT NULL, curated INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS documents(
  id INTEGER PRIMARY KEY, source_id INTEGER NOT NULL REFERENCES sources, name TEXT NOT NULL,
  title TEXT NOT NULL, url TEXT NOT NULL, digest TEXT NOT NULL, UNIQUE(source_id, name));
CREATE TABLE IF NOT EXISTS chunks(
  id INTEGER PRIMARY KEY, document_id INTEGER NOT NULL REFERENCES documents,
  source_id INTEGER NOT NULL, heading TEXT NOT NULL, text TEXT NOT NULL, vector BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS chunks_by_document ON chunks(document_id);
CREATE VIRTUAL TABLE IF NOT EXISTS found USING fts5(
  heading, text, content='chunks', content_rowid='id', tokenize='porter unicode61');
INSERT OR IGNORE INTO meta VALUES ('format', '1');
"""


class Source(NamedTuple):
    """Where documents come from. `topic` is the set that channels name; only what an operator
    has read (`curated`) counts as more than a stranger's words."""

    source_id: int
    name: str
    topic: str
    label: Label


class Hit(NamedTuple):
    """A passage that was found; `cosine` is -1 … 1, `score` only orders the hits of one query."""

    chunk_id: int
    title: str
    url: str
    document: str
    heading: str
    text: str
    label: Label
    score: float
    cosine: float
    vector: tuple[float, ...] = ()


class Answerable(NamedTuple):
    """How much speaks for the answer being there."""

    cosine: float  # of the nearest passage
    coverage: float  # 0 … 1: of the question's words, by how rare they are, in the best passages


def source_of(row: tuple[int, str, str, str, int]) -> Source:
    source_id, name, topic, readers, curated = row
    integrity = Integrity.OPERATOR if curated else Integrity.UNTRUSTED
    return Source(source_id, name, topic, Label(integrity, frozenset(json.loads(readers))))
