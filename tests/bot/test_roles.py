from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import yaml

from adapters.chat.types import Inbox, NotAccepted, Receipt
from adapters.models.scripted import Say, ScriptedBackend, demo_policy
from agents.ports import ModelBackend
from agents.routing import Route, Router
from bot.app import Bot, open_bot
from bot.health import Metrics, State, health_routes
from bot.inbox import BUSY
from bot.page import serve_page
from bot.roles import ProcessRole
from bot.settings import Settings, WebSection
from bot.stores import open_stores
from tests.bot.test_bot import Chat, message, settings_in, until
from tests.bot.test_cli import ROOT, firstline

TOKENS = {"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1"}


@dataclass
class RoledChat(Chat):
    """Tells which way in the bot took."""

    ways: list[str] = field(default_factory=list)

    async def run(self, inbox: Inbox) -> None:
        self.ways.append("listens")
        await asyncio.Event().wait()

    async def answer_only(self) -> None:
        self.ways.append("answers only")
        await asyncio.Event().wait()


@asynccontextmanager
async def running(
    role: ProcessRole, chat: Chat, settings: Settings, model: ModelBackend
) -> AsyncIterator[tuple[Bot, asyncio.Event]]:
    """A process of this role, as far as it can be seen from inside; all share one Redis."""

    async def load() -> ModelBackend:
        return model

    router = Router({"planner": [Route("scripted", "scripted", "demo", "local", load)]})
    stop = asyncio.Event()
    async with (
        open_stores(settings) as stores,
        open_bot(settings, stores, [chat], router=router, role=role) as bot,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(bot.run(stop))
        yield bot, stop
        stop.set()


async def test_an_intake_stores_and_a_worker_answers(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    outside, inside = RoledChat(), RoledChat()
    unused, model = ScriptedBackend("a", demo_policy), ScriptedBackend("b", demo_policy)
    async with running("intake", outside, settings, unused) as (intake, _):
        assert await intake.inbox.accept(message("What is 6*7?")) is Receipt.ACCEPTED
        await asyncio.sleep(0.3)
        assert not unused.requests
        async with running("worker", inside, settings, model):
            await until(lambda: inside.delivered)

    assert "42" in inside.delivered["t1-1"][0]
    assert (outside.ways, inside.ways) == (["listens"], ["answers only"])
    assert (outside.delivered, unused.requests) == ({}, [])


async def test_several_workers_share_the_work_and_no_turn_runs_twice(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    chats = [RoledChat(), RoledChat()]
    model = ScriptedBackend("scripted", lambda request: Say("I heard you.", delay_s=0.02))
    async with (
        running("intake", RoledChat(), settings, model) as (intake, _),
        running("worker", chats[0], settings, model),
        running("worker", chats[1], settings, model),
    ):
        for number in range(60):
            await intake.inbox.accept(message("Hello", thread=f"t{number}"))
            await asyncio.sleep(0.003)
        await until(lambda: sum(len(chat.delivered) for chat in chats) == 60)

    assert not chats[0].delivered.keys() & chats[1].delivered.keys()
    assert all(chat.delivered for chat in chats), "both had some of it"
    assert all(len(texts) == 1 for chat in chats for texts in chat.delivered.values())


async def test_two_intakes_that_hear_the_same_event_store_it_once(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    model = ScriptedBackend("scripted", demo_policy)
    async with (
        running("intake", RoledChat(), settings, model) as (one, _),
        running("intake", RoledChat(), settings, model) as (other, _),
    ):
        heard = message("What is 6*7?")
        receipts = [await one.inbox.accept(heard), await other.inbox.accept(heard)]

    assert receipts == [Receipt.ACCEPTED, Receipt.DUPLICATE]


async def test_an_intake_tells_by_itself_that_a_line_is_full(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, **{"limits.max_waiting": 1})
    chat = RoledChat()
    model = ScriptedBackend("scripted", demo_policy)
    async with running("intake", chat, settings, model) as (intake, _):
        await intake.inbox.accept(message("One"))
        await intake.inbox.accept(message("Two", number=2))
        await until(lambda: chat.delivered)

    assert chat.delivered == {"t1-2": [BUSY]}


async def test_an_intake_that_stops_takes_nothing_more(tmp_path: Path) -> None:
    model = ScriptedBackend("scripted", demo_policy)
    async with running("intake", RoledChat(), settings_in(tmp_path), model) as (intake, stop):
        stop.set()
        await asyncio.sleep(0.05)
        with pytest.raises(NotAccepted):
            await intake.inbox.accept(message("Too late"))


async def test_an_intake_is_ready_without_any_model() -> None:
    async def answers() -> bool:
        return True

    state = State(answers, (), frozenset, Router({}), Metrics(), answers=False)
    async with (
        serve_page(WebSection(port=0), health_routes(state)) as url,
        aiohttp.ClientSession(url) as http,
    ):
        assert (await http.get("/readyz")).status == 200


@pytest.mark.parametrize("role", ["intake", "worker"])
def test_a_role_without_a_shared_redis_or_a_platform_is_refused_with_the_remedy(
    tmp_path: Path, role: str
) -> None:
    lonely = firstline(tmp_path, "run", "--role", role, **TOKENS)
    nowhere = firstline(tmp_path, "run", "--role", role, REDIS_URL="redis://localhost:1/0")

    assert (lonely.returncode, nowhere.returncode) == (2, 2)
    assert "set REDIS_URL" in lonely.stderr
    assert "set the tokens of Slack, Discord or Mattermost" in nowhere.stderr


def test_an_unknown_role_is_wrong_usage(tmp_path: Path) -> None:
    assert firstline(tmp_path, "run", "--role", "boss").returncode == 2


def test_the_compose_file_runs_one_intake_and_three_workers_on_one_redis() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    intake, worker = services["intake"], services["worker"]

    assert intake["command"] == ["run", "--role", "intake"]
    assert worker["command"] == ["run", "--role", "worker"]
    assert worker["deploy"]["replicas"] == 3
    for each in (intake, worker):
        assert each["profiles"] == ["scaled"]
        assert each["environment"]["REDIS_URL"] == services["bot"]["environment"]["REDIS_URL"]
        assert int(each["stop_grace_period"].removesuffix("s")) > 25
