"""What every doorbell must do, on a real Redis and a real NATS JetStream alike."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.stores.doorbell import Doorbell, Ring
from adapters.stores.errors import StoreUnavailable
from tests.contracts.doorbells import IDLE_S, LONG_S, PLACES, Place, heard

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=sorted(PLACES))
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    place = PLACES[request.param](tmp_path)
    yield place
    place.kill()


def names(rings: list[Ring]) -> list[str]:
    return sorted(ring.conversation for ring in rings)


async def test_rings_made_before_any_worker_came_are_heard(place: Place) -> None:
    async with place.bell("intake") as intake, place.bell("worker") as worker:
        await intake.ring("K1")
        await intake.ring("K2")
        await worker.open()
        await worker.open()

        assert names(await heard(worker, within_s=5, at_least=2)) == ["K1", "K2"]


async def test_ringing_twice_is_harmless(place: Place) -> None:
    async with place.bell("worker") as worker:
        await worker.open()
        await worker.ring("K1")
        await worker.ring("K1")
        rings = await heard(worker, within_s=0.5, at_least=2)
        for ring in rings:
            await worker.done(ring)

        assert set(names(rings)) == {"K1"}
        assert await heard(worker, within_s=2 * IDLE_S) == []


async def test_workers_share_the_rings_and_none_is_heard_twice(place: Place) -> None:
    async with place.bell("one", idle_s=LONG_S) as one, place.bell("two", idle_s=LONG_S) as two:
        await one.open()
        await two.open()
        for number in range(40):
            await one.ring(f"K{number}")
        shares: list[list[Ring]] = [[], []]
        for _ in range(40):
            for bell, share in zip((one, two), shares, strict=True):
                share += await bell.take(limit=2, wait_ms=50)
            if sum(map(len, shares)) >= 40:
                break

        assert names(shares[0] + shares[1]) == sorted(f"K{number}" for number in range(40))
        assert all(shares)


async def test_what_a_worker_has_no_room_for_is_left_to_others(place: Place) -> None:
    async with place.bell("one", idle_s=LONG_S) as one, place.bell("two", idle_s=LONG_S) as two:
        await one.open()
        await two.open()
        for number in range(9):
            await one.ring(f"K{number}")
        first = await one.take(limit=1, wait_ms=500)

        assert len(first) == 1
        rest = await heard(two, within_s=5, at_least=8)
        assert names(first + rest) == sorted(f"K{number}" for number in range(9))


async def test_a_ring_nobody_finished_comes_back_to_one_other(place: Place) -> None:
    async with place.bell("dead") as dead, place.bell("a") as a, place.bell("b") as b:
        for bell in (dead, a, b):
            await bell.open()
        await dead.ring("K1")
        assert names(await heard(dead, within_s=2)) == ["K1"]

        assert await heard(a, within_s=IDLE_S / 8) == []
        found = await asyncio.gather(*(finished(bell, within_s=IDLE_S + 1) for bell in (a, b)))
        assert names(found[0] + found[1]) == ["K1"]


async def finished(bell: Doorbell, *, within_s: float) -> list[Ring]:
    rings = await heard(bell, within_s=within_s)
    for ring in rings:
        await bell.done(ring)
    return rings + await heard(bell, within_s=IDLE_S)


async def test_a_renewed_ring_stays_until_it_is_renewed_no_more(place: Place) -> None:
    async with place.bell("busy", idle_s=1) as busy, place.bell("idle", idle_s=1) as idle:
        await busy.open()
        await idle.open()
        await busy.ring("K1")
        [ring] = await heard(busy, within_s=2)
        for _ in range(5):
            assert await heard(idle, within_s=0.3) == []
            await busy.renew(ring)

        assert names(await heard(idle, within_s=3)) == ["K1"]


async def test_a_ring_that_was_given_back_comes_at_once(place: Place) -> None:
    async with place.bell("one", idle_s=LONG_S) as one, place.bell("two", idle_s=LONG_S) as two:
        await one.open()
        await two.open()
        await one.ring("K1")
        [ring] = await heard(one, within_s=2)
        waiting = asyncio.create_task(heard(two, within_s=3))
        await asyncio.sleep(0.05)
        await one.give_back(ring)

        assert names(await waiting) == ["K1"]


async def test_a_ring_that_was_finished_never_comes_back(place: Place) -> None:
    async with place.bell("one") as one, place.bell("two") as two:
        await one.open()
        await two.open()
        await one.ring("K1")
        [ring] = await heard(one, within_s=2)
        await one.done(ring)
        await one.done(ring)
        await one.renew(ring)
        await one.give_back(ring)

        assert await heard(two, within_s=2 * IDLE_S) == []


async def test_what_another_finished_is_not_given_back(place: Place) -> None:
    async with place.bell("frozen") as frozen, place.bell("heir") as heir:
        await frozen.open()
        await heir.open()
        await frozen.ring("K1")
        [lost] = await heard(frozen, within_s=2)
        [taken] = await heard(heir, within_s=IDLE_S + 2)
        await frozen.renew(lost)
        await heir.done(taken)
        await frozen.give_back(lost)

        assert await heard(heir, within_s=2 * IDLE_S) == []


async def test_a_worker_that_leaves_gives_back_what_it_has(place: Place) -> None:
    async with place.bell("stays", idle_s=LONG_S) as stays:
        await stays.open()
        async with place.bell("leaves", idle_s=LONG_S) as leaves:
            await leaves.open()
            await stays.ring("K1")
            assert names(await heard(leaves, within_s=2)) == ["K1"]

        assert names(await heard(stays, within_s=3)) == ["K1"]


async def test_a_ring_that_comes_as_taking_is_cancelled_is_not_lost(place: Place) -> None:
    async with place.bell("stays", idle_s=LONG_S) as stays:
        await stays.open()
        async with place.bell("leaves", idle_s=LONG_S) as leaves:
            await leaves.open()
            taking = asyncio.create_task(leaves.take(wait_ms=400))
            await asyncio.sleep(0.1)
            await stays.ring("K1")
            taking.cancel()
            await asyncio.wait([taking])

        assert names(await heard(stays, within_s=3)) == ["K1"]


async def test_a_killed_workers_ring_comes_back(place: Place) -> None:
    async with place.bell("heir", idle_s=1.5) as heir:
        await heir.open()
        await heir.ring("K1")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.contracts.doorbell_process"),
            *(place.kind, place.url),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"K1\n"
        process.kill()
        await process.wait()

        assert names(await heard(heir, within_s=4)) == ["K1"]


async def test_rings_survive_the_servers_death(place: Place) -> None:
    async with place.bell("one") as one, place.bell("two") as two:
        await one.open()
        await two.open()
        await one.ring("taken")
        assert names(await heard(one, within_s=2)) == ["taken"]
        await two.ring("untaken")
        await asyncio.to_thread(place.kill)
        await asyncio.to_thread(place.start)

        rings = await heard_again(two, at_least=2)
        assert set(names(rings)) == {"taken", "untaken"}


async def heard_again(bell: Doorbell, *, at_least: int) -> list[Ring]:
    """As `heard`, through a connection that is being made again."""
    rings: list[Ring] = []
    async with asyncio.timeout(10):
        while len(rings) < at_least:
            try:
                rings += await bell.take(wait_ms=100)
            except StoreUnavailable:
                await asyncio.sleep(0.05)
    return rings


async def test_without_its_server_a_bell_says_so_soon(place: Place) -> None:
    async with place.bell("one") as one:
        await one.open()
        await one.ring("K1")
        [ring] = await heard(one, within_s=2)
        await asyncio.to_thread(place.kill)
        await asyncio.sleep(0.1)  # the connection's end is heard of

        async with asyncio.timeout(4):
            for call in (one.ring("K2"), one.done(ring), one.take(wait_ms=50), one.open()):
                with pytest.raises(StoreUnavailable):
                    await call


async def test_a_server_that_forgot_everything_is_set_up_again(place: Place) -> None:
    async with place.bell("one") as one:
        await one.open()
        await one.ring("old")
        await place.forget()
        async with asyncio.timeout(5):
            while True:
                await one.ring("new")
                if rings := await one.take(wait_ms=50):
                    break

        assert set(names(rings)) == {"new"}
