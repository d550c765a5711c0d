"""The circuit breaker before one route: closed, open after failures, half-open for one trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

RouteState = Literal["closed", "half_open", "open", "retired"]

_OPEN_AFTER = 5  # failures in a row, then
_PROBE_EVERY_S = 30.0  # the route rests, and is tried once in this time (reliability row E8)


class RouteHealth(msgspec.Struct, frozen=True):
    """A route as an operator sees it; `reason` is the last failure's, never user text."""

    route: str
    state: RouteState
    for_s: float  # how long it has been in this state
    reason: str = ""


class Breaker:
    """Lets requests through, or one at a time as a trial, or none.

    Closed passes all. Open passes nobody until a probe is due; whoever gets `is_probe_due` or
    passes then is the only one. Half-open means that a probe found the route alive: the next
    request alone decides.
    """

    def __init__(self, route: str, clock: Callable[[], float]) -> None:
        self._route, self._clock = route, clock
        self._state: RouteState = "closed"
        self._since = clock()
        self._failures = 0
        self._next_probe_at = 0.0
        self._on_trial = False
        self._reason = ""

    @property
    def health(self) -> RouteHealth:
        for_s = max(self._clock() - self._since, 0.0)
        return RouteHealth(self._route, self._state, round(for_s, 1), self._reason)

    @property
    def failures(self) -> int:
        return self._failures

    @property
    def is_probe_due(self) -> bool:
        """Whether an open route may be tried now by one caller."""
        due = self._state == "open" and self._clock() >= self._next_probe_at
        return due and not self._on_trial

    def refusal(self, *, may_probe: bool) -> str:
        """Why a request can't pass; empty when it does. `may_probe`: it may be the probe.

        Who passes must call `succeeded`, `failed` or `let_go` in the end.
        """
        if self._state == "closed":
            return ""
        if self._state == "retired":
            return self._reason
        if self._on_trial or (self._state == "open" and not (may_probe and self.is_probe_due)):
            return f"resting after failures ({self._reason})"
        self.begin_trial()
        return ""

    def begin_trial(self) -> None:
        """From here on nobody else passes until the trial's end."""
        self._on_trial = True
        self._next_probe_at = self._clock() + _PROBE_EVERY_S

    def let_go(self) -> None:
        """The trial ended without telling anything: another may try."""
        self._on_trial = False

    def answered_probe(self) -> None:
        """The server lives: one request may see whether the model does."""
        self._on_trial = False
        self._become("half_open")

    def succeeded(self) -> None:
        self._failures, self._on_trial = 0, False
        self._become("closed")

    def failed(self, reason: str) -> None:
        self._failures, self._reason, self._on_trial = self._failures + 1, reason, False
        if self._failures >= _OPEN_AFTER or self._state == "half_open":
            self._next_probe_at = self._clock() + _PROBE_EVERY_S
            self._become("open")

    def retire(self, reason: str) -> None:
        """Gone for good, as long as this process lives."""
        self._reason, self._on_trial = reason, False
        self._become("retired")

    def _become(self, state: RouteState) -> None:
        if state != self._state and self._state != "retired":
            self._state, self._since = state, self._clock()
