"""Redis is killed under running bots: what people see (row B1)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.drills.figures import RecordFigure
from tests.drills.fleet import fleet
from tests.drills.places import a_sum, jitter
from tests.redis_servers import redis_server

FULL = [pytest.mark.drill, pytest.mark.timeout(900)]
PROMISE = "Redis is killed under running bots: every question is answered once, or told once"


@pytest.mark.parametrize("kills", [2, pytest.param(60, marks=FULL)])
async def test_every_question_is_answered_or_told_once_however_often_redis_is_killed(
    kills: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    dice = jitter(kills)
    async with (
        redis_server(tmp_path / "redis", "--appendfsync", "always") as redis,
        fleet(tmp_path / "bots", bots=2, redis_url=redis.url) as team,
    ):
        await team.start()
        for _ in range(kills):
            for place in team.places:
                await place.ask(a_sum(""))
            await asyncio.sleep(dice.uniform(0, 1.0))
            redis.kill()
            for place in team.places:  # asked while nothing can be accepted
                await place.ask(a_sum(""))
            await asyncio.sleep(dice.uniform(0.1, 1.5))
            redis.start()
            await asyncio.to_thread(redis.ready)
        tally = await team.settle()
        await team.stop()
        violations = list(map(str, (await team.audit()).violations))

    asked = [each for place in team.places for each in place.questions]
    wrong = [each for each in asked if each.is_lost or each.is_doubled]
    figure = f"{kills} kills of Redis, {tally}; auditor: {len(violations)} violations"
    record_figure(row="B1", promise=PROMISE, figure=figure)
    assert tally.is_clean, (figure, wrong)
    assert violations == []
