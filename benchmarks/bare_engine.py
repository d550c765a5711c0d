"""An engine's own steps, without our line, stops and event loop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from adapters.models.engine import Emit, Job
from adapters.models.local import LocalBackend
from agents.ports import ModelRequest, complete


class _Bare:
    """Runs a whole answer in one step, on the engine's own thread, and takes the time."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.seconds = engine, 0.0
        self.slots, self.takes_images = 1, engine.takes_images

    def count(self, text: str) -> int:
        return int(self.engine.count(text))

    def start(self, job: Job, emit: Emit) -> Any:
        return self.engine.start(job, lambda text: True)

    def advance(self, running: Sequence[Any]) -> list[bool]:
        started = time.perf_counter()
        while not self.engine.advance(running)[0]:
            pass
        self.seconds = time.perf_counter() - started
        return [True]

    def close(self) -> None:
        self.engine.close()


async def bare_seconds(backend: LocalBackend, request: ModelRequest) -> tuple[float, int]:
    """Seconds and tokens of one answer."""
    line = backend._line  # noqa: SLF001
    bare = _Bare(line._engine)  # noqa: SLF001
    line._engine = bare  # noqa: SLF001
    try:
        _, finish = await complete(backend, request)
    finally:
        line._engine = bare.engine  # noqa: SLF001
    return bare.seconds, finish.usage.completion_tokens
