"""A platform takes a message and the line breaks before it says so (row D1)."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from adapters.models.scripted import demo_policy
from tests.drills.figures import RecordFigure
from tests.drills.fleet import fleet
from tests.drills.places import OnDiscord, OnSlack, Place, a_sum, jitter

SETTLE_S = 45
SLACK = ("chat.postMessage", "chat.update")
DISCORD = ("POST", "PATCH")


@pytest.mark.parametrize(
    ("platform", "cuts", "bots"),
    [
        ("discord", 10, 1),
        pytest.param("slack", 300, 8, marks=[pytest.mark.drill, pytest.mark.timeout(1200)]),
        pytest.param("discord", 1000, 4, marks=[pytest.mark.drill, pytest.mark.timeout(1200)]),
    ],
)
async def test_a_line_cut_after_the_platform_accepted_makes_no_second_message(
    platform: str, cuts: int, bots: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    dice = jitter(cuts)
    async with fleet(
        tmp_path, bots=bots, platforms=[platform], policy=demo_policy, channels=100
    ) as team:
        (place,) = team.places
        await team.start()
        scissors, names = _scissors(place)
        done = 0
        while done < cuts:
            if scissors.total() < bots:
                scissors[dice.choice(names)] += 1
                done += 1
                await place.ask(a_sum(""))
            await asyncio.sleep(0.05)
        tally = await team.settle(within_s=SETTLE_S if cuts < 100 else 180)
        cut = done - scissors.total()
        await team.stop()
        violations = (await team.audit()).violations

    record_figure(
        row="D1",
        promise="A message that was taken though the line broke stands there once",
        figure=f"{cut:,} cuts of posts and edits on {platform.title()}: {tally}",
    )
    assert cut >= cuts - 1
    assert tally.is_clean
    assert tally.told == 0
    assert violations == []


def _scissors(place: Place) -> tuple[Counter[str], tuple[str, str]]:
    """What to count up for one cut, and the names of the two calls that can be cut."""
    if isinstance(place, OnSlack):
        return place.slack.web.cut_after, SLACK
    assert isinstance(place, OnDiscord)
    return place.discord.gate.cut_after, DISCORD
