"""The whole bot is away while people ask; back again it answers each once (row C9)."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from adapters.models.scripted import demo_policy
from tests.drills.figures import RecordFigure
from tests.drills.fleet import fleet
from tests.drills.places import OnSlack, Place, Question, Tally, a_sum, connected, jitter, settle

CHANNELS = 6
MISSED = 3  # of every outage, on each platform


@pytest.mark.parametrize(
    "outages", [1, pytest.param(100, marks=[pytest.mark.drill, pytest.mark.timeout(900)])]
)
async def test_what_was_asked_while_the_bot_was_away_is_answered_once(
    outages: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    dice = jitter(outages)
    async with fleet(tmp_path, bots=1, channels=CHANNELS, policy=demo_policy) as team:
        (bot,) = team.bots
        for place in team.places:
            if isinstance(place, OnSlack):
                place.slack.socket.loses_when_away = True
        await team.start()
        for place in team.places:
            for _ in range(CHANNELS):
                await asked(place)
        assert await settle(team.places, within_s=60)
        for _ in range(outages):
            await bot.end(dice.choice((signal.SIGTERM, signal.SIGKILL)))
            for place in team.places:
                for _ in range(MISSED):
                    await asked(place)
            await bot.start()
            await connected(team.places, 1)
            if not await settle(team.places, within_s=60, quiet_s=0.2):
                break
        tally = Tally.of(*team.places)
        await team.stop()
        violations = (await team.audit()).violations

    record_figure(
        row="C9",
        promise="Direct questions missed while the bot was away are answered once",
        figure=f"{outages} outages of the whole bot on Slack and Discord: {tally}; "
        f"{len(violations)} violations",
    )
    assert tally.is_clean
    assert violations == []


@pytest.mark.parametrize("platform", ["slack", "discord"])
async def test_a_first_install_replays_nothing(platform: str, tmp_path: Path) -> None:
    async with fleet(
        tmp_path, bots=1, platforms=[platform], channels=CHANNELS, policy=demo_policy
    ) as team:
        (place,) = team.places
        if isinstance(place, OnSlack):
            place.slack.socket.loses_when_away = True
        early = await asked(place)  # before anybody ever listened
        place.questions.remove(early)
        await team.start()
        for _ in range(CHANNELS):  # the last one in the channel of the early one
            await asked(place)
        assert await settle(team.places, within_s=60, quiet_s=3)
        place.questions.append(early)
        place.look()

    assert early.said == []


async def asked(place: Place) -> Question:
    question = a_sum("")
    await place.ask(question)
    return question
