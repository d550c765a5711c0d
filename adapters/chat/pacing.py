"""Pacing: one scheduler per rate-limit pool, shared by all conversations of the process.

The final text always goes first, then the first sign of a reply, then the oldest waiting edit.
Final edits are never skipped; interim edits are, because a newer draft replaces them.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Generic, TypeVar

import structlog

from adapters.chat.types import AdapterError, DeliveryError, MayShow, NotOurs, always

log = structlog.get_logger(__name__)

CLOSE_WAIT_S = 10.0  # longest wait for an edit that is on its way
GIVE_UP_AFTER = 3  # interim edits refused in a row

Shown = TypeVar("Shown")  # what a draft is to the platform; comparable, empty ones are not shown


class Urgency(IntEnum):
    """Who goes first when calls must wait."""

    FINAL = 0
    FIRST = 1
    EDIT = 2


class Pool:
    """At most `calls` grants in any `window_s`; callers wait their turn in `take`.

    Edits leave `reserve` slots free, so that a final text never waits behind one. With `spread`
    they come evenly over the window: a burst at its begin would leave the rest of it blind.
    `clock` must run at the pace of the event loop's timers.
    """

    def __init__(
        self,
        *,
        calls: int,
        window_s: float,
        clock: Callable[[], float] = time.monotonic,
        reserve: int = 1,
        spread: bool = False,
    ) -> None:
        if not 0 <= reserve < calls:
            raise ValueError(f"reserve {reserve} must be at least 0 and less than calls {calls}")
        self._calls, self._window_s, self._reserve = calls, window_s, reserve
        self._clock = clock
        self._edit_every_s = window_s / (calls - reserve) if spread else 0.0
        self._edited_at = -math.inf
        self._granted: deque[float] = deque()
        self._waiting: list[tuple[Urgency, int, asyncio.Future[float]]] = []
        self._taken = 0
        self._paused_until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, urgency: Urgency) -> None:
        """Wait for a slot. A caller cancelled while waiting leaves its slot to the next."""
        slot: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._taken += 1
        heapq.heappush(self._waiting, (urgency, self._taken, slot))
        self._grant()
        try:
            await slot
        except asyncio.CancelledError:
            if not slot.cancelled() and slot.result() in self._granted:
                self._granted.remove(slot.result())  # granted, but nothing will be called
            self._grant()
            raise

    def pause(self, seconds: float) -> None:
        """Grant nothing for `seconds`: the platform said Retry-After."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)
        self._grant()

    def _grant(self) -> None:
        """Hand out what is free now and set the timer for the next slot."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            urgency, _, slot = self._waiting[0]
            if slot.done():  # cancelled while it waited
                heapq.heappop(self._waiting)
                continue
            now = self._clock()
            wait_s = self._wait_s(urgency, now)
            if wait_s > 0:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(max(wait_s, 0.001), self._grant)
                return
            heapq.heappop(self._waiting)
            self._granted.append(now)
            if urgency is Urgency.EDIT:
                self._edited_at = now
            slot.set_result(now)

    def _wait_s(self, urgency: Urgency, now: float) -> float:
        while self._granted and now - self._granted[0] >= self._window_s:
            self._granted.popleft()
        usable = self._calls - (self._reserve if urgency is Urgency.EDIT else 0)
        wait_s = self._paused_until - now
        if len(self._granted) >= usable:
            frees = self._granted[len(self._granted) - usable]
            wait_s = max(wait_s, frees + self._window_s - now)
        if urgency is Urgency.EDIT:
            wait_s = max(wait_s, self._edited_at + self._edit_every_s - now)
        return wait_s


class PacedEdits(Generic[Shown]):
    """Shows drafts of one message as fast as its pool allows, skipping those in between.

    `edit` sends one draft and raises `AdapterError` only. A refusal that is not retryable, or
    `GIVE_UP_AFTER` in a row, ends the interim edits quietly: the final text is not sent here.
    A draft whose turn comes while `may_show` says no is skipped: another process may have
    finished the reply, and the draft would overwrite it (row A5).
    """

    def __init__(
        self,
        pool: Pool,
        edit: Callable[[Shown], Awaitable[None]],
        *,
        name: str,
        may_show: MayShow = always,
    ) -> None:
        self._pool, self._edit, self._name, self._may_show = pool, edit, name, may_show
        self._draft: Shown | None = None
        self._shown: Shown | None = None
        self._newer = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._editing = self._closed = False

    def show(self, draft: Shown) -> None:
        """Offer the newest draft. Never blocks, never raises."""
        if self._closed or not draft or draft == self._draft:
            return
        self._draft = draft
        self._newer.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"edits {self._name}")

    async def aclose(self) -> None:
        """End the interim edits; one that is on its way gets `CLOSE_WAIT_S` to arrive.

        It is awaited because a late interim edit would overwrite the final text.
        """
        self._closed = True
        task = self._task
        if task is None:
            return
        self._newer.set()
        try:
            if self._editing:
                await asyncio.wait((task,), timeout=CLOSE_WAIT_S)
        finally:
            task.cancel()
        await asyncio.wait((task,), timeout=CLOSE_WAIT_S)
        self._task = None
        if task.done() and not task.cancelled() and (error := task.exception()):
            log.error("pacing.edit_broke", reply=self._name, error=type(error).__name__)

    async def _run(self) -> None:
        refused = 0
        while not self._closed:
            await self._newer.wait()
            await self._pool.take(Urgency.EDIT)
            self._newer.clear()
            draft = self._draft
            if self._closed or draft is None or draft == self._shown or not self._may_show():
                continue
            refused = 0 if await self._sent(draft) else refused + 1
            if refused >= GIVE_UP_AFTER:
                self._closed = True

    async def _sent(self, draft: Shown) -> bool:
        self._editing = True
        try:
            await self._edit(draft)
        except NotOurs:
            return True  # no refusal, and nothing was shown
        except AdapterError as error:
            log.info("pacing.edit_refused", reply=self._name, error=str(error))
            self._closed |= isinstance(error, DeliveryError) and not error.retryable
            return False
        finally:
            self._editing = False
        self._shown = draft
        return True
