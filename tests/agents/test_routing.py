"""Routing: lazy loading once, resting, retirement, closing."""

from __future__ import annotations

import asyncio

import pytest

from adapters.models.scripted import ScriptedBackend
from adapters.models.scripted_replies import Fail, Say
from agents.errors import BackendError, NoRouteError, RouteRetired
from agents.ports import Delta, ModelBackend, ModelRequest, PromptMessage
from agents.routing import Route, Router
from tests.agents.planning import route


async def build(backend: ModelBackend) -> ModelRequest:
    return ModelRequest((PromptMessage("user", "hi"),), 32)


async def said(router: Router) -> str:
    items = [item async for item in router.stream("planner", build)]
    return "".join(item.text for item in items if isinstance(item, Delta))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_route_is_loaded_once_however_many_ask_at_once() -> None:
    loads = 0
    backend = ScriptedBackend("a", lambda request: Say("hi"))

    async def load() -> ModelBackend:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.01)
        return backend

    router = Router({"planner": [Route("a", "scripted", "m", "local", load)]})
    assert loads == 0
    assert await asyncio.gather(*(said(router) for _ in range(8))) == ["hi"] * 8
    assert loads == 1


async def test_those_who_waited_for_a_failed_load_share_its_failure() -> None:
    loads, clock = 0, Clock()

    async def load() -> ModelBackend:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.01)
        raise OSError("/secret/path")

    router = Router({"planner": [Route("a", "scripted", "m", "local", load)]}, clock=clock)
    errors = await asyncio.gather(*(said(router) for _ in range(4)), return_exceptions=True)

    assert loads == 1
    assert all(isinstance(error, NoRouteError) for error in errors)
    assert "secret" not in str(errors[0])
    clock.now = 6
    with pytest.raises(NoRouteError):
        await said(router)
    assert loads == 2


async def test_five_failures_rest_a_route_and_one_request_tries_it_again() -> None:
    clock = Clock()
    down = Fail(BackendError("a", "down", retryable=True))
    backend = ScriptedBackend("a", [*[down] * 5, Say("well"), Say("well")])
    router = Router({"planner": [route(backend)]}, clock=clock)
    for _ in range(6):
        with pytest.raises(NoRouteError):
            await said(router)
    assert len(backend.requests) == 5

    clock.now = 31
    assert await said(router) == "well"
    assert await said(router) == "well"


async def test_a_retired_route_is_never_asked_again() -> None:
    gone = ScriptedBackend("a", [Fail(RouteRetired("a", "m", "n"))])
    other = ScriptedBackend("b", lambda request: Say("b"))
    router = Router({"planner": [route(gone), route(other)]})

    assert [await said(router), await said(router)] == ["b", "b"]
    assert len(gone.requests) == 1


async def test_closing_closes_every_loaded_backend() -> None:
    backend = ScriptedBackend("a", lambda request: Say("hi"))
    router = Router({"planner": [route(backend)]})
    await said(router)
    await router.aclose()

    with pytest.raises(BackendError, match="is closed"):
        await backend.stream(await build(backend)).__anext__()
