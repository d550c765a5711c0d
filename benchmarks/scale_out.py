"""More worker processes on one Redis: turns a second, and how soon a killed one is replaced.

The model waits 50 ms before each of a turn's two answers. With eight turns at once in each
worker the model is what they wait for; with sixty-four it is this machine's cores.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

from adapters.chat.types import Author, Message
from adapters.stores.embedded import find_server
from benchmarks.floor import QUESTION
from benchmarks.ours import Chat, conversation
from benchmarks.report import Table
from benchmarks.scale_worker import settings_for
from benchmarks.turn import model_server
from bot.app import Bot, open_bot
from bot.stores import open_stores
from tests.conftest import running_redis, wait_for_redis

WORKERS = (1, 2, 4)
LANES = (8, 64)
RUN_S = 8.0
LEASE_S = 5.0
KILLS = 5
DELAY_MS = 50.0
READY_S = 30.0


class Workers:
    """The worker processes; what they tell arrives as (worker, word, event id)."""

    def __init__(self, redis_url: str, model_url: str) -> None:
        self._urls = (redis_url, model_url)
        self.running: list[asyncio.subprocess.Process] = []
        self.told: asyncio.Queue[tuple[asyncio.subprocess.Process, str, str]] = asyncio.Queue()
        self._readers: set[asyncio.Task[None]] = set()

    async def start(self, *, lanes: int, lease_s: float = 30) -> None:
        options = [f"--lanes={lanes}", f"--lease-s={lease_s}"]
        command = [sys.executable, "-m", "benchmarks.scale_worker", *self._urls, *options]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        self.running.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(READY_S):
            assert await process.stdout.readline() == b"ready\n"
        reader = asyncio.create_task(self._read(process), name="worker.read")
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            word, event_id = line.decode().split()
            self.told.put_nowait((process, word, event_id))

    async def end(self, process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        self.running.remove(process)
        if process.returncode is None:
            process.send_signal(number)
        await process.wait()

    async def aclose(self) -> None:
        for process in list(self.running):
            await self.end(process, signal.SIGTERM)


class Bench:
    """An intake in this process, and the workers."""

    def __init__(self, intake: Bot, workers: Workers) -> None:
        self.intake, self.workers, self._numbers = intake, workers, count()
        self._dice = random.Random(KILLS)

    async def ask(self) -> str:
        number = next(self._numbers)
        author = Author("operator", "operator")
        key, event_id = conversation(number), f"e{number}"
        message = Message(event_id, "browser", key, author, QUESTION, 1.0, event_id, "dm")
        await self.intake.inbox.accept(message)
        return event_id

    async def turns_per_s(self, *, in_flight: int, seconds: float) -> float:
        """Answered in a second while `in_flight` questions are always open."""
        for _ in range(in_flight):
            await self.ask()
        await self._answered(in_flight)  # warm: connections, caches, schemas
        began = time.perf_counter()
        done = await self._answered(None, until=began + seconds)
        took_s = time.perf_counter() - began
        await self._answered(None, open_still=in_flight)
        return done / took_s

    async def _answered(
        self, enough: int | None, *, until: float = 0.0, open_still: int = 0
    ) -> int:
        """Take answers, each followed by a new question unless only `open_still` are awaited."""
        done = 0
        async with asyncio.timeout(120):
            while done < (open_still or enough or done + 1):
                _, word, _ = await self.workers.told.get()
                if word != "done":
                    continue
                done += 1
                if not open_still:
                    await self.ask()
                    if until and time.perf_counter() >= until:
                        break
        return done

    async def recovery_s(self, *, lease_s: float) -> float:
        """Seconds beyond the lease until the turn of a killed worker is delivered elsewhere."""
        # At any point of the sweepers' periods, which began when the workers did.
        await asyncio.sleep(self._dice.uniform(0, lease_s))
        asked = await self.ask()
        victim = await self._told("seen", asked)
        await self.workers.end(victim, signal.SIGKILL)
        killed_at = time.perf_counter()
        await self._told("done", asked)
        beyond = time.perf_counter() - killed_at - lease_s
        await self.workers.start(lanes=8, lease_s=lease_s)
        return beyond

    async def _told(self, wanted: str, asked: str) -> asyncio.subprocess.Process:
        async with asyncio.timeout(60):
            while True:
                process, word, event_id = await self.workers.told.get()
                if (word, event_id) == (wanted, asked):
                    return process


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fl-bench-")))
        redis_url = stack.enter_context(running_redis(find_server(), folder))
        await wait_for_redis(redis_url)
        model_url = await stack.enter_async_context(model_server(delay_ms=DELAY_MS))
        settings = settings_for(redis_url, model_url)
        stores = await stack.enter_async_context(open_stores(settings))
        intake = await stack.enter_async_context(
            open_bot(settings, stores, [Chat()], role="intake")
        )
        workers = Workers(redis_url, model_url)
        stack.push_async_callback(workers.aclose)
        yield Bench(intake, workers)


async def measure(*, run_s: float = RUN_S, kills: int = KILLS) -> list[Table]:
    table = Table(
        f"Worker processes on one Redis, a model that takes 2 × {DELAY_MS:.0f} ms a turn",
        ("turns at once in a worker", "workers", "turns/s", "of the most the model allows"),
    )
    async with bench() as running:
        for lanes in LANES:
            for workers in WORKERS:
                for _ in range(workers):
                    await running.workers.start(lanes=lanes)
                speed = await running.turns_per_s(in_flight=lanes * workers, seconds=run_s)
                most = lanes * workers * 1000 / (2 * DELAY_MS)
                table.add(lanes, workers, f"{speed:,.0f}", f"{speed / most:.0%}")
                await running.workers.aclose()
        for _ in range(2):
            await running.workers.start(lanes=8, lease_s=LEASE_S)
        beyond = sorted([await running.recovery_s(lease_s=LEASE_S) for _ in range(kills)])
    recovery = Table(
        f"A worker is killed with SIGKILL in the middle of a turn, {kills} times",
        ("measure", "target", "here"),
    )
    middle = beyond[len(beyond) // 2]
    recovery.add("delivered by another worker, beyond the lease, median", "", f"{middle:.1f} s")
    recovery.add("the slowest", "at most 3 s", f"{beyond[-1]:.1f} s")
    return [table, recovery]
