"""Asks a bot under load, and keeps what it told and when."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from redis import asyncio as redis_asyncio

from adapters.stores.keys import Keys
from adapters.stores.memory import encode_turn
from agents.turns import Text, Turn
from tests.drills.load_process import TENANT
from tools.identity import ConversationKey

ROOT = Path(__file__).parents[2]
_READY_S = 30.0
_LINE_BYTES = 2**20
MB = 1e6


@dataclass
class Question:
    """One message and what came of it, in seconds of one clock."""

    user: str
    number: int
    asked: float
    receipt: str = ""
    seen: float | None = None
    said: list[tuple[float, str]] = field(default_factory=list)


class LoadedBot:
    """The other end of `load_process`."""

    def __init__(self, process: asyncio.subprocess.Process, prefix: str) -> None:
        self._process, self.prefix = process, prefix
        self._measured = psutil.Process(process.pid)
        self.questions: dict[int, Question] = {}
        self.answered: set[int] = set()  # every number that a reply repeated
        self.tasks = 0

    async def listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._take(json.loads(line), time.monotonic())

    def _take(self, fact: dict[str, Any], now: float) -> None:
        if "receipt" in fact:
            self.questions[fact["number"]].receipt = fact["receipt"]
        elif "seen" in fact:
            self.questions[fact["seen"]].seen = now
        elif "said" in fact:
            self.questions[fact["number"]].said.append((now, fact["said"]))
            self.answered |= {int(word[1:-1]) for word in fact["said"].split() if _is_mark(word)}
        elif "tasks" in fact:
            self.tasks = fact["tasks"]

    def ask(self, user: str) -> Question:
        assert self._process.stdin is not None
        number = len(self.questions) + 1
        question = self.questions[number] = Question(user, number, time.monotonic())
        line = {"user": user, "number": number, "text": f"please repeat <{number}>"}
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        return question

    def ask_for_tasks(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b'{"number": 0, "user": "", "text": "tasks"}\n')

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    @property
    def rss_mb(self) -> float:
        return float(self._measured.memory_info().rss) / MB

    @property
    def open_files(self) -> int:
        """Sockets and files."""
        return int(self._measured.num_fds())

    async def until(self, condition: Callable[[], object], timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 (anything may be looked at)
                await asyncio.sleep(0.02)


async def remember(bot: LoadedBot, redis_url: str, people: int, entries: int = 100) -> None:
    """Give everyone a long conversation, so that prompts have their full size from the start."""
    texts = [f"what was said before, number {n}" for n in range(entries)]
    records = [
        encode_turn(Turn(("user", "assistant")[n % 2], (Text(text),), said_at=float(n)))
        for n, text in enumerate(texts)
    ]
    keys = Keys(bot.prefix)
    async with redis_asyncio.Redis.from_url(redis_url) as redis:
        for number in range(people):
            key = ConversationKey(TENANT, "dm", f"person {number}")
            await redis.rpush(keys.memory(key), *records)


def _is_mark(word: str) -> bool:
    return word[:1] == "<" and word[-1:] == ">" and word[1:-1].isdigit()


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def slope_mb_per_min(samples: list[tuple[float, float]]) -> float:
    """The least-squares line through (seconds, MB)."""
    mean_s = sum(at for at, _ in samples) / len(samples)
    mean_mb = sum(mb for _, mb in samples) / len(samples)
    spread = sum((at - mean_s) ** 2 for at, _ in samples)
    return 60 * sum((at - mean_s) * (mb - mean_mb) for at, mb in samples) / spread


@asynccontextmanager
async def loaded_bot(redis_url: str, *, model_s: float = 0.0) -> AsyncIterator[LoadedBot]:
    """The bot over `redis_url` with a key prefix of its own."""
    prefix = f"t{secrets.token_hex(6)}"
    command = [sys.executable, "-m", "tests.drills.load_process", redis_url, prefix, str(model_s)]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    bot = LoadedBot(process, prefix)
    try:
        async with asyncio.timeout(_READY_S):
            assert json.loads(await process.stdout.readline()) == {"ready": True}
        listening = asyncio.create_task(bot.listen(), name="load.listen")
        yield bot
        process.stdin.close()
        async with asyncio.timeout(40):
            await process.wait()
            await listening
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
