"""What may go wrong on a twin, by one name on each: `slack_twin.faults`, `discord_twin.faults`.

Each is set by a test, for the next calls or events, and gone with the twin.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Faults(Protocol):
    """`call` is Slack's method (`chat.update`), or Discord's verb and a pattern of the path
    (`PATCH /messages/`)."""

    def slow(self, seconds: float) -> None:
        """From now on: half before a call takes effect, half after."""

    def limited(self, call: str, retry_after_s: float, *, times: int = 1) -> None:
        """The next calls are answered 429, to be tried again after so long."""

    def refused(self, call: str, error: Any, *, times: int = 1) -> None:
        """The next calls have no effect; `error` is the platform's own code."""

    def page(self, call: str, status: int = 503, *, times: int = 1) -> None:
        """The next calls get a proxy's HTML page in place of an answer."""

    def cut(self, call: str, *, times: int = 1) -> None:
        """The next calls take effect, and the line is cut before the answer."""

    def twice(self, *, times: int = 1) -> None:
        """The next events of people are told twice, exactly alike."""

    def swapped(self, *, times: int = 1) -> None:
        """The next event of people is told after the one that follows it."""

    async def disconnect(self) -> None:
        """Every connection is asked to come back on a new one."""

    async def drop(self) -> None:
        """Every connection is cut without a word."""


class Order(Generic[T]):
    """Which events come twice, and which only after the one that follows them."""

    def __init__(self) -> None:
        self.twice = self.swapped = 0
        self._held: list[T] = []

    def next(self, told: T) -> list[T]:
        """What is delivered now that this was to be told."""
        if self._held:
            return [*self._copies(told), *self._copies(self._held.pop())]
        if self.swapped > 0:
            self.swapped -= 1
            self._held.append(told)
            return []
        return self._copies(told)

    def _copies(self, told: T) -> list[T]:
        if self.twice <= 0:
            return [told]
        self.twice -= 1
        return [told, told]
