"""A small pool of locked-in processes that read strangers' files, never in the bot's loop."""

from __future__ import annotations

import asyncio
import os
from types import TracebackType
from typing import get_args

import structlog

from adapters.decoding import walls
from adapters.decoding.errors import FileRefused
from adapters.decoding.kinds import Family, Kind, family_of
from adapters.decoding.worker import Answer, Worker, WorkerDied, refused_by

log = structlog.get_logger(__name__)

JOBS_PER_WORKER = 50
WALL_S = 10.0
START_S = 20.0  # a cold disk and a busy machine; it costs 0.2 s as a rule
_HEADER_ONLY = frozenset({"pixels", "audio", "unknown"})  # refused before anything is decoded


class Sandbox:
    """Reads one file a process at a time; idle workers wait for the next file of their family.

    A worker is thrown away after `jobs_per_worker` files, and after any file that it could not
    read: what broke it may have left something behind.
    """

    def __init__(
        self,
        *,
        size: int | None = None,
        jobs_per_worker: int = JOBS_PER_WORKER,
        wall_s: float = WALL_S,
        bwrap: str | None = None,
    ) -> None:
        """`bwrap` is the path of bubblewrap; it is looked for where None is given."""
        self._size = size or os.cpu_count() or 2
        self._jobs_per_worker, self._wall_s, self._bwrap = jobs_per_worker, wall_s, bwrap
        self._slots = asyncio.Semaphore(self._size)
        self._idle: list[tuple[Family, Worker]] = []
        self._level: walls.Level | None = None
        self._looking = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Sandbox:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def level(self) -> walls.Level:
        """How strong the walls are here; looked up once."""
        async with self._looking:
            if self._level is None:
                self._level = await walls.level_here(bwrap=self._bwrap)
        return self._level

    async def announce(self) -> None:
        """Tell the operator's log how strong the walls are; once, at the start."""
        walls.tell(await self.level())

    async def read(
        self, data: bytes, kind: Kind, *, max_side: int, frames: int
    ) -> tuple[Answer, str, list[bytes]]:
        """What a worker made of the file; raises `FileRefused`."""
        async with self._slots:
            worker = await self._worker(family_of(kind))
            good = False
            try:
                async with asyncio.timeout(self._wall_s):
                    made = await worker.ask(data, kind, max_side=max_side, frames=frames)
                good = made[0].refused is None or made[0].refused in _HEADER_ONLY
            except TimeoutError as error:
                log.warning("sandbox.timeout", kind=kind, seconds=self._wall_s)
                raise _heavy(self._wall_s) from error
            except WorkerDied as error:
                log.warning("sandbox.worker_died", kind=kind, by_signal=error.by_signal)
                raise (
                    _heavy(self._wall_s) if error.by_signal else FileRefused("damaged")
                ) from error
            finally:
                await self._done(family_of(kind), worker, good=good)
        if made[0].refused == "heavy":
            raise _heavy(self._wall_s)
        if made[0].refused is not None:
            raise refused_by(made[0].refused, made[0].fields)
        return made

    async def aclose(self) -> None:
        """End the idle workers; those at work end with their jobs."""
        self._closed = True
        idle, self._idle = self._idle, []
        for _, worker in idle:
            await worker.end()

    @property
    def idle_pids(self) -> tuple[int, ...]:
        return tuple(worker.pid for _, worker in self._idle)

    async def _worker(self, family: Family) -> Worker:
        for at, (known, worker) in enumerate(self._idle):
            if known == family:
                del self._idle[at]
                if worker.lives:
                    return worker
                await worker.end()
                break
        command = walls.command(await self.level(), family, bwrap=self._bwrap)
        try:
            async with asyncio.timeout(START_S):
                return await Worker.start(command)
        except (TimeoutError, WorkerDied, OSError) as error:
            log.error("sandbox.no_worker", family=family, error=type(error).__name__)
            raise FileRefused("missing") from error

    async def _done(self, family: Family, worker: Worker, *, good: bool) -> None:
        if not good or self._closed or worker.jobs >= self._jobs_per_worker:
            await worker.end()
            return
        self._idle.append((family, worker))
        if len(self._idle) > max(self._size, len(get_args(Family))):
            _, oldest = self._idle.pop(0)
            await oldest.end()


def _heavy(wall_s: float) -> FileRefused:
    return FileRefused("heavy", megabytes=512, seconds=int(wall_s))
