"""The whole bot is away while people ask; back again it answers each once (row C9)."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from adapters.models.scripted import demo_policy
from tests.drills.figures import RecordFigure
from tests.drills.fleet import fleet
from tests.drills.places import OnSlack, Tally, a_sum, connected, jitter, settle

CHANNELS = 6
MISSED = 4  # of every outage and platform


@pytest.mark.parametrize("platform", ["slack", "discord"])
@pytest.mark.parametrize(
    "outages", [1, pytest.param(50, marks=[pytest.mark.drill, pytest.mark.timeout(900)])]
)
async def test_what_was_asked_while_the_bot_was_away_is_answered_once(
    platform: str, outages: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    dice = jitter(outages)
    async with fleet(
        tmp_path, bots=1, platforms=[platform], channels=CHANNELS, policy=demo_policy
    ) as team:
        (place,), (bot,) = team.places, team.bots
        if isinstance(place, OnSlack):
            place.slack.socket.loses_when_away = True
        # A first install replays nothing: this one is asked before anybody ever listened.
        await place.ask(never := a_sum(""))
        await team.start()
        for _ in range(CHANNELS):
            await place.ask(a_sum(""))
        place.questions.remove(never)
        assert await settle(team.places, within_s=60)
        place.questions.append(never)
        place.look()
        assert place.questions.pop().said == []
        for _ in range(outages):
            await bot.end(dice.choice((signal.SIGTERM, signal.SIGKILL)))
            for _ in range(MISSED):
                await place.ask(a_sum(""))
            await bot.start()
            await connected(team.places, 1)
            if not await settle(team.places, within_s=60, quiet_s=0.2):
                break
        tally = Tally.of(place)
        await team.stop()
        violations = (await team.audit()).violations

    record_figure(
        row="C9",
        promise="Direct questions missed while the bot was away are answered once",
        figure=f"{outages} outages of the whole bot on {platform}: {tally}; "
        f"{len(violations)} violations",
    )
    assert tally.is_clean
    assert violations == []
