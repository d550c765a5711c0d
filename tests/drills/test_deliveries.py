"""The same event several times, and one that died before it was saved (rows C1, C2)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapters.models.scripted import demo_policy
from tests.drills.figures import RecordFigure
from tests.drills.fleet import fleet
from tests.drills.places import a_sum, settle

SETTLE_S = 40
TIMES = 4


@pytest.mark.parametrize(
    ("platform", "events", "bots"),
    [
        ("discord", 80, 2),
        pytest.param("slack", 250, 6, marks=[pytest.mark.drill, pytest.mark.timeout(900)]),
        pytest.param("discord", 3_000, 3, marks=[pytest.mark.drill, pytest.mark.timeout(900)]),
    ],
)
async def test_an_event_delivered_four_times_at_once_to_several_bots_is_one_turn(
    platform: str, events: int, bots: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    async with fleet(
        tmp_path, bots=bots, platforms=[platform], policy=demo_policy, channels=200
    ) as team:
        (place,) = team.places
        await team.start()
        for number in range(events):
            question = a_sum("")
            await place.ask(question)
            await asyncio.gather(*(place.ask_again(question) for _ in range(TIMES - 1)))
            if number % 20 == 19:
                await asyncio.sleep(0.3)
        tally = await team.settle(within_s=SETTLE_S if events < 100 else 600)
        await team.stop()
        ended = sum(bot.said("turn.ended") for bot in team.bots)
        violations = (await team.audit()).violations

    record_figure(
        row="C1",
        promise="An event delivered four times at once, to several processes, is one turn",
        figure=f"{events:,} events × {TIMES} on {platform.title()}, {bots} processes: {tally}; "
        f"{ended:,} turns",
    )
    assert tally.is_clean
    assert tally.told == 0
    assert ended == events
    assert violations == []


@pytest.mark.parametrize(
    ("platform", "events"),
    [
        ("slack", 2),
        pytest.param("slack", 150, marks=[pytest.mark.drill, pytest.mark.timeout(900)]),
        # A process that was killed may begin a session every five seconds only.
        pytest.param("discord", 15, marks=[pytest.mark.drill, pytest.mark.timeout(900)]),
    ],
)
async def test_an_event_whose_first_delivery_died_before_it_was_saved_is_answered(
    platform: str, events: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    rule = {"effect": "redis ACCEPT", "about": "FIRST", "once": f"{tmp_path}/died-|FIRST\\d+"}
    bots = 4 if platform == "slack" else 1
    async with fleet(
        tmp_path,
        bots=bots,
        platforms=[platform],
        policy=demo_policy,
        channels=40 if platform == "slack" else 1,  # only channels that were heard are looked into
    ) as team:
        (place,) = team.places
        await team.start(rules=[rule])
        await place.ask(a_sum(""))  # heard here before, so what is missed later is looked for
        await settle(team.places, within_s=SETTLE_S, quiet_s=0.0)
        async with team.kept_alive() as deaths:
            for number in range(events):
                await place.ask(a_sum("", f"FIRST{number} "))
                await asyncio.sleep(0.3 if platform == "slack" else 0.8)
            tally = await team.settle(within_s=SETTLE_S if events < 10 else 180)
        await team.stop()
        violations = (await team.audit()).violations

    how = "by Slack's resend" if platform == "slack" else "from Discord's history"
    record_figure(
        row="C2",
        promise="An event whose first delivery died before it was saved is answered",
        figure=f"{events} such events, {deaths.total()} deaths, answered {how}: {tally}",
    )
    assert deaths.total() >= 0.9 * events  # two that come at once may share a death
    assert tally.is_clean
    assert tally.told == 0
    assert violations == []
