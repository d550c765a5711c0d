"""Commands: pins that last, models that can't be pinned."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.models.scripted import Say, ScriptedBackend
from adapters.models.scripted_replies import Fail
from adapters.stores.batching import Batcher
from adapters.stores.blobs import RedisBlobs
from adapters.stores.changes import Changes
from adapters.stores.connection import connect, server_version
from adapters.stores.facts import RedisFacts
from adapters.stores.feedback import RedisFeedback
from adapters.stores.hand_overs import RedisHandOvers
from adapters.stores.keys import Keys
from adapters.stores.ledger import Ledger
from adapters.stores.memory import RedisMemory
from adapters.stores.reminders import RedisReminders
from agents.errors import RouteRetired
from agents.ports import ModelBackend, ModelRequest, PromptMessage
from agents.routing import Router
from bot.admission import Asker
from bot.commands import Commands
from bot.hand_overs import HandOvers
from bot.health import Metrics
from bot.line import Line
from bot.memory_commands import MemoryCommands
from bot.privacy import LocalOnly
from bot.ratings import Ratings
from bot.reminders import Reminders
from bot.settings import ModelsSection
from tests.agents.planning import KEY, PERSON, route

ASKER = Asker(PERSON, is_private=False)


@pytest.fixture
async def batcher(redis_url: str) -> AsyncIterator[Batcher]:
    redis = connect(redis_url)
    batcher = Batcher(redis, version=await server_version(redis))
    yield batcher
    await batcher.aclose()
    await redis.aclose()


@pytest.fixture
def ledger(batcher: Batcher, prefix: str) -> Ledger:
    return Ledger(batcher, Keys(prefix))


@pytest.fixture
def changes(batcher: Batcher, prefix: str) -> Changes:
    return Changes(batcher, Keys(prefix))


def commands(ledger: Ledger, changes: Changes, router: Router) -> Commands:
    batcher, keys = ledger._batcher, ledger._keys
    memory = MemoryCommands(
        RedisMemory(batcher, keys),
        RedisFacts(batcher, keys),
        RedisBlobs(batcher, keys),
        changes,
        RedisFeedback(batcher, keys),
        RedisReminders(batcher, keys),
        retention_days=30,
    )
    ratings = Ratings(RedisFeedback(batcher, keys), changes, Metrics())
    line = Line(ledger, {}, max_waiting=10)
    reminders = Reminders(RedisReminders(batcher, keys), ledger, line)
    hand_overs = HandOvers(
        RedisHandOvers(batcher, keys), ledger, changes, RedisMemory(batcher, keys), line, {}
    )
    local_only = LocalOnly(ModelsSection())
    return Commands(router, ledger, changes, local_only, memory, ratings, reminders, hand_overs)


def answering(name: str) -> ScriptedBackend:
    return ScriptedBackend(name, lambda request: Say(name))


async def test_a_pin_lasts_beyond_a_restart_until_auto(ledger: Ledger, changes: Changes) -> None:
    router = Router({"planner": [route(answering("a")), route(answering("b"))]})
    told = await commands(ledger, changes, router).run(KEY, "model", "b", ASKER)
    after_restart = commands(ledger, changes, router)

    assert told == "This conversation now uses `b` as planner."
    assert "a, **b** (pinned here)" in await after_restart.run(KEY, "model", "", ASKER)
    assert await ledger.pins(KEY) == {"planner": "b"}
    await after_restart.run(KEY, "model", "auto", ASKER)
    assert await ledger.pins(KEY) == {}


async def test_auto_ends_no_privacy(ledger: Ledger, changes: Changes) -> None:
    table = commands(ledger, changes, Router({"planner": [route(answering("a"))]}))
    await table.run(KEY, "private", "on", ASKER)
    await table.run(KEY, "model", "auto", ASKER)

    assert "stays on this machine" in await table.run(KEY, "private", "", ASKER)


async def test_what_can_not_be_pinned_gives_the_list(ledger: Ledger, changes: Changes) -> None:
    async def build(backend: ModelBackend) -> ModelRequest:
        return ModelRequest((PromptMessage("user", "hi"),), 32)

    gone = ScriptedBackend("old", [Fail(RouteRetired("old", "m", "n"))])
    router = Router({"planner": [route(gone), route(answering("b"))]})
    async for _ in router.stream("planner", build):
        pass
    table = commands(ledger, changes, router)

    unknown, retired = (
        await table.run(KEY, "model", "x", ASKER),
        await table.run(KEY, "model", "old", ASKER),
    )
    assert unknown.startswith("There is no such model here.\n- planner: **old** (retired), b")
    assert "`old` can't be used: model 'm' is not served (any more); use 'n'" in retired
    assert "- planner:" in retired
    assert await ledger.pins(KEY) == {}
