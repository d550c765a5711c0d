"""SIGKILL at random points: nothing accepted is lost, nothing is said twice (row A1)."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

import pytest

from adapters.models.scripted_server import ScriptedServer
from tests.end_to_end.bot_process import bot_process
from tests.end_to_end.test_platforms import OnSlack, models, slowly
from tests.twins.slack import SlackTwin

# Kills come faster than leases expire, so an early turn meets more of them than any limit of
# deaths allows; then the person is told, which is not a loss (reliability, section 2).
PATIENT = "max_deaths = 20\n"
TOLD = "tell my operator the turn id"
SETTLE_S = 60


@pytest.mark.parametrize(
    "kills", [3, pytest.param(100, marks=[pytest.mark.drill, pytest.mark.timeout(900)])]
)
async def test_every_question_is_answered_or_told_once_however_often_the_bot_is_killed(
    kills: int, tmp_path: Path
) -> None:
    dice = random.Random(kills)
    async with ScriptedServer(slowly) as url, SlackTwin() as slack:
        platform = OnSlack(slack)
        settings = platform.settings + models(url) + PATIENT
        wanted: dict[str, str] = {}
        async with bot_process(tmp_path, settings, platform.environ) as bot:
            await platform.wait_connected()
            for number in range(kills):
                question = f"What is {number}*1000+7?"
                thread = await slack.say("U1", "C1", question, mention_bot=True)
                wanted[thread] = f"found: {number * 1000 + 7}."
                await asyncio.sleep(dice.uniform(0, 1.5))
                await bot.kill()
                await bot.start()
            with contextlib.suppress(TimeoutError):
                await slack.wait_for(
                    lambda: all(settled(slack, each, text) for each, text in wanted.items()),
                    SETTLE_S,
                )

    said = {thread: replies(slack, thread) for thread in wanted}
    lost = [thread for thread, text in wanted.items() if not settled(slack, thread, text)]
    doubled = [thread for thread, texts in said.items() if len(texts) > 1]
    told = sum(TOLD in text for texts in said.values() for text in texts)
    print(f"{kills} kills: {len(lost)} lost, {len(doubled)} doubled, {told} told of a failure")
    assert (lost, doubled) == ([], [])


def settled(slack: SlackTwin, thread: str, text: str) -> bool:
    return any(text in reply or TOLD in reply for reply in replies(slack, thread))


def replies(slack: SlackTwin, thread: str) -> list[str]:
    posted = slack.posted("C1", thread)
    return [each.text for each in posted if each.user == slack.world.bot_user_id]
