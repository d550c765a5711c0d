"""SIGKILL at random points: nothing accepted is lost, nothing is said twice (row A1)."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from adapters.models.scripted_server import ScriptedServer
from tests.end_to_end.bot_process import bot_process
from tests.end_to_end.test_platforms import OnSlack, models, slowly
from tests.twins.slack import SlackTwin

# A turn that meets many kills is no poison here: let it be tried as often as it takes.
PATIENT = "max_deaths = 20\n"
SETTLE_S = 60


@pytest.mark.parametrize(
    "kills", [3, pytest.param(100, marks=[pytest.mark.drill, pytest.mark.timeout(900)])]
)
async def test_every_question_has_one_right_answer_however_often_the_bot_is_killed(
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
            await slack.wait_for(
                lambda: all(answered(slack, each, text) for each, text in wanted.items()),
                SETTLE_S,
            )

    said = {thread: replies(slack, thread) for thread in wanted}
    assert [thread for thread, texts in said.items() if len(texts) != 1] == []


def answered(slack: SlackTwin, thread: str, text: str) -> bool:
    return any(text in reply for reply in replies(slack, thread))


def replies(slack: SlackTwin, thread: str) -> list[str]:
    posted = slack.posted("C1", thread)
    return [each.text for each in posted if each.user == slack.world.bot_user_id]
