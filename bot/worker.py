"""The worker: answers the doorbell, takes leases, keeps them, runs turns."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from adapters.stores.doorbell import Doorbell, Ring
from adapters.stores.errors import StaleLease, StoreUnavailable
from adapters.stores.ledger import Ledger
from bot.hold import Hold
from bot.turn import TurnRunner
from tools.identity import ConversationKey

log = structlog.get_logger(__name__)

_TAKE_WAIT_MS = 1000
_CLOSING_S = 0.1
_STORE_PAUSE_S = 1.0
_LEAVE_S = 1.5  # to give back a lease or a ring at the end
_CUT_AGAIN_S = 2 * _LEAVE_S + 0.5  # a lane gives back both


class Worker:
    """Serves the conversations of one chat adapter until told to stop."""

    def __init__(
        self,
        *,
        adapter: str,
        bell: Doorbell,
        ledger: Ledger,
        runner: TurnRunner,
        concurrent: int,
        lease_s: float,
        renew_s: float,
        sweep_s: float,
        drain_s: float = 20.0,
    ) -> None:
        self._adapter, self._bell, self._ledger, self._runner = adapter, bell, ledger, runner
        self._concurrent, self._renew_s, self._sweep_s = concurrent, renew_s, sweep_s
        self._lease_s, self._drain_s = lease_s, drain_s
        self._running: dict[Hold, asyncio.Task[None]] = {}
        self._lanes: dict[asyncio.Task[None], Ring] = {}
        self._ended = asyncio.Event()
        self._stopping = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then let running turns end for at most `drain_s`."""
        await self._open_bell(stop)
        async with asyncio.TaskGroup() as lanes, asyncio.TaskGroup() as loops:
            renewing = loops.create_task(self._renew(), name=f"worker.renew.{self._adapter}")
            taking = [
                loops.create_task(self._read(lanes), name=f"worker.read.{self._adapter}"),
                loops.create_task(self._sweep(), name=f"worker.sweep.{self._adapter}"),
            ]
            await stop.wait()
            self._stopping.set()
            for task in taking:
                task.cancel()
            await self._drain()
            renewing.cancel()  # last: a lane that still works needs its lease
        await self._bell.aclose()

    async def _open_bell(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._bell.open()
            except StoreUnavailable as error:
                log.warning("worker.store_down", error=str(error))
                await asyncio.sleep(_STORE_PAUSE_S)
            else:
                return

    async def _drain(self) -> None:
        if not self._lanes:
            return
        log.info("worker.draining", turns=len(self._running))
        _, late = await asyncio.wait(self._lanes, timeout=self._drain_s)
        while late:  # the Redis client, or a tool, may lose a cancellation
            for task in late:
                task.cancel()
            _, late = await asyncio.wait(late, timeout=_CUT_AGAIN_S)

    async def _read(self, lanes: asyncio.TaskGroup) -> None:
        """Begin a lane for every ring.

        Its cancellation may be lost: redis-py sends in `asyncio.wait_for`, which in Python 3.11
        drops one that comes together with the result (python/cpython#86296).
        """
        while not self._stopping.is_set():
            while len(self._lanes) >= self._concurrent:
                self._ended.clear()
                await self._ended.wait()
            free = self._concurrent - len(self._lanes)  # what we can't begin, others may
            try:
                rings = await self._bell.take(limit=free, wait_ms=_TAKE_WAIT_MS)
            except StoreUnavailable as error:
                log.warning("worker.store_down", error=str(error))
                await asyncio.sleep(_STORE_PAUSE_S)
                continue
            for ring in rings:
                lane = lanes.create_task(self._lane(ring), name=f"lane.{self._adapter}")
                self._lanes[lane] = ring
                lane.add_done_callback(self._leave)

    def _leave(self, lane: asyncio.Task[None]) -> None:
        del self._lanes[lane]
        self._ended.set()

    async def _sweep(self) -> None:
        """Ring for what is due."""
        while not self._stopping.is_set():
            await asyncio.sleep(self._sweep_s)
            try:
                for conversation in await self._ledger.due(
                    self._adapter, again_ms=int(self._sweep_s * 1000)
                ):
                    await self._bell.ring(conversation)
            except StoreUnavailable as error:
                log.warning("worker.store_down", error=str(error))

    async def _renew(self) -> None:
        """Keep leases, and after them rings: those must not come back before a lease ends."""
        while True:
            await asyncio.sleep(self._renew_s)
            for hold, task in list(self._running.items()):
                if hold not in self._running:
                    continue  # ended while others were renewed
                try:
                    await hold.renew()
                except StaleLease:
                    await asyncio.sleep(_CLOSING_S)  # its own close may have come first
                    if hold in self._running:
                        log.warning("fence.stale", fence=hold.claim.lease.fence)
                        hold.end()
                        task.cancel()
                except StoreUnavailable as error:
                    log.warning("worker.store_down", error=str(error))
            try:
                await asyncio.gather(*map(self._bell.renew, self._lanes.values()))
            except StoreUnavailable as error:
                log.warning("worker.bell_down", error=str(error))

    async def _lane(self, ring: Ring) -> None:
        try:
            key = ConversationKey.parse(ring.conversation)
        except ValueError:
            log.warning("worker.bad_ring", adapter=self._adapter)
            await self._finish(ring, is_done=True)
            return
        is_done = False
        try:
            is_done = await self._look(key)
        except StoreUnavailable as error:
            log.warning("worker.store_down", error=str(error))
            await self._pause()
        except StaleLease:
            log.warning("fence.stale", adapter=self._adapter)
        except Exception as error:
            log.exception("worker.lane_failed", error=type(error).__name__)
            await self._pause()
        finally:
            await self._finish(ring, is_done=is_done)

    async def _pause(self) -> None:
        """Before trying again what just failed; not at the end of this process."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STORE_PAUSE_S):
                await self._stopping.wait()

    async def _finish(self, ring: Ring, *, is_done: bool) -> None:
        try:
            async with asyncio.timeout(_LEAVE_S):
                await (self._bell.done(ring) if is_done else self._bell.give_back(ring))
        except (StoreUnavailable, TimeoutError) as error:  # it comes back after its idle time
            log.warning("worker.bell_down", error=str(error) or type(error).__name__)

    async def _look(self, key: ConversationKey) -> bool:
        """Run what waits there; whether there is nothing left for this ring."""
        more = True
        while more and not self._stopping.is_set():
            hold = await Hold.take(self._ledger, key, lease_s=self._lease_s)
            more = hold is not None and await self._run(hold)
        return not more

    async def _run(self, hold: Hold) -> bool:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a lane is always a task")
        self._running[hold] = task
        try:
            return await self._runner.run(hold)
        except asyncio.CancelledError:
            with contextlib.suppress(StoreUnavailable, StaleLease, TimeoutError):
                async with asyncio.timeout(_LEAVE_S):
                    await self._ledger.give_back(hold.claim.lease)
            raise
        finally:
            hold.end()
            del self._running[hold]
