"""Health and figures: /healthz (alive), /readyz (can serve), /metrics (Prometheus)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from agents.breaker import RouteHealth
from agents.ports import Role, Usage
from tools.contract import ToolResult

_NAMESPACE = "firstline"
_TOOL_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_PING_TIMEOUT_S = 2.0
_TURN_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 90, 180)
_ROUTE_STATES = {"closed": 0, "half_open": 1, "open": 2, "retired": 3}
_SIGN_BUCKETS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5)


Came = Literal["cited", "quoted", "uncited", "not there"]  # of a question put to the documents


class Metrics:
    """The bot's figures, in a registry of their own. Labels are never user text or ids."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._turns = self._counter("turns", "Turns by end state.", "state")
        self._turn_s = self._histogram(
            "turn_seconds", "From acceptance to the end of a turn.", _TURN_BUCKETS
        )
        self._first_sign_s = self._histogram(
            "first_sign_seconds", "From acceptance to the first visible sign.", _SIGN_BUCKETS
        )
        self._tokens = self._counter("model_tokens", "Tokens by route and kind.", "route", "kind")
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts.", "route")
        self._cached = self._counter(
            "cached_prompt_tokens", "Tokens of prompts that were not read again.", "route"
        )
        self._spent = self._counter("budget_tokens", "Tokens counted against budgets.")
        self._calls = self._counter("tool_calls", "Tool calls by tool and end.", "tool", "end")
        self._rated = self._counter("feedback", "Ratings and texts about answers.", "kind")
        self._claims = self._counter(
            "support_claims",
            "Claims of answers from documents, by whether a passage holds.",
            "held",
        )
        self._looked = self._counter(
            "support_answers", "Questions put to the documents, by what came of them.", "came"
        )
        self._denied = self._counter("events_denied", "Events admission refused.", "adapter")
        self._routes = Gauge(
            "route_state",
            "Circuit of a route: 0 closed, 1 half open, 2 open, 3 retired.",
            ("route",),
            namespace=_NAMESPACE,
            registry=self.registry,
        )
        self._trips = self._counter("redis_round_trips", "Round trips to Redis.")

    def turn_ended(self, state: str, seconds: float) -> None:
        self._turns.labels(state).inc()
        self._turn_s.observe(seconds)

    def first_sign(self, seconds: float) -> None:
        self._first_sign_s.observe(seconds)

    def tokens(self, route: str, usage: Usage) -> None:
        self._tokens.labels(route, "prompt").inc(usage.prompt_tokens)
        self._tokens.labels(route, "completion").inc(usage.completion_tokens)
        self._prompt.labels(route).inc(usage.prompt_tokens)
        self._cached.labels(route).inc(usage.cached_tokens)

    def budget_spent(self, tokens: int) -> None:
        self._spent.inc(tokens)

    def tools_called(self, results: Iterable[ToolResult]) -> None:
        for result in results:
            # The name is the model's word: only the shape of a tool name becomes a label.
            name = result.name if _TOOL_NAME.fullmatch(result.name) else "unknown"
            self._calls.labels(name, "error" if result.is_error else "ok").inc()

    def rated(self, kind: Literal["up", "down", "text"]) -> None:
        self._rated.labels(kind).inc()

    def supported(self, came: Came, *, claims: int, held: int) -> None:
        self._looked.labels(came).inc()
        self._claims.labels("yes").inc(held)
        self._claims.labels("no").inc(claims - held)

    def denied(self, adapter: str) -> None:
        self._denied.labels(adapter).inc()

    def routes(self, health: Iterable[RouteHealth]) -> None:
        for each in health:
            self._routes.labels(each.route).set(_ROUTE_STATES[each.state])

    def redis_round_trips(self, count: int = 1) -> None:
        self._trips.inc(count)

    def exposition(self) -> bytes:
        return generate_latest(self.registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, namespace=_NAMESPACE, registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, what, buckets=buckets, namespace=_NAMESPACE, registry=self.registry)


class NamedRoute(Protocol):
    @property
    def name(self) -> str: ...


class ServesRoles(Protocol):
    def routes(self, role: Role) -> Sequence[NamedRoute]: ...

    def health(self) -> Sequence[RouteHealth]: ...


@dataclass(frozen=True, slots=True)
class State:
    """What readiness looks at; `connected` tells which adapters have a session now.

    `answers` is False in a process that only takes messages in and asks no model.
    """

    ping: Callable[[], Awaitable[object]]
    adapters: tuple[str, ...]
    connected: Callable[[], Collection[str]]
    router: ServesRoles
    metrics: Metrics
    answers: bool = True
    warnings: Callable[[], Mapping[str, str]] = dict  # what is wrong, but for some people only
    doorbell_fault: Callable[[], str] = str  # of a doorbell beside Redis; "" when it is well


def health_routes(state: State) -> list[Route]:
    """Routes for the process's one local web server."""

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        faults = await _faults(state)
        routes = [msgspec.to_builtins(each) for each in state.router.health()]
        body = {"ready": not faults, "faults": faults, "routes": routes}
        body |= {"warnings": dict(state.warnings())}
        return JSONResponse(body, status_code=503 if faults else 200)

    async def metrics(request: Request) -> Response:
        state.metrics.routes(state.router.health())
        return Response(state.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


async def _faults(state: State) -> dict[str, str]:
    """One sentence for each part that can't serve now."""
    faults: dict[str, str] = {}
    try:
        async with asyncio.timeout(_PING_TIMEOUT_S):
            await state.ping()
    except TimeoutError:
        faults["redis"] = f"no answer in {_PING_TIMEOUT_S:g} s"
    except (RedisError, OSError) as error:
        faults["redis"] = f"does not answer ({type(error).__name__})"
    if fault := state.doorbell_fault():
        faults["doorbell"] = fault
    connected = state.connected()
    for name in state.adapters:
        if name not in connected:
            faults[name] = "is not connected"
    if state.answers and (fault := _models_fault(state.router)):
        faults["models"] = fault
    return faults


def _models_fault(router: ServesRoles) -> str:
    planners = {route.name for route in router.routes("planner")}
    if not planners:
        return "no route for the role planner"
    down = {each.route for each in router.health() if each.state in ("open", "retired")}
    return "every route of the role planner rests or is retired" if planners <= down else ""
