"""Routing: which route serves a role, and what happens when one can't."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec
import structlog

from agents.errors import BackendError, NoRouteError, PromptTooLong, RouteRetired
from agents.events import RouteSwitched
from agents.ports import Delta, Finish, ModelBackend, ModelRequest, Placement, Queued, Role

log = structlog.get_logger(__name__)

_OPEN_AFTER = 5  # failures in a row, then
_OPEN_FOR_S = 30.0  # the route rests, and one request tries it again (reliability row E8)
_LOAD_AGAIN_AFTER_S = 5.0  # who waited for a load that failed shares its failure
_LOAD_ERRORS = (ImportError, OSError, RuntimeError, ValueError, TimeoutError, MemoryError)

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
    load_error: BackendError | None = None
    load_again_at: float = 0.0


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
    ) -> AsyncGenerator[RouteSwitched | Serving | Queued | Delta | Finish, None]:
        """Items of the route that serves, after a `Serving`; a `RouteSwitched` for each that
        could not. Raises `NoRouteError`, or `BackendError` once text was shown.

        `shown` tells whether a person has seen any of it (default: after the first delta).
        """
        tried: list[tuple[str, str]] = []
        last_error: BackendError | None = None
        given_up: tuple[str, str] | None = None  # to be told once another route goes on
        for route in sorted(self.routes(role), key=lambda route: route.name != pin):
            if local_only and route.placement != "local":
                tried.append((route.name, "not local, and this conversation is local only"))
                continue
            if given_up is not None:
                yield RouteSwitched(role, given_up[0], route.name, given_up[1])
            given_up = None
            begun = False
            try:
                self._check_usable(route)
                async with aclosing(self._attempt(route, build)) as items:
                    async for item in items:
                        begun = begun or isinstance(item, Delta)
                        yield item
            except BackendError as error:
                visible = shown() if shown else begun
                if visible or not error.retryable:
                    raise
                tried.append((route.name, error.detail))
                given_up, last_error = tried[-1], error
            else:
                return
        raise NoRouteError(role, tuple(tried)) from last_error

    async def load(self, route: Route) -> ModelBackend:
        """The route's backend, loaded once and shared by all roles; raises `BackendError`."""
        loaded = self._loaded.get(route.name)
        if loaded is not None:
            return loaded
        health = self._health[route.name]
        async with health.loading:
            loaded = self._loaded.get(route.name)
            if loaded is None:
                if health.load_error is not None and self._clock() < health.load_again_at:
                    raise health.load_error
                loaded = self._loaded[route.name] = await self._load(route, health)
        return loaded

    async def _load(self, route: Route, health: _Health) -> ModelBackend:
        try:
            return await route.load()
        except BackendError as error:
            health.load_error = error
            raise
        except _LOAD_ERRORS as error:
            detail = f"can't be loaded ({type(error).__name__})"
            log.exception("route.load_failed", route=route.name, error=type(error).__name__)
            health.load_error = BackendError(route.name, detail, retryable=True)
            raise health.load_error from error
        finally:
            health.load_again_at = self._clock() + _LOAD_AGAIN_AFTER_S

    async def aclose(self) -> None:
        """Close every backend that was loaded."""
        while self._loaded:
            _, backend = self._loaded.popitem()
            await backend.aclose()

    async def _attempt(
        self, route: Route, build: BuildRequest
    ) -> AsyncGenerator[Serving | Queued | Delta | Finish, None]:
        try:
            backend = await self.load(route)
            request = await build(backend)
            yield Serving(route.name, backend)
            async with aclosing(backend.stream(request)) as items:
                async for item in items:
                    yield item
        except PromptTooLong:
            raise  # says nothing about the route
        except BackendError as error:
            self._failed(route, error)
            raise
        self._health[route.name].failures = 0

    def _check_usable(self, route: Route) -> None:
        """Raise `BackendError` for a route that rests or is gone."""
        health = self._health[route.name]
        if health.retired:
            raise BackendError(route.name, health.retired, retryable=True)
        if health.failures < _OPEN_AFTER:
            return
        if self._clock() < health.rests_until:
            raise BackendError(route.name, "resting after failures", retryable=True)
        health.rests_until = self._clock() + _OPEN_FOR_S  # this request is the one probe

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
