"""Routing: which route serves a role, and what happens when one can't."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec
import structlog

from agents.errors import BackendError, NoRouteError, RouteRetired
from agents.events import RouteSwitched
from agents.ports import Delta, Finish, ModelBackend, ModelRequest, Placement, Role

log = structlog.get_logger(__name__)

_OPEN_AFTER = 5  # failures in a row, then
_OPEN_FOR_S = 30.0  # the route rests (reliability row E8)

BuildRequest = Callable[[ModelBackend], Awaitable[ModelRequest]]


@dataclass(frozen=True, slots=True)
class Route:
    """A way to a model: backend kind, model id, placement, and how to load it."""

    name: str
    backend: str
    model: str
    placement: Placement
    load: Callable[[], Awaitable[ModelBackend]]


class Serving(msgspec.Struct, frozen=True):
    """Who serves: comes right before the first delta."""

    route: str
    backend: ModelBackend


@dataclass(slots=True)
class _Health:
    failures: int = 0
    rests_until: float = 0.0
    retired: str = ""
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)


class Router:
    """Tries a role's routes in order: pin first, then the chain, healthy ones only.

    It moves on only before the first visible token and on retryable errors, and never sends
    a local-only conversation to a route that is not local.
    """

    def __init__(
        self,
        chains: Mapping[Role, Sequence[Route]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chains = {role: tuple(chain) for role, chain in chains.items()}
        self._clock = clock
        self._loaded: dict[str, ModelBackend] = {}
        self._health = {route.name: _Health() for chain in self._chains.values() for route in chain}

    def routes(self, role: Role) -> tuple[Route, ...]:
        """The role's chain in its configured order."""
        return self._chains.get(role, ())

    async def stream(
        self,
        role: Role,
        build: BuildRequest,
        *,
        pin: str | None = None,
        local_only: bool = False,
        shown: Callable[[], bool] | None = None,
    ) -> AsyncGenerator[RouteSwitched | Serving | Delta | Finish, None]:
        """Items of the route that serves, after a `Serving`; a `RouteSwitched` for each that
        could not. Raises `NoRouteError`, or `BackendError` once text was shown.

        `shown` tells whether a person has seen any of it (default: after the first delta).
        """
        tried: list[tuple[str, str]] = []
        candidates = self._candidates(role, pin, local_only, tried)
        for position, route in enumerate(candidates):
            begun = False
            try:
                async with aclosing(self._attempt(route, build)) as items:
                    async for item in items:
                        begun = begun or isinstance(item, Delta)
                        yield item
            except BackendError as error:
                self._failed(route, error)
                visible = shown() if shown else begun
                if visible or not error.retryable:
                    raise
                tried.append((route.name, error.detail))
                if position + 1 < len(candidates):
                    following = candidates[position + 1].name
                    yield RouteSwitched(role, route.name, following, error.detail)
            else:
                self._health[route.name].failures = 0
                return
        raise NoRouteError(role, tuple(tried))

    async def load(self, route: Route) -> ModelBackend:
        """The route's backend, loaded once and shared by all roles; raises `BackendError`."""
        loaded = self._loaded.get(route.name)
        if loaded is None:
            async with self._health[route.name].loading:
                loaded = self._loaded.get(route.name)
                if loaded is None:
                    loaded = self._loaded[route.name] = await route.load()
        return loaded

    async def aclose(self) -> None:
        """Close every backend that was loaded."""
        while self._loaded:
            _, backend = self._loaded.popitem()
            await backend.aclose()

    async def _attempt(
        self, route: Route, build: BuildRequest
    ) -> AsyncGenerator[Serving | Delta | Finish, None]:
        backend = await self.load(route)
        request = await build(backend)
        yield Serving(route.name, backend)
        async with aclosing(backend.stream(request)) as items:
            async for item in items:
                yield item

    def _candidates(
        self, role: Role, pin: str | None, local_only: bool, tried: list[tuple[str, str]]
    ) -> list[Route]:
        chain = sorted(self.routes(role), key=lambda route: route.name != pin)
        usable: list[Route] = []
        for route in chain:
            if reason := self._unusable(route, local_only):
                tried.append((route.name, reason))
            else:
                usable.append(route)
        return usable

    def _unusable(self, route: Route, local_only: bool) -> str:
        health = self._health[route.name]
        if local_only and route.placement != "local":
            return "this conversation is local only"
        if health.retired:
            return health.retired
        return "resting after failures" if self._clock() < health.rests_until else ""

    def _failed(self, route: Route, error: BackendError) -> None:
        health = self._health[route.name]
        if isinstance(error, RouteRetired):
            health.retired = error.detail
            log.error("route.retired", route=route.name, why=error.detail)
            return
        health.failures += 1
        if health.failures >= _OPEN_AFTER:
            health.rests_until = self._clock() + _OPEN_FOR_S
        log.warning("route.failed", route=route.name, why=error.detail, failures=health.failures)
