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


DOWN = BackendError("a", "down", retryable=True)


class Server(ScriptedBackend):
    """A scripted model on a server that can be asked how it is."""

    is_up = False
    probes = 0

    async def probe(self) -> None:
        self.probes += 1
        await asyncio.sleep(0.01)
        if not self.is_up:
            raise BackendError(self.name, "no answer", retryable=True)


async def rested(router: Router) -> None:
    for _ in range(5):
        with pytest.raises(NoRouteError):
            await said(router)


def state(router: Router) -> str:
    return router.health()[0].state


async def test_of_many_requests_only_one_tries_a_resting_route() -> None:
    clock = Clock()
    backend = ScriptedBackend("a", [*[Fail(DOWN)] * 5, Say("well", chunk=1, delay_s=0.01)])
    other = ScriptedBackend("b", lambda request: Say("b"))
    router = Router({"planner": [route(backend), route(other)]}, clock=clock)
    for _ in range(5):
        await said(router)
    assert (state(router), router.health()[0].reason) == ("open", "down")

    clock.now = 31
    answers = await asyncio.gather(*(said(router) for _ in range(10)))
    assert sorted(answers) == ["b"] * 9 + ["well"]
    assert len(backend.requests) == 6
    assert state(router) == "closed"


async def test_a_trial_that_is_broken_off_leaves_the_next_one_to_another() -> None:
    clock = Clock()
    backend = ScriptedBackend("a", [*[Fail(DOWN)] * 5, Say("slow", chunk=1, delay_s=5), Say("ok")])
    router = Router({"planner": [route(backend)]}, clock=clock)
    await rested(router)
    clock.now = 31
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await said(router)

    clock.now = 62
    assert await said(router) == "ok"


async def test_a_resting_server_is_probed_in_the_background_and_not_by_a_persons_turn() -> None:
    clock = Clock()
    backend = Server("a", [*[Fail(DOWN)] * 5, Say("well")])
    router = Router({"planner": [route(backend)]}, clock=clock)
    watching = asyncio.create_task(router.keep_probing())
    await asyncio.sleep(0)
    await rested(router)
    clock.now = 31
    with pytest.raises(NoRouteError, match="resting after failures \\(down\\)"):
        await said(router)
    await asyncio.gather(*(router.probe_resting() for _ in range(5)))
    assert (backend.probes, state(router), len(backend.requests)) == (1, "open", 5)

    clock.now, backend.is_up = 62, True
    await router.probe_resting()
    assert (backend.probes, state(router), len(backend.requests)) == (2, "half_open", 5)
    assert await said(router) == "well"
    assert state(router) == "closed"
    watching.cancel()


async def test_one_failure_after_a_good_probe_rests_the_route_again() -> None:
    clock = Clock()
    backend = Server("a", [Fail(DOWN)] * 6)
    router = Router({"planner": [route(backend)]}, clock=clock)
    await rested(router)
    clock.now, backend.is_up = 31, True
    await router.probe_resting()
    with pytest.raises(NoRouteError):
        await said(router)

    assert state(router) == "open"
    clock.now = 45
    health = router.health()[0]
    assert (health.for_s, health.reason) == (14, "down")


async def test_where_all_stays_here_no_other_host_is_even_probed() -> None:
    clock = Clock()
    far = Server("far", [Fail(DOWN)] * 6)
    router = Router({"planner": [route(far, "cloud")]}, local_only=True, clock=clock)
    for _ in range(6):
        with pytest.raises(NoRouteError, match="local only"):
            await said(router)
    clock.now = 31
    await router.probe_resting()

    assert (far.probes, far.requests) == (0, [])


async def test_small_without_a_chain_is_the_planners() -> None:
    planner, small = route(ScriptedBackend("a", [])), route(ScriptedBackend("s", []))

    assert Router({"planner": [planner], "small": []}).routes("small") == (planner,)
    assert Router({"planner": [planner], "small": [small]}).routes("small") == (small,)


async def test_closing_closes_every_loaded_backend() -> None:
    backend = ScriptedBackend("a", lambda request: Say("hi"))
    router = Router({"planner": [route(backend)]})
    await said(router)
    await router.aclose()

    with pytest.raises(BackendError, match="is closed"):
        await backend.stream(await build(backend)).__anext__()
