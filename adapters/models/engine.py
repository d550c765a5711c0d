"""What an in-process engine gives to `LocalBackend`: blocking steps, made by one thread.

To add an engine, write `Engine` and `Generation` for it in a file named as the backend, with
a function `load` as in `openvino.py`; settings know it by `LocalEngine` in
`bot/model_sections.py`. `token_loop.py` has the loop for an engine that shows its logits.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from agents.ports import FinishReason, ImageData
from tools.contract import JsonSchema

_CONTEXTS_KEPT = 4
Emit = Callable[[str], bool]  # takes text for the reader; False: nobody reads on


class EngineUnavailable(Exception):
    """The engine's packages or the model's files are missing, unreadable or too big."""


@dataclass(frozen=True, slots=True)
class Job:
    """One generation; the prompt is rendered and known to fit the context."""

    prompt: str
    max_tokens: int
    temperature: float = 0.0
    schema: JsonSchema | None = None
    images: tuple[ImageData, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0  # of the prompt, not evaluated again


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an operator wants an engine to run; None is the engine's own choice."""

    device: str | None = None
    threads: int | None = None
    slots: int | None = None  # generations at once
    kept_tokens: int | None = None  # of prompts, kept in memory for the next turns
    seed: int | None = None  # of what is drawn at a temperature above 0

    def kept(self, context_tokens: int) -> int:
        """Tokens of prompts to keep: four whole contexts unless told otherwise."""
        return _CONTEXTS_KEPT * context_tokens if self.kept_tokens is None else self.kept_tokens


NO_OPTIONS = EngineOptions()


class Generation(Protocol):
    """One answer on its way."""

    def outcome(self) -> Outcome:
        """What it has used so far; its reason counts once it has ended."""

    def close(self, *, failed: bool = False) -> None:
        """Ended or given up: its memory is kept for a later prompt, or freed, as it must be
        after a failure. Called once."""


G = TypeVar("G", bound=Generation)


class Engine(Protocol[G]):
    """One thread makes every call but `count`. It may raise any `Exception`."""

    @property
    def takes_images(self) -> bool: ...

    @property
    def slots(self) -> int:
        """How many generations may run at once."""

    def count(self, text: str) -> int:
        """Exact number of tokens; control tags count as the tokens they are. Any thread."""

    def start(self, job: Job, emit: Emit) -> G:
        """Begin; quick, since the first steps evaluate the prompt."""

    def advance(self, running: Sequence[G]) -> Sequence[bool | Exception]:
        """One step of each: a token, a piece of the prompt, or the whole answer where the
        engine does not give the thread back. Says of each if it ended, or why it failed.
        """

    def close(self) -> None:
        """Give the model's memory back."""


class EngineMaker(Protocol):
    """An engine's class. Raises `EngineUnavailable` with the whole sentence, or whatever the
    library raises at files it can't load."""

    def __call__(
        self, path: Path, *, options: EngineOptions, context_tokens: int, stops: Sequence[str]
    ) -> Engine[Any]: ...


def imported(name: str, *, extra: str) -> Any:
    """An engine's package; raises `EngineUnavailable` with the extra that brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        remedy = f"the engine is not installed; run: pip install 'firstline[{extra}]'"
        raise EngineUnavailable(remedy) from error


def reason_of(error: BaseException) -> str:
    """The last line of an engine's message, without the build machine's paths."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].rsplit("/", 1)[-1][:200]


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
