"""Pacing in virtual time: the loop's clock jumps to the next timer, so nothing really waits."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.chat.pacing import GIVE_UP_AFTER, PacedEdits, Pool, Urgency
from adapters.chat.types import DeliveryError, NotOurs


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while work is ready and jumps when none is."""

    def __init__(self) -> None:
        self.now = 1000.0
        selector = selectors.DefaultSelector()
        self._really_select = selector.select
        selector.select = self._jump  # type: ignore[method-assign]
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def _jump(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return self._really_select(0)


def in_virtual_time(scenario: Coroutine[Any, Any, Any]) -> None:
    async def whole() -> None:
        await scenario
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(whole())


def clock() -> float:
    return asyncio.get_running_loop().time()


def pool_of(calls: int = 5, window_s: float = 5.0, reserve: int = 1) -> Pool:
    return Pool(calls=calls, window_s=window_s, clock=clock, reserve=reserve)


class Screen:
    """Where edits go; takes `latency_s` and refuses what `refusals` says."""

    def __init__(self, latency_s: float = 0.1, refusals: list[DeliveryError] | None = None) -> None:
        self.latency_s, self.refusals = latency_s, refusals or []
        self.shown: list[tuple[float, str]] = []
        self.tries = 0

    async def edit(self, text: str) -> None:
        self.tries += 1
        await asyncio.sleep(self.latency_s)
        if self.refusals:
            raise self.refusals.pop(0)
        self.shown.append((clock(), text))


asked = st.lists(
    st.tuples(st.floats(0, 12), st.sampled_from(Urgency), st.booleans()), min_size=1, max_size=40
)


@given(asked, st.integers(2, 6), st.floats(0.5, 8), st.data())
@settings(max_examples=150, deadline=None)
def test_no_window_ever_holds_more_grants_than_calls(
    callers: list[tuple[float, Urgency, bool]], calls: int, window_s: float, data: st.DataObject
) -> None:
    reserve = data.draw(st.integers(0, calls - 1))
    grants: list[tuple[float, Urgency]] = []

    async def scenario() -> None:
        pool = pool_of(calls, window_s, reserve)

        async def call(after_s: float, urgency: Urgency, gives_up: bool) -> None:
            await asyncio.sleep(after_s)
            try:
                async with asyncio.timeout(0.7 if gives_up else None):
                    await pool.take(urgency)
            except TimeoutError:
                return
            grants.append((clock(), urgency))

        async with asyncio.TaskGroup() as group:
            for caller in callers:
                group.create_task(call(*caller))

    in_virtual_time(scenario())
    assert len(grants) >= sum(not gives_up for *_, gives_up in callers)
    for start, _ in grants:
        window = [urgency for at, urgency in grants if start <= at < start + window_s - 1e-6]
        assert len(window) <= calls


@given(st.lists(st.sampled_from(Urgency), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_those_who_wait_are_served_by_urgency_and_then_by_age(waiting: list[Urgency]) -> None:
    served: list[tuple[Urgency, int]] = []

    async def scenario() -> None:
        pool = pool_of(calls=2, window_s=1.0)
        pool.pause(3.0)

        async def call(number: int, urgency: Urgency) -> None:
            await pool.take(urgency)
            served.append((urgency, number))

        async with asyncio.TaskGroup() as group:
            for number, urgency in enumerate(waiting):
                group.create_task(call(number, urgency))

    in_virtual_time(scenario())
    assert served == sorted(served)


def test_a_final_text_never_waits_behind_the_edits_of_its_pool() -> None:
    async def scenario() -> None:
        pool, started = pool_of(calls=5, window_s=5.0), clock()
        for _ in range(4):
            await pool.take(Urgency.EDIT)
        late = asyncio.create_task(pool.take(Urgency.EDIT))
        await asyncio.sleep(0.5)
        assert not late.done()
        await pool.take(Urgency.FINAL)
        assert clock() == started + 0.5
        await late
        assert clock() == pytest.approx(started + 5.0, abs=0.002)

    in_virtual_time(scenario())


def test_nothing_is_granted_while_the_platform_asked_for_a_pause() -> None:
    async def scenario() -> None:
        pool, started = pool_of(), clock()
        pool.pause(7.0)
        pool.pause(2.0)
        await pool.take(Urgency.FINAL)
        assert clock() == pytest.approx(started + 7.0, abs=0.002)

    in_virtual_time(scenario())


def test_a_caller_cancelled_with_its_grant_in_hand_gives_the_slot_back() -> None:
    async def scenario() -> None:
        pool, started = pool_of(calls=1, window_s=60.0, reserve=0), clock()
        pool.pause(600.0)
        first = asyncio.create_task(pool.take(Urgency.FIRST))
        second = asyncio.create_task(pool.take(Urgency.FIRST))
        await asyncio.sleep(0)
        pool._paused_until = 0.0
        pool._grant()
        first.cancel()  # its slot is granted, and it has not run since
        await second
        assert first.cancelled()
        assert clock() == started

    in_virtual_time(scenario())


def test_a_reserve_as_large_as_the_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="reserve 5 must be at least 0 and less than calls 5"):
        Pool(calls=5, window_s=5.0, reserve=5)


def test_drafts_in_between_are_skipped_and_the_newest_is_shown() -> None:
    screen = Screen()

    async def scenario() -> None:
        edits = PacedEdits(pool_of(), screen.edit, name="r1")
        for number in range(200):  # 10 s at 20 drafts a second
            edits.show(f"draft {number}")
            await asyncio.sleep(0.05)
        await asyncio.sleep(6)
        await edits.aclose()

    in_virtual_time(scenario())
    assert screen.shown[-1][1] == "draft 199"
    assert 8 <= len(screen.shown) <= 14
    assert screen.shown[0][0] < 1000.2, "the first draft is shown at once"


def test_a_draft_is_skipped_while_the_reply_may_be_another_process() -> None:
    screen, is_ours = Screen(), True

    async def scenario() -> None:
        nonlocal is_ours
        pool = pool_of()
        edits = PacedEdits(pool, screen.edit, name="r1", may_show=lambda: is_ours)
        edits.show("before")
        await asyncio.sleep(1)
        pool.pause(10)
        edits.show("too late")
        await asyncio.sleep(5)
        is_ours = False  # while it waited for its slot
        await asyncio.sleep(10)
        edits.show("too late as well")
        await asyncio.sleep(2)
        is_ours = True
        edits.show("ours again")
        await asyncio.sleep(2)
        await edits.aclose()

    in_virtual_time(scenario())
    assert [text for _, text in screen.shown] == ["before", "ours again"]


def test_an_edit_that_finds_the_reply_not_ours_is_no_refusal() -> None:
    screen = Screen(refusals=[NotOurs("x")] * (2 * GIVE_UP_AFTER))

    async def scenario() -> None:
        edits = PacedEdits(pool_of(), screen.edit, name="r1")
        for number in range(2 * GIVE_UP_AFTER + 1):
            edits.show(f"draft {number}")
            await asyncio.sleep(2)
        await edits.aclose()

    in_virtual_time(scenario())
    assert [text for _, text in screen.shown] == [f"draft {2 * GIVE_UP_AFTER}"]


def test_many_replies_share_one_pool_and_none_starves() -> None:
    screens = [Screen(latency_s=random.Random(seed).uniform(0.05, 0.3)) for seed in range(6)]

    async def scenario() -> None:
        pool = pool_of()
        replies = [PacedEdits(pool, s.edit, name=f"r{n}") for n, s in enumerate(screens)]
        for number in range(600):
            for reply in replies:
                reply.show(f"draft {number}")
            await asyncio.sleep(0.1)
        for reply in replies:
            await reply.aclose()

    in_virtual_time(scenario())
    counts = [len(screen.shown) for screen in screens]
    assert max(counts) <= 2 * min(counts)
    assert sum(counts) <= 60 * 4 / 5 + 5


def test_closing_waits_for_the_edit_on_its_way_and_shows_nothing_after_it() -> None:
    screen = Screen(latency_s=2.0)

    async def scenario() -> None:
        edits = PacedEdits(pool_of(), screen.edit, name="r1")
        edits.show("one")
        await asyncio.sleep(0.5)
        edits.show("two")
        await edits.aclose()
        assert [text for _, text in screen.shown] == ["one"]
        edits.show("three")
        await edits.aclose()

    in_virtual_time(scenario())
    assert screen.tries == 1


def test_closing_does_not_wait_for_ever_for_an_edit_that_hangs() -> None:
    screen = Screen(latency_s=3600.0)

    async def scenario() -> None:
        edits = PacedEdits(pool_of(), screen.edit, name="r1")
        edits.show("one")
        await asyncio.sleep(0.5)
        started = clock()
        await edits.aclose()
        assert clock() - started <= 10.0

    in_virtual_time(scenario())
    assert screen.shown == []


def test_closing_a_reply_that_waits_for_a_slot_is_immediate() -> None:
    screen = Screen()

    async def scenario() -> None:
        pool = pool_of()
        pool.pause(600)
        edits = PacedEdits(pool, screen.edit, name="r1")
        edits.show("one")
        await asyncio.sleep(1)
        started = clock()
        await edits.aclose()
        assert clock() == started

    in_virtual_time(scenario())
    assert screen.tries == 0


def test_a_refused_edit_is_followed_by_the_next_draft() -> None:
    screen = Screen(refusals=[DeliveryError("x", "busy", retryable=True)])

    async def scenario() -> None:
        edits = PacedEdits(pool_of(), screen.edit, name="r1")
        edits.show("one")
        await asyncio.sleep(1)
        edits.show("two")
        await asyncio.sleep(1)
        await edits.aclose()

    in_virtual_time(scenario())
    assert [text for _, text in screen.shown] == ["two"]


@pytest.mark.parametrize(("retryable", "tries"), [(False, 1), (True, GIVE_UP_AFTER)])
def test_edits_end_when_the_platform_keeps_refusing(retryable: bool, tries: int) -> None:
    screen = Screen(refusals=[DeliveryError("x", "no", retryable=retryable)] * 9)

    async def scenario() -> None:
        edits = PacedEdits(pool_of(), screen.edit, name="r1")
        for number in range(20):
            edits.show(f"draft {number}")
            await asyncio.sleep(2)
        await edits.aclose()

    in_virtual_time(scenario())
    assert screen.tries == tries
