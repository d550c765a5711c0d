"""An event that kills whoever touches it is given up after three deaths (row A7)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from adapters.stores.dead import DeadLetters, DeadTurn
from tests.drills.figures import RecordFigure
from tests.drills.fleet import Fleet, fleet
from tests.drills.places import Question, a_sum, settle
from tools.identity import tenant_of

SETTLE_S = 60
DEADLY = "DEADLY"
DEATHS = 3


@pytest.mark.parametrize(
    ("deadly", "others"),
    [(1, 3), pytest.param(20, 200, marks=[pytest.mark.drill, pytest.mark.timeout(900)])],
)
async def test_a_deadly_event_is_given_up_after_three_deaths_and_told(
    deadly: int, others: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    rule = {"effect": ".*chat/completions", "about": DEADLY}
    async with fleet(tmp_path, bots=4, max_deaths=DEATHS, lease_s=1.0) as team:
        await team.start(rules=[rule])
        async with team.kept_alive() as deaths:
            calm_s = await _asked(team, others)
            alive_since = deaths.total()
            asking = asyncio.create_task(_asked(team, others), name="others")
            killers = [await _deadly(team) for _ in range(deadly)]
            beside_s = await asking
            died = deaths.total() - alive_since
        tally = await team.settle()
        letters = await _letters(team)
        await team.stop()
        violations = (await team.audit()).violations

    figure = (
        f"{deadly} deadly events: {died} deaths, {len(letters)} dead letters, {tally}; the "
        f"others' 95th percentile {_p95(beside_s):.1f} s beside {_p95(calm_s):.1f} s before"
    )
    promise = "An event that kills its worker is tried three times, then parked and told"
    record_figure(row="A7", promise=promise, figure=figure)
    assert died == DEATHS * deadly, figure
    assert all(question.is_told for question in killers)
    assert [letter.letter.deaths for letter in letters] == [DEATHS + 1] * deadly
    assert (tally.lost, tally.doubled, tally.told) == (0, 0, deadly), figure
    assert violations == []
    if others >= 100:
        assert _p95(beside_s) <= 1.5 * _p95(calm_s), figure


async def _deadly(team: Fleet) -> Question:
    """Ask it alone, and wait until it is told."""
    question = a_sum("", f"{DEADLY} ")
    await team.places[-1].ask(question)
    await settle(team.places, within_s=SETTLE_S, quiet_s=0.0)
    return question


async def _asked(team: Fleet, count: int) -> list[float]:
    """Ask `count` harmless questions; the seconds until each answer stood there."""

    async def one() -> float:
        question, begun = a_sum(""), time.monotonic()
        await team.places[-1].ask(question)
        async with asyncio.timeout(SETTLE_S):
            while not question.is_answered:
                await asyncio.sleep(0.1)
                team.places[-1].look()
        return time.monotonic() - begun

    async with asyncio.TaskGroup() as group:
        tasks = []
        for _ in range(count):
            tasks.append(group.create_task(one()))
            await asyncio.sleep(0.2)
    return [task.result() for task in tasks]


async def _letters(team: Fleet) -> list[DeadTurn]:
    async with team.store() as (batcher, keys):
        dead = DeadLetters(batcher, keys)
        return [each for tenant in _tenants(team) for each in await dead.of(tenant)]


def _tenants(team: Fleet) -> list[str]:
    return [tenant_of(*place.tenant) for place in team.places]


def _p95(seconds: list[float]) -> float:
    return sorted(seconds)[int(0.95 * (len(seconds) - 1))]
