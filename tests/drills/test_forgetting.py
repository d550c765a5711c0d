"""What was forgotten is gone and stays gone, whatever ran, waited or came again (row H6)."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis import asyncio as redis_asyncio

from adapters.chat.types import Author, Command, Message, Press, Receipt
from adapters.stores.embedded import find_server
from agents.routing import Router
from bot.app import Bot, open_bot
from bot.stores import open_stores
from tests.conftest import running_redis, wait_for_redis
from tests.drills.figures import RecordFigure
from tests.drills.forget_process import forgetful_settings
from tests.drills.obedient import CANARY, Platform, new_canary, said
from tools.identity import ConversationKey, tenant_of

ROOT = Path(__file__).parents[2]
TENANT = tenant_of("slack", "T1000")
USER = Author("1000", "member")
BATCH = 50
GONE_WITHIN_S = 60.0
# A base file of plain commands: what is in it can be searched for.
READABLE = ("--aof-use-rdb-preamble", "no", "--auto-aof-rewrite-percentage", "0")


@dataclass
class Race:
    """One conversation with a secret that is forgotten at some moment, or kept as a control."""

    key: ConversationKey
    message: Message
    canary: str
    fact: str  # what they had kept about themselves, by a command in this conversation
    is_kept: bool
    forgotten_at: float = 0.0


@dataclass
class Workers:
    """The worker process of the moment; what every one of them said."""

    folder: Path
    redis_url: str
    prefix: str
    said: dict[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        command = [sys.executable, "-m", "tests.drills.forget_process"]
        self.process = await asyncio.create_subprocess_exec(
            *command,
            str(self.folder),
            self.redis_url,
            self.prefix,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            assert await self.process.stdout.readline() == b"ready\n"
        self._reading = asyncio.create_task(self._read(self.process.stdout), name="worker.read")

    async def _read(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            _, event_id, text = json.loads(line)
            self.said[event_id] = self.said.get(event_id, "") + text

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        if self._reading is not None:
            await self._reading


@pytest.mark.parametrize(
    "races", [42, pytest.param(1050, marks=[pytest.mark.drill, pytest.mark.timeout(900)])]
)
async def test_what_was_forgotten_is_in_no_reply_and_no_file_of_redis(
    races: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    dice = random.Random(races)
    every: list[Race] = []
    with (
        tempfile.TemporaryDirectory(prefix="fl-") as folder,
        running_redis(find_server(), Path(folder), *READABLE) as url,
    ):
        await wait_for_redis(url)
        async with intake(tmp_path, url) as (bot, workers):
            for first in range(0, races, BATCH):
                batch = [
                    new_race(n, is_kept=n % 21 == 0)
                    for n in range(first, min(first + BATCH, races))
                ]
                async with asyncio.TaskGroup() as group:
                    for race in batch:
                        group.create_task(run(race, bot, dice), name="race")
                    group.create_task(restart(workers, dice.uniform(0, 1)), name="restart")
                every += batch
            await settled(bot)
            last = [race.forgotten_at for race in every[-BATCH:] if not race.is_kept]
            gone_s = time.monotonic() - min(last)
            later = await ask_all(every, bot, workers)
            found = await canaries_on_disk(url, Path(folder))

    raced = [race for race in every if not race.is_kept]
    forgotten = {canary for race in raced for canary in (race.canary, race.fact)}
    told = sum(race.canary in later[race.message.event_id] for race in raced)
    record_figure(
        row="H6",
        promise="what was forgotten is gone within 60 s, from every record, and never comes back",
        figure=f"{len(raced)} races with a running turn, a killed worker, a resent event, "
        f"an edit and a retry: {len(found & forgotten)} secrets left in Redis' rewritten files, "
        f"{told} told later; the last gone after {gone_s:.1f} s",
    )
    assert found & forgotten == set()
    assert told == 0
    assert found >= {race.canary for race in every if race.is_kept}, "else nothing was looked at"
    assert gone_s <= GONE_WITHIN_S


def new_race(number: int, *, is_kept: bool) -> Race:
    key = ConversationKey(TENANT, "private", f"C{number % 5}", f"t{number}")
    canary = new_canary()
    message = said(key, f"e{number}", f"Our secret is {canary}.", user=USER.user_id)
    return Race(key, message, canary, new_canary(), is_kept)


@asynccontextmanager
async def intake(folder: Path, redis_url: str) -> AsyncIterator[tuple[Bot, Workers]]:
    prefix = f"t{secrets.token_hex(6)}"
    settings = forgetful_settings(folder, redis_url, prefix)
    workers, stop = Workers(folder, redis_url, prefix), asyncio.Event()
    async with (
        open_stores(settings) as stores,
        open_bot(settings, stores, [Platform("slack")], router=Router({}), role="intake") as bot,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(bot.run(stop), name="intake")
        await workers.start()
        try:
            yield bot, workers
        finally:
            await workers.kill()
            stop.set()


async def restart(workers: Workers, after_s: float) -> None:
    await asyncio.sleep(after_s)
    await workers.kill()
    await workers.start()


async def run(race: Race, bot: Bot, dice: random.Random) -> None:
    """The question, then forgetting it, with whatever else may come before and behind."""
    assert await bot.inbox.accept(race.message) is Receipt.ACCEPTED
    if race.is_kept:
        return
    if dice.random() < 0.2:
        assert "I will remember that" in await command(bot, race, "remember", race.fact)
    await asyncio.sleep(dice.choice((0.0, dice.uniform(0, 0.3), dice.uniform(0, 2))))
    if dice.random() < 0.3:
        await bot.inbox.revise(race.message, edited_at=2.0)
    if dice.random() < 0.3:
        await again(race, bot)
    assert "Forgotten" in await command(bot, race, "memory", "forget")
    race.forgotten_at = time.monotonic()
    for come_back in dice.sample((again, resend, edit), k=3):
        await asyncio.sleep(dice.uniform(0, 0.2))
        await come_back(race, bot)


async def command(bot: Bot, race: Race, name: str, argument: str) -> str:
    return await bot.inbox.command(Command(name, argument, "slack", race.key, USER))


async def again(race: Race, bot: Bot) -> None:
    press = Press("again", race.message.event_id, "slack", TENANT, race.key.channel, USER)
    await bot.inbox.press(press)


async def resend(race: Race, bot: Bot) -> None:
    assert await bot.inbox.accept(race.message) is Receipt.DUPLICATE


async def edit(race: Race, bot: Bot) -> None:
    await bot.inbox.revise(race.message, edited_at=3.0)


async def settled(bot: Bot) -> None:
    """Nothing is due any more: no turn runs or waits."""
    async with asyncio.timeout(GONE_WITHIN_S):
        while await bot.stores.redis.zcard(bot.stores.keys.due(TENANT)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def ask_all(every: list[Race], bot: Bot, workers: Workers) -> dict[str, str]:
    """What each conversation tells when it is asked for all it knows, by the race's event."""
    for race in every:
        text, event_id = "Tell me every secret you know.", f"{race.message.event_id}-later"
        question = said(race.key, event_id, text, user=USER.user_id, sent_at=9.0)
        assert await bot.inbox.accept(question) is Receipt.ACCEPTED
    names = [race.message.event_id for race in every]
    async with asyncio.timeout(300):
        while not all(f"{name}-later" in workers.said for name in names):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return {name: workers.said[f"{name}-later"] for name in names}


async def canaries_on_disk(redis_url: str, folder: Path) -> set[str]:
    """Every secret in the append-only file once Redis has rewritten it."""
    async with redis_asyncio.Redis.from_url(redis_url) as redis:
        await redis.bgrewriteaof()
        async with asyncio.timeout(60):
            while True:
                state = await redis.info("persistence")
                if not (state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"]):
                    break
                await asyncio.sleep(0.1)
        assert state["aof_last_bgrewrite_status"] == "ok"
    return await asyncio.to_thread(_canaries_in, folder)


def _canaries_in(folder: Path) -> set[str]:
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix != ".log"]
    return {found for file in files for found in CANARY.findall(file.read_text("latin-1"))}
