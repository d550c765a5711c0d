"""Routing: which route serves a role, and what happens when one can't."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec
import structlog

from agents.breaker import Breaker, RouteHealth
from agents.budget import OVER_BUDGET, Allowance, estimated
from agents.errors import BackendError, NoRouteError, PromptTooLong, RouteRetired
from agents.events import RouteSwitched
from agents.ports import (
    Delta,
    Finish,
    ModelBackend,
    ModelRequest,
    Placement,
    Probed,
    Queued,
    Role,
    Usage,
)

log = structlog.get_logger(__name__)

LOCAL_ONLY = "not local, and this conversation is local only"
_LOOK_EVERY_S = 5.0  # at the breakers, each of which has its own time for a probe
_PROBE_TIMEOUT_S = 10.0
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
class _Loading:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    error: BackendError | None = None
    again_at: float = 0.0


class Router:
    """Tries a role's routes in order: pin first, then the chain, healthy ones only.

    It moves on only before the first visible token and on retryable errors, never sends a
    local-only conversation to a route that is not local, and asks no route for which the
    turn's allowance is used up. With `local_only` that goes for every conversation.
    """

    def __init__(
        self,
        chains: Mapping[Role, Sequence[Route]],
        *,
        local_only: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chains = {role: tuple(chain) for role, chain in chains.items()}
        self._local_only, self._clock = local_only, clock
        self._routes = {route.name: route for chain in self._chains.values() for route in chain}
        self._loaded: dict[str, ModelBackend] = {}
        self._loading = {name: _Loading() for name in self._routes}
        self._breakers = {name: Breaker(name, clock) for name in self._routes}
        self._watched = False

    def routes(self, role: Role) -> tuple[Route, ...]:
        """The role's chain in its configured order; `small` without one is the planner's."""
        chain = self._chains.get(role, ())
        return self._chains.get("planner", ()) if role == "small" and not chain else chain

    def health(self) -> tuple[RouteHealth, ...]:
        """The state of every route's circuit breaker."""
        return tuple(breaker.health for breaker in self._breakers.values())

    async def stream(
        self,
        role: Role,
        build: BuildRequest,
        *,
        pin: str | None = None,
        local_only: bool = False,
        allowance: Allowance | None = None,
        shown: Callable[[], bool] | None = None,
    ) -> AsyncGenerator[RouteSwitched | Serving | Queued | Delta | Finish, None]:
        """Items of the route that serves, after a `Serving`; a `RouteSwitched` for each that
        could not. Raises `NoRouteError`, or `BackendError` once text was shown.

        `shown` tells whether a person has seen any of it (default: after the first delta).
        """
        tried: list[tuple[str, str]] = []
        last_error: BackendError | None = None
        given_up: list[tuple[str, str]] = []  # to be told once another route goes on
        for route in sorted(self.routes(role), key=lambda route: route.name != pin):
            if (local_only or self._local_only) and route.placement != "local":
                tried.append((route.name, LOCAL_ONLY))
                given_up.append(tried[-1])
                continue
            if allowance and allowance.counts(route.placement) and await allowance.used_up():
                tried.append((route.name, OVER_BUDGET))
                given_up.append(tried[-1])
                continue
            for name, why in given_up:
                yield RouteSwitched(role, name, route.name, why)
            given_up.clear()
            begun = False
            try:
                async with aclosing(self._attempt(route, build, allowance)) as items:
                    async for item in items:
                        begun = begun or isinstance(item, Delta)
                        yield item
            except BackendError as error:
                visible = shown() if shown else begun
                if visible or not error.retryable:
                    raise
                tried.append((route.name, error.detail))
                given_up.append(tried[-1])
                last_error = error
            else:
                return
        raise NoRouteError(role, tuple(tried)) from last_error

    async def load(self, route: Route) -> ModelBackend:
        """The route's backend, loaded once and shared by all roles; raises `BackendError`."""
        loaded = self._loaded.get(route.name)
        if loaded is not None:
            return loaded
        loading = self._loading[route.name]
        async with loading.lock:
            loaded = self._loaded.get(route.name)
            if loaded is None:
                if loading.error is not None and self._clock() < loading.again_at:
                    raise loading.error
                loaded = self._loaded[route.name] = await self._load(route, loading)
        return loaded

    async def _load(self, route: Route, loading: _Loading) -> ModelBackend:
        try:
            return await route.load()
        except BackendError as error:
            loading.error = error
            raise
        except _LOAD_ERRORS as error:
            detail = f"can't be loaded ({type(error).__name__})"
            log.exception("route.load_failed", route=route.name, error=type(error).__name__)
            loading.error = BackendError(route.name, detail, retryable=True)
            raise loading.error from error
        finally:
            loading.again_at = self._clock() + _LOAD_AGAIN_AFTER_S

    async def aclose(self) -> None:
        """Close every backend that was loaded."""
        while self._loaded:
            _, backend = self._loaded.popitem()
            await backend.aclose()

    async def keep_probing(self) -> None:
        """Try resting routes in the background until cancelled, so that no person's turn must."""
        self._watched = True
        try:
            while True:
                await asyncio.sleep(_LOOK_EVERY_S)
                await self.probe_resting()
        finally:
            self._watched = False

    async def probe_resting(self) -> None:
        """One look at every resting route that is due; nobody's text is sent."""
        async with asyncio.TaskGroup() as group:
            for name, route in self._routes.items():
                far = self._local_only and route.placement != "local"
                if self._breakers[name].is_probe_due and self._can_probe(route) and not far:
                    self._breakers[name].begin_trial()
                    group.create_task(self._probe(route), name=f"probe.{name}")

    async def _probe(self, route: Route) -> None:
        breaker = self._breakers[route.name]
        try:
            backend = await self.load(route)
            if isinstance(backend, Probed):
                async with asyncio.timeout(_PROBE_TIMEOUT_S):
                    await backend.probe()
        except BackendError as error:
            self._failed(route, error)
        except TimeoutError:
            why = f"no answer to a probe in {_PROBE_TIMEOUT_S:g} s"
            self._failed(route, BackendError(route.name, why, retryable=True))
        else:
            breaker.answered_probe()
            log.info("route.answers_again", route=route.name)
        finally:
            breaker.let_go()

    def _can_probe(self, route: Route) -> bool:
        """A server can be asked how it is; for what is not loaded, loading it tells."""
        backend = self._loaded.get(route.name)
        return backend is None or isinstance(backend, Probed)

    async def _attempt(
        self, route: Route, build: BuildRequest, allowance: Allowance | None
    ) -> AsyncGenerator[Serving | Queued | Delta | Finish, None]:
        breaker = self._breakers[route.name]
        may_probe = not (self._watched and self._can_probe(route))
        if reason := breaker.refusal(may_probe=may_probe):
            raise BackendError(route.name, reason, retryable=True)
        pays = allowance if allowance and allowance.counts(route.placement) else None
        try:
            backend = await self.load(route)
            request = await build(backend)
            yield Serving(route.name, backend)
            async with aclosing(_metered(backend, request, pays)) as items:
                async for item in items:
                    yield item
        except PromptTooLong:
            raise  # says nothing about the route
        except BackendError as error:
            self._failed(route, error)
            raise
        else:
            breaker.succeeded()
        finally:
            breaker.let_go()

    def _failed(self, route: Route, error: BackendError) -> None:
        breaker = self._breakers[route.name]
        if isinstance(error, RouteRetired):
            breaker.retire(error.detail)
            log.error("route.retired", route=route.name, why=error.detail)
            return
        breaker.failed(error.detail)
        log.warning("route.failed", route=route.name, why=error.detail, failures=breaker.failures)


async def _metered(
    backend: ModelBackend, request: ModelRequest, allowance: Allowance | None
) -> AsyncGenerator[Delta | Finish | Queued, None]:
    """The backend's stream; what it cost is spent, also when it is broken off."""
    said, usage = 0, Usage()
    try:
        async with aclosing(backend.stream(request)) as items:
            async for item in items:
                if isinstance(item, Delta):
                    said += len(item.text)
                elif isinstance(item, Finish):
                    usage = item.usage
                yield item
    finally:
        if allowance is not None and (said or usage.prompt_tokens):
            await allowance.spend(usage if usage.prompt_tokens else estimated(request, said))
