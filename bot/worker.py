"""The worker: answers the doorbell, takes leases, keeps them, runs turns."""

from __future__ import annotations

import asyncio
import contextlib
import secrets

import structlog

from adapters.stores.doorbell import Doorbell, Ring
from adapters.stores.errors import StaleLease, StoreUnavailable
from adapters.stores.ledger import Claim, Lease, Ledger
from bot.turn import TurnRunner
from tools.identity import ConversationKey

log = structlog.get_logger(__name__)

_TAKE_WAIT_MS = 1000
_STORE_PAUSE_S = 1.0


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
        renew_s: float,
        sweep_s: float,
        drain_s: float = 20.0,
    ) -> None:
        self._adapter, self._bell, self._ledger, self._runner = adapter, bell, ledger, runner
        self._concurrent, self._renew_s, self._sweep_s = concurrent, renew_s, sweep_s
        self._drain_s = drain_s
        self._places = asyncio.Semaphore(concurrent)
        self._running: dict[Lease, asyncio.Task[None]] = {}
        self._lanes: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then let running turns end for at most `drain_s`."""
        await self._open_bell(stop)
        async with asyncio.TaskGroup() as lanes, asyncio.TaskGroup() as loops:
            renewing = loops.create_task(self._renew(), name=f"worker.renew.{self._adapter}")
            taking = [
                loops.create_task(self._read(lanes), name=f"worker.read.{self._adapter}"),
                loops.create_task(self._sweep(lanes), name=f"worker.sweep.{self._adapter}"),
            ]
            await stop.wait()
            self._stopping = True
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
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _read(self, lanes: asyncio.TaskGroup) -> None:
        while True:
            try:
                rings = await self._bell.take(wait_ms=_TAKE_WAIT_MS)
            except StoreUnavailable as error:
                log.warning("worker.store_down", error=str(error))
                await asyncio.sleep(_STORE_PAUSE_S)
                continue
            await self._start(rings, lanes)

    async def _sweep(self, lanes: asyncio.TaskGroup) -> None:
        """Ring for what is due, and take over the rings of dead workers."""
        while True:
            await asyncio.sleep(self._sweep_s)
            try:
                for conversation in await self._ledger.due(
                    self._adapter, again_ms=int(self._sweep_s * 1000)
                ):
                    await self._bell.ring(conversation)
                idle_ms = int(self._renew_s * 3000)
                await self._start(await self._bell.adopt(idle_ms=idle_ms), lanes)
            except StoreUnavailable as error:
                log.warning("worker.store_down", error=str(error))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._renew_s)
            for lease, task in list(self._running.items()):
                if self._running.get(lease) is not task:
                    continue  # ended while others were renewed
                try:
                    await self._ledger.renew(lease)
                except StaleLease:
                    if self._running.get(lease) is task:
                        log.warning("fence.stale", fence=lease.fence)
                        task.cancel()
                except StoreUnavailable as error:
                    log.warning("worker.store_down", error=str(error))

    async def _start(self, rings: list[Ring], lanes: asyncio.TaskGroup) -> None:
        for ring in rings:
            await self._places.acquire()
            lane = lanes.create_task(self._lane(ring), name=f"lane.{self._adapter}")
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)

    async def _lane(self, ring: Ring) -> None:
        try:
            await self._look(ConversationKey.parse(ring.conversation))
            if not self._stopping:  # else the ring may still be needed by another process
                await self._bell.done(ring)
        except ValueError:
            log.warning("worker.bad_ring", adapter=self._adapter)
            await self._bell.done(ring)
        except StoreUnavailable as error:
            log.warning("worker.store_down", error=str(error))
        except StaleLease:
            log.warning("fence.stale", adapter=self._adapter)
        except Exception as error:
            log.exception("worker.lane_failed", error=type(error).__name__)
        finally:
            self._places.release()

    async def _look(self, key: ConversationKey) -> None:
        more = True
        while more and not self._stopping:
            claim = await self._ledger.claim(key, owner=secrets.token_hex(8))
            more = claim is not None and await self._run(claim)

    async def _run(self, claim: Claim) -> bool:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a lane is always a task")
        self._running[claim.lease] = task
        try:
            return await self._runner.run(claim)
        except asyncio.CancelledError:
            with contextlib.suppress(StoreUnavailable, StaleLease):
                await self._ledger.give_back(claim.lease)
            raise
        finally:
            del self._running[claim.lease]
