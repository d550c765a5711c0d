"""Workers that share one Redis: what one can't finish or begin, another does."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from adapters.models.scripted import Reply, Say, ScriptedBackend, Step, demo_policy
from adapters.stores.doorbell import Doorbell, Ring
from adapters.stores.errors import StaleLease
from agents.ports import Delta, Finish, ModelRequest
from bot.app import Bot
from bot.hold import Hold
from bot.settings import Settings
from bot.worker import Worker
from tests.bot.test_bot import Chat, bot_with, message, settings_in, until
from tests.nats_servers import NatsServer, jetstream

SLOW = "Take your time"


class SlowAtFirst:
    """Takes `seconds` for the first slow question, and is quick from then on."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.asked = seconds, 0

    def __call__(self, request: ModelRequest) -> Reply:
        reply = demo_policy(request)
        if SLOW not in request.messages[-1].text or not isinstance(reply, Say | Step):
            return reply
        self.asked += 1
        return Say(reply.text, 0, self.seconds) if self.asked == 1 else reply


@pytest.fixture
def shared(tmp_path: Path, redis_url: str) -> Settings:
    """Settings of processes that share a Redis; their leases outlast the tests."""
    return settings_in(
        tmp_path,
        **{
            "redis.url": redis_url,
            "redis.prefix": f"t{secrets.token_hex(4)}",
            "redis.allow_volatile": True,
            "turns.lease_s": 60,
            "turns.renew_s": 20,
        },
    )


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    server = jetstream(tmp_path / "nats")
    server.start()
    yield server
    server.kill()


class DeafOnce(ScriptedBackend):
    """A model that stays silent, and whose client loses the first cancellation."""

    cuts = 0

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | Finish, None]:
        self.requests.append(request)
        for _ in range(2):
            try:
                await asyncio.sleep(50)
            except asyncio.CancelledError:
                self.cuts += 1
        raise asyncio.CancelledError
        yield Delta("never")


class Swallowing:
    """A doorbell behind a client that loses a cancellation, as `asyncio.wait_for` can in 3.11."""

    def __init__(self, bell: Doorbell) -> None:
        self._bell, self.swallowed = bell, 0

    async def take(self, *, limit: int = 64, wait_ms: int) -> list[Ring]:
        try:
            return await self._bell.take(limit=limit, wait_ms=wait_ms)
        except asyncio.CancelledError:
            self.swallowed += 1
            if self.swallowed > 1:
                raise
            return []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bell, name)


def worker_of(
    bot: Bot, *, concurrent: int = 8, drain_s: float = 0.2, bell: Doorbell | None = None
) -> Worker:
    assert bot._runner is not None
    return Worker(
        adapter="browser",
        bell=bell or bot.stores.bell("browser", consumer=secrets.token_hex(4)),
        ledger=bot.stores.ledger,
        runner=bot._runner,
        concurrent=concurrent,
        lease_s=bot.settings.turns.lease_s,
        renew_s=0.2,
        sweep_s=60,
        drain_s=drain_s,
    )


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run(stop))
        try:
            yield stop
        finally:
            stop.set()


async def test_a_turn_that_outlives_a_stop_is_finished_by_another_at_once(
    shared: Settings,
) -> None:
    model, chat = SlowAtFirst(50), Chat()
    backend = ScriptedBackend("scripted", model)
    async with (
        bot_with(chat, shared, backend) as (one, _),
        bot_with(chat, shared, backend) as (other, _),
        working(worker_of(one)) as stop,
    ):
        await one.inbox.accept(message(f"{SLOW}: what is 6*7?"))
        await until(lambda: model.asked == 1)
        async with working(worker_of(other)):
            stop.set()
            await until(lambda: chat.delivered, 5)

    assert "42" in chat.delivered["t1-1"][0]
    assert len(chat.delivered["t1-1"]) == 1


async def test_what_waits_behind_a_turn_that_is_cut_is_answered_too(shared: Settings) -> None:
    model, chat = SlowAtFirst(50), Chat()
    backend = ScriptedBackend("scripted", model)
    async with (
        bot_with(chat, shared, backend) as (one, _),
        bot_with(chat, shared, backend) as (other, _),
    ):
        async with working(worker_of(one)):
            await one.inbox.accept(message(f"{SLOW}: what is 6*7?"))
            await until(lambda: model.asked == 1)
            await one.inbox.accept(message("What is 2*4?", number=2))
        async with working(worker_of(other)):
            await until(lambda: len(chat.delivered) == 2, 5)

    assert "42" in chat.delivered["t1-1"][0]
    assert "8" in chat.delivered["t1-2"][0]


async def test_a_worker_ends_though_the_client_of_its_store_loses_a_cancellation(
    shared: Settings,
) -> None:
    chat, backend = Chat(), ScriptedBackend("scripted", demo_policy)
    async with bot_with(chat, shared, backend) as (bot, _):
        bell = Swallowing(bot.stores.bell("browser", consumer="one"))
        async with asyncio.timeout(10), working(worker_of(bot, bell=cast("Doorbell", bell))):
            await bot.inbox.accept(message("What is 2*4?"))
            await until(lambda: chat.delivered)

    assert bell.swallowed == 1


async def test_a_turn_that_loses_its_cancellation_is_cut_again(shared: Settings) -> None:
    chat, backend = Chat(), DeafOnce("scripted", demo_policy)
    async with (
        bot_with(chat, shared, backend) as (bot, _),
        asyncio.timeout(15),
        working(worker_of(bot)),
    ):
        await bot.inbox.accept(message("Are you there?"))
        await until(lambda: backend.requests)

    assert backend.cuts == 2


async def test_a_full_worker_leaves_the_rest_to_one_with_room(shared: Settings) -> None:
    model, chat = SlowAtFirst(50), Chat()
    backend = ScriptedBackend("scripted", model)
    async with (
        bot_with(chat, shared, backend) as (one, _),
        bot_with(chat, shared, backend) as (other, _),
        working(worker_of(one, concurrent=1)),
    ):
        await one.inbox.accept(message(f"{SLOW}: what is 6*7?"))
        await until(lambda: model.asked == 1)
        for number in range(5):
            await one.inbox.accept(message("What is 2*4?", thread=f"other{number}"))
        async with working(worker_of(other)):
            await until(lambda: len(chat.delivered) == 5, 5)

    assert all("8" in texts[0] for texts in chat.delivered.values())


async def test_a_long_turns_ring_is_not_handed_to_another(shared: Settings) -> None:
    turns = shared.turns.model_copy(update={"lease_s": 1.0, "renew_s": 0.2})
    brief = shared.model_copy(update={"turns": turns})
    model, chat = SlowAtFirst(3), Chat()
    backend = ScriptedBackend("scripted", model)
    async with bot_with(chat, brief, backend) as (bot, _):
        observer = bot.stores.bell("browser", consumer="observer")
        async with working(worker_of(bot, concurrent=1)):
            await bot.inbox.accept(message(f"{SLOW}: what is 6*7?"))
            await until(lambda: model.asked == 1)
            seen = []
            while not chat.delivered:
                seen += await observer.take(wait_ms=100)

    assert seen == []
    assert len(chat.opened["t1-1"]) == 1


async def test_a_process_frozen_past_its_lease_gives_its_answer_if_nobody_else_did(
    shared: Settings,
) -> None:
    turns = shared.turns.model_copy(update={"lease_s": 1.0, "renew_s": 0.2})
    brief = shared.model_copy(update={"turns": turns})
    chat = Chat()

    def frozen(request: ModelRequest) -> Reply:
        time.sleep(1.5)  # the whole process stands still
        return Say("Here I am again.")

    async with (
        bot_with(chat, brief, ScriptedBackend("scripted", frozen)) as (bot, _),
        working(worker_of(bot)),
    ):
        await bot.inbox.accept(message("Are you there?"))
        await until(lambda: chat.delivered)

    [text] = chat.delivered["t1-1"]
    assert text.startswith("Here I am again.")


async def test_a_process_that_lost_its_lease_leaves_the_answer_to_the_one_that_took_it(
    shared: Settings,
) -> None:
    turns = shared.turns.model_copy(update={"lease_s": 1.0, "renew_s": 0.2})
    brief = shared.model_copy(update={"turns": turns})
    late, chat = Chat(), Chat()
    key = message("").conversation

    async with bot_with(late, brief) as (one, _), bot_with(chat, brief) as (other, _):
        await one.inbox.accept(message("What is 6*7?"))
        hold = await Hold.take(one.stores.ledger, key, lease_s=1.0)
        assert hold is not None
        await asyncio.sleep(1.2)
        async with working(worker_of(other)):
            await until(lambda: chat.delivered)
        assert one._runner is not None
        with pytest.raises(StaleLease):
            await one._runner.run(hold)

    assert not any((late.delivered, late.shown, late.opened))
    assert len(chat.delivered["t1-1"]) == 1


async def test_a_worker_listens_to_nats_and_an_outage_of_it_loses_nothing(
    tmp_path: Path, nats: NatsServer
) -> None:
    chat = Chat()
    settings = settings_in(tmp_path, **{"doorbell.url": nats.url})
    async with bot_with(chat, settings) as (bot, stop), asyncio.TaskGroup() as group:
        group.create_task(bot.run(stop))
        await bot.inbox.accept(message("What is 6*7?"))
        await until(lambda: chat.delivered, 5)
        await asyncio.to_thread(nats.kill)
        await bot.inbox.accept(message("What is 2*4?", number=2))
        await asyncio.to_thread(nats.start)
        await until(lambda: len(chat.delivered) == 2)
        stop.set()

    assert "42" in chat.delivered["t1-1"][0]
    assert "8" in chat.delivered["t1-2"][0]
