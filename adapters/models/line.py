"""The line before an in-process engine: one thread, first come first served.

Threads of two generations on the same cores slow each other down tenfold, so an engine has
one thread, and conversations share it by steps where the engine has several slots.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from adapters.models.engine import Engine, Generation, Job, Outcome
from adapters.models.stops import StopScanner
from agents.ports import FinishReason, Queued

# Waking the event loop costs the engine's thread about half a millisecond (the interpreter
# lock goes to and fro), so quick engines wake it for several tokens at a time.
_SEND_EVERY_S = 0.01
_CLOSED = "the model was closed"


@dataclass(frozen=True, slots=True)
class Started:
    """The engine has taken the job."""


Item = str | Queued | Started | Outcome | Exception


class Run:
    """One generation, seen from the loop and from the engine's thread."""

    def __init__(self, job: Job, stops: tuple[str, ...]) -> None:
        self.job = job
        self.cancelled = False
        self._scanner = StopScanner(stops)
        self._unsent, self._sent_at = "", 0.0
        self._loop = asyncio.get_running_loop()
        # Bounded by the job's max_tokens; the engine's thread must never wait for us.
        self._items: asyncio.Queue[Item] = asyncio.Queue()

    async def next(self) -> Item:
        return await self._items.get()

    def emit(self, text: str) -> bool:
        if shown := self._scanner.feed(text):
            self._unsent += shown
            if (now := time.monotonic()) - self._sent_at >= _SEND_EVERY_S:
                self._send(now)
        return not self.over

    def _send(self, now: float) -> None:
        text, self._unsent, self._sent_at = self._unsent, "", now
        self.post(text)

    @property
    def over(self) -> bool:
        """Nobody needs another token of it."""
        return self.cancelled or self._scanner.hit

    def end(self, outcome: Outcome) -> None:
        if not self._scanner.hit:
            self._unsent += self._scanner.rest()
        if self._unsent:
            self._send(time.monotonic())
        self.post(outcome)

    def reason(self, outcome: Outcome) -> FinishReason:
        if self._scanner.hit:
            return "stop"
        return "cancelled" if self.cancelled else outcome.reason

    def post(self, item: Item) -> None:
        if self._loop.is_closed():
            self.cancelled = True
            return
        try:
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)
        except RuntimeError:  # the loop closed between the two lines
            self.cancelled = True


class Line:
    """Runs an engine's generations, as many at once as it has slots."""

    def __init__(self, build: Callable[[], Engine[Any]], *, name: str) -> None:
        """The engine is built by its own thread (MLX binds what it makes to it), as `engine`."""
        self.engine: Future[Engine[Any]] = Future()
        self._build = build
        self._waiting: deque[Run] = deque()
        self._running: dict[Run, Generation] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def join(self, run: Run) -> None:
        """Take a place at the end; its items tell how the line moves."""
        with self._changed:
            if self._closed:
                run.post(RuntimeError(_CLOSED))
                return
            self._waiting.append(run)
            if len(self._running) + len(self._waiting) > self._engine.slots:
                run.post(Queued(len(self._waiting) - 1))
            self._changed.notify()

    def close(self) -> None:
        """End every generation and give the memory back; blocks until that is done."""
        self.abandon()
        self._thread.join()

    def abandon(self) -> None:
        """As `close`, without waiting."""
        with self._changed:
            self._closed = True
            for run in (*self._waiting, *self._running):
                run.cancelled = True
            self._changed.notify()

    def _work(self) -> None:
        self.engine.set_running_or_notify_cancel()
        try:
            self._engine = self._build()
        except Exception as error:  # noqa: BLE001 (native code raises what it likes)
            self.engine.set_exception(error)
            return
        self.engine.set_result(self._engine)
        try:
            while self._ready():
                self._admit()
                self._step()
        finally:
            self._end()

    def _end(self) -> None:
        """Nobody may wait for a line that is gone, closed or broken."""
        self.abandon()
        for generation in self._running.values():
            generation.close()
        for run in (*self._waiting, *self._running):
            run.post(RuntimeError(_CLOSED))
        self._engine.close()

    def _ready(self) -> bool:
        """Wait for work; False once the line is closed."""
        with self._changed:
            while not (self._closed or self._waiting or self._running):
                self._changed.wait()
            return not self._closed

    def _admit(self) -> None:
        with self._changed:
            given_up = [run for run in self._waiting if run.cancelled]
            for run in given_up:
                self._waiting.remove(run)
            free = self._engine.slots - len(self._running)
            admitted = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
            if admitted or given_up:
                for position, run in enumerate(self._waiting):
                    run.post(Queued(position))
        for run in admitted:
            run.post(Started())
            try:
                generation = self._engine.start(run.job, run.emit)
            except Exception as error:  # noqa: BLE001
                run.post(error)
            else:
                with self._changed:
                    self._running[run] = generation

    def _step(self) -> None:
        runs = list(self._running)
        if not runs:
            return
        results: Sequence[bool | Exception]
        try:
            results = self._engine.advance([self._running[run] for run in runs])
        except Exception as error:  # noqa: BLE001
            results = [error] * len(runs)
        for run, result in zip(runs, results, strict=True):
            if result or (run.over and not self._closed):  # `_end` tells those of a closed line
                self._finish(run, result)

    def _finish(self, run: Run, result: bool | Exception) -> None:
        with self._changed:
            generation = self._running.pop(run)
        outcome = generation.outcome()
        generation.close(failed=isinstance(result, Exception))
        if isinstance(result, Exception):
            run.post(result)
        else:
            run.end(outcome)
