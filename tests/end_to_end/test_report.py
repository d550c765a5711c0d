"""The digest: from questions and thumbs on both twins to what should be written down."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bot.evals import load_cases
from bot.report import as_cases, as_markdown, report_of, write_drafts
from bot.testing.conversation import Conversation, OnDiscord, OnSlack
from tests.knowledge.handbook import read_handbook

IN_VAIN = "Which Stripe API key do I need for payments?"


@pytest.fixture
async def firstline_settings(tmp_path: Path) -> Mapping[str, Any]:
    await read_handbook(tmp_path / "data")
    return {"channel_defaults.knowledge": ["handbook"]}


@pytest.fixture(params=("slack_conversation", "discord_conversation"))
def talk(request: pytest.FixtureRequest) -> Conversation:
    found: Conversation = request.getfixturevalue(request.param)
    return found


async def rate(talk: Conversation, kind: str) -> None:
    """Press a thumb under the last answer."""
    person = talk.person
    if isinstance(person, OnSlack):
        ts = person.slack.posted(person.channel, person.thread)[-1].ts
        await person.slack.press(person.user, person.channel, ts, f"firstline_{kind}")
        return
    assert isinstance(person, OnDiscord)
    posted = person.discord.posted(person.discord.general)  # the thanks for a press too
    rated = [each for each in posted if any(f":{kind}:" in button for button in each.buttons)]
    await person.discord.press(person.discord.alice, str(rated[-1].id), kind)


async def test_what_was_asked_in_vain_and_rated_is_told_with_what_to_do(
    talk: Conversation, tmp_path: Path
) -> None:
    stores = talk.bot.stores
    tenant = f"slack:{talk.person.slack.world.team_id}" if isinstance(talk.person, OnSlack) else ""
    if isinstance(talk.person, OnDiscord):
        tenant = f"discord:{talk.person.discord.world.guild_id}"
    await talk.ask(IN_VAIN)
    await talk.ask(IN_VAIN.upper())
    talk.model.says("Every employee has 28 days of vacation a year [1].")
    await talk.ask("How many days of vacation do I have?")
    await rate(talk, "up")
    talk.model.says("Choose VPN and press Reset [1].")
    await talk.ask("How do I reset the VPN password?")
    await rate(talk, "down")
    async with asyncio.timeout(10):
        while not (await report_of(stores, tenant, days=7)).bad:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    report = await report_of(stores, tenant, days=7)
    told = as_markdown(report)
    assert report.states["answered"] == 4
    [(question, count, nearest)] = report.missing
    assert (question.casefold(), count) == (IN_VAIN.casefold(), 2)
    assert nearest
    assert "(2 times); write it down, perhaps in: " in told
    assert [each.question for each in report.bad] == ["How do I reset the VPN password?"]

    assert write_drafts(report, tmp_path / "drafts") == 1
    [draft] = (tmp_path / "drafts").iterdir()
    assert draft.name == "how-many-days-of-vacation-do-i-have.md"
    assert draft.read_text() == (
        "# How many days of vacation do I have?\n\nEvery employee has 28 days of vacation a year.\n"
    )
    cases = tmp_path / "cases.tsv"
    cases.write_text(as_cases(report).replace("# ", ""))
    assert len(load_cases(cases)) == 2


async def test_what_was_forgotten_is_in_no_report(slack_conversation: Conversation) -> None:
    talk = slack_conversation
    await talk.ask(IN_VAIN)
    await talk.ask_command("!memory forget")

    report = await report_of(talk.bot.stores, "slack:T0TWIN", days=7)
    assert report.missing == ()
    assert "Stripe" not in as_markdown(report)
