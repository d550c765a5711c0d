"""SIGKILL at random points: nothing accepted is lost, nothing is said twice (row A1)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.drills.figures import RecordFigure
from tests.drills.fleet import fleet
from tests.drills.places import Tally, a_sum, jitter
from tests.drills.processes import fork_server

ROUND = 250  # kills on one Redis and one pair of platforms; Discord allows 1,000 logins a day
PROMISE = (
    "A process may be killed at any instant: every question is answered once, or its author is "
    "told once"
)


@pytest.mark.parametrize(
    ("kills", "bots", "agent"),
    [
        (3, 2, False),
        (3, 2, True),
        pytest.param(150, 4, True, marks=[pytest.mark.drill, pytest.mark.timeout(900)]),
        pytest.param(1000, 6, False, marks=[pytest.mark.drill, pytest.mark.timeout(1800)]),
    ],
)
async def test_every_question_is_answered_or_told_once_however_often_a_bot_is_killed(
    kills: int, bots: int, agent: bool, tmp_path: Path, record_figure: RecordFigure
) -> None:
    """An `agent`'s replies are streamed natively in Slack."""
    tallies, violations = list[Tally](), list[str]()
    async with fork_server() as server:
        for number, of_round in enumerate(_rounds(kills)):
            folder = tmp_path / str(number)
            async with fleet(folder, bots=bots, server=server, agent=agent) as team:
                dice = jitter(number)
                await team.start()
                for kill in range(of_round):
                    for place in team.places:
                        await place.ask(a_sum(""))
                    await asyncio.sleep(dice.uniform(0, 0.8 if kills > 10 else 1.5))
                    bot = team.bots[kill % bots]
                    await bot.kill()
                    await bot.start()
                tallies.append(await team.settle())
                await team.stop()
                violations += map(str, (await team.audit()).violations)

    total = sum(tallies, start=Tally())
    figure = f"{kills:,} kills of {bots} processes, {total}; auditor: {len(violations)} violations"
    if not agent:
        record_figure(row="A1", promise=PROMISE, figure=figure)
    assert total.is_clean, figure
    assert violations == []


def _rounds(kills: int) -> list[int]:
    full, rest = divmod(kills, ROUND)
    return [ROUND] * full + [rest] * bool(rest)
