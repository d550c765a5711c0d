"""Where checkpoints lie in Redis: every key and member the saver uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["ids", "points", "marks", "writes"]
KINDS: tuple[Kind, ...] = ("ids", "points", "marks", "writes")
_LEAST_INDEX = 10_000  # above what LangGraph's special writes go below zero


@dataclass(frozen=True, slots=True)
class Space:
    """A namespace of a thread; the graph's own is the empty one."""

    thread: str
    name: str


@dataclass(frozen=True, slots=True)
class Point:
    """One checkpoint's place."""

    checkpoint_id: str
    space: Space

    def mark(self, task_path: str, task_id: str, index: int) -> str:
        """A write's member: sorted by bytes, a checkpoint's writes are in LangGraph's order."""
        return "\0".join((self.checkpoint_id, task_path, task_id, f"{_LEAST_INDEX + index:08}"))

    @property
    def marks_from(self) -> str:
        return f"{self.checkpoint_id}\0"

    @property
    def marks_to(self) -> str:
        return f"{self.checkpoint_id}\1"


class ThreadKeys:
    """Key names under one prefix; parts are length-prefixed, so none can imitate another."""

    def __init__(self, prefix: str) -> None:
        self._root = f"{prefix}:v1:langgraph:"

    @property
    def threads(self) -> str:
        return f"{self._root}threads"

    def spaces(self, thread: str) -> str:
        return f"{self._root}{len(thread)}:{thread}:spaces"

    def of(self, space: Space, kind: Kind) -> str:
        thread, name = space.thread, space.name
        return f"{self._root}{len(thread)}:{thread}:{kind}:{len(name)}:{name}"
