"""Several bots share the work: split, handed over, frozen and awake again (rows A3, A4, A5)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.models.scripted import Reply, Say, Step, demo_policy
from agents.ports import ModelRequest
from tests.drills.figures import RecordFigure
from tests.drills.fleet import Fleet, fleet
from tests.drills.places import Question, Tally, a_sum, connected, jitter
from tests.drills.processes import ForkServer, fork_server

STOPS_WITHIN_S = 25
PAUSED_LEASE_S = 1.0
LONG = "Take your time. "
DRAFT, FOUND = "Still looking. ", "It is found."


@pytest.mark.parametrize(
    "turns", [24, pytest.param(200, marks=[pytest.mark.drill, pytest.mark.timeout(600)])]
)
async def test_two_bots_split_the_turns_and_double_none(
    turns: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    async with fleet(tmp_path, bots=2) as team:
        await team.start()
        for number in range(turns):
            place = team.places[0 if number % 8 == 0 else 1]  # Slack allows fewer edits
            await place.ask(a_sum(""))
        tally = await team.settle()
        assert await team.stop() == [0, 0]
        ended = [bot.said("turn.ended") for bot in team.bots]
        violations = (await team.audit()).violations

    record_figure(
        row="A4",
        promise="A second instance shares the work; no turn is done by both",
        figure=f"{turns} turns, {tally}; split {ended[0]} to {ended[1]}",
    )
    assert tally.is_clean
    assert violations == []
    assert min(ended) > 0
    assert sum(ended) == turns


class Paced:
    """A model that takes a second, or far too long for a question that begins with LONG; when
    such a one is asked again, a second too. `asked` are the times, by question."""

    def __init__(self, *, second_s: float) -> None:
        self._second_s = second_s
        self.asked: dict[str, list[float]] = {}

    def __call__(self, request: ModelRequest) -> Reply:
        reply = demo_policy(request)
        text = request.messages[-1].text
        if not isinstance(reply, Say | Step):
            return reply
        is_long = LONG in text and "Result of" not in text
        times = self.asked.setdefault(text, []) if is_long else []
        times.append(time.monotonic())
        pace_s = 60.0 if is_long and len(times) == 1 else self._second_s
        return replace(reply, chunk=8, delay_s=pace_s / max(len(reply.text) / 8, 1))

    def late_s(self, since: float) -> float:
        """How long after `since` the last long question was asked again; 0 if none was."""
        again = [times[-1] - since for times in self.asked.values() if len(times) > 1]
        return max(again, default=0.0)


@pytest.mark.parametrize(
    ("runs", "turns", "long"),
    [
        (1, 10, 0),
        pytest.param(10, 50, 10, marks=[pytest.mark.drill, pytest.mark.timeout(900)]),
    ],
)
async def test_sigterm_ends_short_turns_hands_over_long_ones_and_is_over_in_time(
    runs: int, turns: int, long: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    async with fork_server() as server:
        places = asyncio.Semaphore(5)

        async def run(number: int) -> tuple[Tally, float, float, int | None, list[str]]:
            async with places:
                return await _one_shutdown(server, tmp_path / str(number), turns, long)

        ended = await asyncio.gather(*(run(number) for number in range(runs)))

    tally = sum((each[0] for each in ended), start=Tally())
    stopped_s, late_s = max(each[1] for each in ended), max(each[2] for each in ended)
    record_figure(
        row="A3",
        promise="SIGTERM: short turns end, long ones go on in the next process, exit 0 in 25 s",
        figure=f"{runs} stops under {turns} running turns, {tally}; slowest exit "
        f"{stopped_s:.1f} s, the last long turn begun elsewhere {late_s:.1f} s later",
    )
    assert tally.is_clean
    assert tally.told == 0
    assert {each[3] for each in ended} == {0}
    assert [each[4] for each in ended if each[4]] == []
    assert stopped_s <= STOPS_WITHIN_S
    assert late_s <= 2.0


async def _one_shutdown(
    server: ForkServer, folder: Path, turns: int, long: int
) -> tuple[Tally, float, float, int | None, list[str]]:
    """The tally, seconds to the exit, seconds until long turns went on, exit code, violations."""
    model = Paced(second_s=1.5)
    async with fleet(folder, bots=2, server=server, policy=model) as team:
        (bot, other) = team.bots
        await team.start()
        for number in range(turns):
            question = a_sum("", LONG if number < long else "")
            await team.places[number % 2].ask(question)
        await asyncio.sleep(1.0)
        begun = time.monotonic()
        code = await bot.end()
        over = time.monotonic()
        tally = await team.settle()
        late_s = model.late_s(over)
        assert await other.end() == 0
        violations = [str(each) for each in (await team.audit()).violations]
    return tally, over - begun, late_s, code, violations


class SlowAtFirst:
    """Says `DRAFT` over and over at first; asked again, it has the answer at once."""

    def __init__(self) -> None:
        self._asked: set[str] = set()

    def __call__(self, request: ModelRequest) -> Reply:
        text = request.messages[-1].text
        is_first = text not in self._asked
        self._asked.add(text)
        answer = DRAFT * 100 if is_first else FOUND
        step = {"action": "final", "arguments": {"answer": answer}}
        return Step({"thought": "", "step": step}, chunk=8, delay_s=0.05 if is_first else 0.0)


async def test_a_bot_frozen_amid_its_answer_shows_no_draft_over_the_one_given_meanwhile(
    tmp_path: Path,
) -> None:
    async with fleet(tmp_path, bots=2, policy=SlowAtFirst(), lease_s=PAUSED_LEASE_S) as team:
        frozen, heir = team.bots
        questions = [
            Question("", f"Is it found on {place.name}?", (FOUND,)) for place in team.places
        ]
        await frozen.start()
        await connected(team.places, 1)
        for place, question in zip(team.places, questions, strict=True):
            await place.ask(question)
        await _until(team, lambda: all(DRAFT in "".join(each.said) for each in questions))
        frozen.freeze()
        await heir.start()
        await _until(team, lambda: all(each.is_answered for each in questions))
        frozen.thaw()
        await asyncio.sleep(2.5)
        tally = await team.settle()
        assert await team.stop() == [0, 0]

    assert tally.is_clean
    assert [each.said for each in questions] == [[FOUND], [FOUND]]


async def _until(team: Fleet, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.05)
            for place in team.places:
                place.look()


@pytest.mark.parametrize(
    ("pauses", "bots"),
    [(2, 2), pytest.param(200, 8, marks=[pytest.mark.drill, pytest.mark.timeout(1200)])],
)
async def test_a_frozen_bot_that_wakes_up_late_changes_nothing(
    pauses: int, bots: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    async with fleet(tmp_path, bots=bots, lease_s=PAUSED_LEASE_S) as team:
        await team.start()
        per_bot = max(pauses // (bots // 2), 1)
        sleepers = [_sleepy(team, number, per_bot) for number in range(bots // 2)]
        asking = asyncio.create_task(_keep_asking(team), name="asking")
        await asyncio.gather(*sleepers)
        asking.cancel()
        await asyncio.wait((asking,))
        tally = await team.settle()
        stale = sum(bot.said("fence.stale") for bot in team.bots)
        codes = await team.stop()
        violations = (await team.audit()).violations

    record_figure(
        row="A5",
        promise="A process frozen past its lease and woken up again writes nothing stale",
        figure=f"{per_bot * (bots // 2)} pauses, {tally}; {stale} late writes refused by the fence",
    )
    assert violations == []
    assert set(codes) == {0}
    assert tally.is_clean
    assert tally.told == 0


async def _sleepy(team: Fleet, number: int, pauses: int) -> None:
    """Freeze two bots in turn, each past its lease."""
    dice, pair = jitter(number), (team.bots[2 * number], team.bots[2 * number + 1])
    for pause in range(pauses):
        await asyncio.sleep(dice.uniform(0.2, 0.8))
        bot = pair[pause % 2]
        bot.freeze()
        await asyncio.sleep(PAUSED_LEASE_S + 1.5)
        bot.thaw()


async def _keep_asking(team: Fleet) -> None:
    while True:
        for place in team.places:
            await place.ask(a_sum(""))
        await asyncio.sleep(0.5)
