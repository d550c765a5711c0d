"""A summary in the making brings nothing back that is forgotten meanwhile (row H6)."""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.models.scripted import Say, ScriptedBackend
from adapters.models.scripted_replies import Reply
from adapters.stores.batching import Batcher
from adapters.stores.changes import Changes
from adapters.stores.connection import connect, server_version
from adapters.stores.embedded import find_server
from adapters.stores.keys import Keys
from adapters.stores.ledger import Ledger
from adapters.stores.memory import RedisMemory, encode_turn
from agents.ports import ModelRequest
from agents.routing import Router
from agents.summary import Summarizer
from agents.turns import Text, Turn
from bot.attachments import Terms
from bot.health import Metrics
from bot.privacy import LocalOnly
from bot.recaps import Recaps, Wish
from bot.settings import ModelsSection
from tests.agents.planning import route
from tests.conftest import running_redis, wait_for_redis
from tests.drills.figures import RecordFigure
from tests.drills.obedient import CANARY, new_canary
from tests.drills.test_forgetting import READABLE, canaries_on_disk
from tools.identity import ConversationKey

EXCHANGES = 40
LANES = 8
LONGEST_S = 0.05
WAYS = ("forget", "reset", "delete")


@dataclass(frozen=True)
class Race:
    key: ConversationKey
    canary: str
    way: str  # how the secret goes; "" keeps it, as a control


def telling(request: ModelRequest) -> Reply:
    """Notes of a model that tells every secret it reads, and takes its time."""
    text = " ".join(message.text for message in request.messages)
    return Say(f"Notes: {' '.join(sorted(set(CANARY.findall(text))))}", chunk=0, delay_s=0.005)


@dataclass(frozen=True)
class Bench:
    batcher: Batcher
    keys: Keys
    memory: RedisMemory
    changes: Changes
    recaps: tuple[Recaps, ...]

    async def fill(self, race: Race) -> None:
        """A long conversation whose fourth question holds the secret."""
        records = []
        for number in range(EXCHANGES):
            secret = race.canary if number == 3 else "nothing"
            said = (("user", f"It is {secret}."), ("assistant", "I see."))
            records += [
                encode_turn(Turn(role, (Text(text),), turn_id=f"t{number}"))  # type: ignore[arg-type]
                for role, text in said
            ]
        await self.batcher.command("RPUSH", self.keys.memory(race.key), *records)

    async def run(self, race: Race, recaps: Recaps, dice: random.Random) -> None:
        await self.fill(race)
        wish = Wish(race.key, "U1", Terms(), None, fill=1.0)
        recaps.offer(wish, entries=2 * EXCHANGES)
        await asyncio.sleep(dice.uniform(0, LONGEST_S))
        match race.way:
            case "forget":
                await self.changes.forget(race.key)
            case "reset":
                await self.changes.reset(race.key)
            case "delete":
                await self.memory.erase(race.key, "t3")


@pytest.mark.parametrize(
    "races", [63, pytest.param(1050, marks=[pytest.mark.drill, pytest.mark.timeout(600)])]
)
async def test_no_summary_in_the_making_brings_back_what_was_forgotten(
    races: int, record_figure: RecordFigure
) -> None:
    dice = random.Random(races)
    every = [
        Race(
            ConversationKey("slack:T1", "dm", f"D{number}"),
            new_canary(),
            "" if number % 21 == 0 else WAYS[number % 3],
        )
        for number in range(races)
    ]
    with (
        tempfile.TemporaryDirectory(prefix="fl-") as folder,
        running_redis(find_server(), Path(folder), *READABLE) as url,
    ):
        await wait_for_redis(url)
        redis = connect(url)
        batcher, keys = Batcher(redis, version=await server_version(redis)), Keys("fl")
        bench = _bench(batcher, keys)
        async with asyncio.TaskGroup() as group:
            lanes = [group.create_task(each.run(), name="recaps") for each in bench.recaps]
            for first in range(0, races, 50):
                async with asyncio.TaskGroup() as batch:
                    for number, race in enumerate(every[first : first + 50]):
                        recaps = bench.recaps[number % LANES]
                        batch.create_task(bench.run(race, recaps, dice), name="race")
            await _written(bench, [race for race in every if not race.way])
            for lane in lanes:
                lane.cancel()
        found = await canaries_on_disk(url, Path(folder))
        made = await _epochs(bench, every)
        await batcher.aclose()
        await redis.aclose()

    raced = {race.canary for race in every if race.way}
    record_figure(
        row="H6",
        promise="a summary in the making brings nothing back that is forgotten meanwhile",
        figure=f"{len(raced)} races of a compaction with /memory forget, /reset and a deletion: "
        f"{len(found & raced)} secrets left in Redis' rewritten files",
    )
    assert found & raced == set()
    assert found >= {race.canary for race in every if not race.way}, "else nothing was looked at"
    assert made == {1}


def _bench(batcher: Batcher, keys: Keys) -> Bench:
    ledger, memory = Ledger(batcher, keys), RedisMemory(batcher, keys)
    router = Router({"small": [route(ScriptedBackend("small", telling))]})
    recaps = tuple(
        Recaps(memory, ledger, Summarizer(router), LocalOnly(ModelsSection()), Metrics())
        for _ in range(LANES)
    )
    return Bench(batcher, keys, memory, Changes(batcher, keys), recaps)


async def _written(bench: Bench, kept: list[Race]) -> None:
    """Wait for the controls' summaries, and so for every summary before them."""
    async with asyncio.timeout(60):
        for race in kept:
            while race.canary.encode() not in await _recap(bench, race):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        while any(recaps.is_busy for recaps in bench.recaps):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _recap(bench: Bench, race: Race) -> bytes:
    return (await bench.memory.uncovered(race.key)).recap.record


async def _epochs(bench: Bench, every: list[Race]) -> set[int]:
    known = [await bench.memory.uncovered(race.key) for race in every if race.way]
    return {each.recap.epoch for each in known}
