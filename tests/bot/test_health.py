from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from redis.exceptions import ConnectionError as RedisConnectionError

from agents.breaker import RouteHealth, RouteState
from agents.ports import Role, Usage
from bot.health import Metrics, State, health_routes
from bot.page import serve_page
from bot.settings import WebSection
from bot.stores import open_stores
from tests.bot.test_bot import settings_in, until
from tests.nats_servers import jetstream
from tools.contract import ToolResult


@dataclass(frozen=True)
class Named:
    name: str


class Routes:
    def __init__(self, *names: str, state: RouteState = "closed") -> None:
        self.names, self.state = names, state

    def routes(self, role: Role) -> Sequence[Named]:
        return [Named(name) for name in self.names]

    def health(self) -> Sequence[RouteHealth]:
        return [RouteHealth(name, self.state, 2.0, "down") for name in self.names]


async def answers() -> bool:
    return True


async def fails() -> bool:
    raise RedisConnectionError("redis://:canary@host")


@asynccontextmanager
async def client(state: State) -> AsyncIterator[aiohttp.ClientSession]:
    web = WebSection(port=0)
    async with serve_page(web, health_routes(state)) as url, aiohttp.ClientSession(url) as http:
        yield http


async def test_the_bot_is_ready_when_redis_answers_and_every_platform_is_connected() -> None:
    connected: set[str] = set()
    state = State(answers, ("slack",), lambda: connected, Routes("phi"), Metrics())
    async with client(state) as http:
        waiting = await http.get("/readyz")
        connected.add("slack")
        ready = await http.get("/readyz")
        told = await ready.json()
        assert (told["ready"], told["faults"]) == (True, {})
        assert told["routes"] == [
            {"route": "phi", "state": "closed", "for_s": 2.0, "reason": "down"}
        ]
        assert (waiting.status, ready.status) == (503, 200)
        assert (await waiting.json())["faults"] == {"slack": "is not connected"}


async def test_a_fault_is_told_without_an_address() -> None:
    async with client(State(fails, (), frozenset, Routes(), Metrics())) as http:
        answer = await http.get("/readyz")
        alive = await http.get("/healthz")
        assert (alive.status, await alive.text()) == (200, "ok\n")
        assert set((await answer.json())["faults"]) == {"redis", "models"}
        assert "canary" not in await answer.text()


async def test_a_bot_whose_models_all_rest_is_not_ready() -> None:
    metrics = Metrics()
    async with client(State(answers, (), frozenset, Routes("phi", state="open"), metrics)) as http:
        answer = await http.get("/readyz")
        figures = await (await http.get("/metrics")).text()
        assert (await answer.json())["faults"] == {
            "models": "every route of the role planner rests or is retired"
        }
    assert 'firstline_route_state{route="phi"} 2.0' in figures


async def test_figures_are_shown_for_prometheus() -> None:
    metrics = Metrics()
    metrics.turn_ended("answered", 1.5)
    metrics.first_sign(0.1)
    metrics.tokens("phi", Usage(10, 5, 4))
    metrics.tools_called([ToolResult("c", "clock", "noon"), ToolResult("d", "no such\n", "")])
    metrics.denied("slack")
    metrics.budget_spent(15)
    metrics.redis_round_trips(3)
    async with client(State(answers, (), frozenset, Routes("phi"), metrics)) as http:
        text = await (await http.get("/metrics")).text()

    assert 'firstline_turns_total{state="answered"} 1.0' in text
    assert 'firstline_model_tokens_total{kind="prompt",route="phi"} 10.0' in text
    assert 'firstline_tool_calls_total{end="ok",tool="clock"} 1.0' in text
    assert 'firstline_prompt_tokens_total{route="phi"} 10.0' in text
    assert 'firstline_cached_prompt_tokens_total{route="phi"} 4.0' in text
    assert "firstline_budget_tokens_total 15.0" in text
    assert 'tool="unknown"' in text
    assert "firstline_redis_round_trips_total 3.0" in text


async def test_a_bot_whose_doorbell_is_away_is_not_ready_until_it_is_back(tmp_path: Path) -> None:
    nats = jetstream(tmp_path / "nats")
    nats.start()
    try:
        async with open_stores(settings_in(tmp_path, **{"doorbell.url": nats.url})) as stores:
            state = State(
                answers,
                (),
                frozenset,
                Routes("phi"),
                Metrics(),
                doorbell_fault=stores.doorbell_fault,
            )
            async with client(state) as http:
                assert (await http.get("/readyz")).status == 200
                await asyncio.to_thread(nats.kill)
                await until(lambda: stores.doorbell_fault())
                away = await http.get("/readyz")
                await asyncio.to_thread(nats.start)
                await until(lambda: not stores.doorbell_fault())
                back = await http.get("/readyz")
    finally:
        nats.kill()

    assert (await away.json())["faults"] == {"doorbell": "NATS is not connected"}
    assert (away.status, back.status) == (503, 200)
