"""A person is called, the bot is quiet, and a press ends it: on both platforms with buttons."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from bot.testing.conversation import Conversation, OnDiscord, OnSlack
from bot.testing.discord import Channel, DiscordTwin

TEAM = "C9"
ASKED = {"reason": "asks for a person", "summary": "Invoice 12 was charged twice."}


@pytest.fixture
def discord_team(discord_twin: DiscordTwin) -> Channel:
    return discord_twin.world.add_channel("text", "team")


@pytest.fixture
def firstline_settings(discord_twin: DiscordTwin, discord_team: Channel) -> Mapping[str, Any]:
    guild = f"discord:{discord_twin.world.guild_id}"
    return {
        "hand_over.channels": {"slack": TEAM, guild: str(discord_team.id)},
        "slack.allow.channels": ["*"],
        "discord.allow.channels": ["*"],
    }


@pytest.fixture(params=("slack_conversation", "discord_conversation"))
def talk(request: pytest.FixtureRequest) -> Conversation:
    found: Conversation = request.getfixturevalue(request.param)
    return found


async def test_the_team_reads_the_summary_and_the_bot_is_quiet_until_it_is_resolved(
    talk: Conversation, discord_team: Channel
) -> None:
    team = Team(talk, discord_team)
    talk.model.calls("hand_over", **ASKED).says("Somebody will answer you here.")
    await talk.person.say("I want to talk to a human")
    await talk.hear("Somebody will answer")
    await team.called()
    kept = await talk.bot.stores.batcher.command(
        "HVALS", talk.bot.stores.keys.hand_overs(team.tenant)
    )
    assert b"I want to talk" not in b"".join(kept)  # where, and not what was said
    [call] = team.read()
    assert "Invoice 12 was charged twice." in call
    assert "https://" in call

    said = len(talk.person.replies())
    await talk.person.say("Is somebody there?")
    await talk.turn_ended("a person has taken over")
    assert len(talk.person.replies()) == said

    await team.press_resolved()
    await talk.hear("This is resolved")
    talk.model.says("Here I am again.")
    assert "Here I am again." in await talk.ask("And now?")


async def test_a_person_can_call_somebody_whatever_the_model_thinks(
    talk: Conversation, discord_team: Channel
) -> None:
    team = Team(talk, discord_team)
    talk.model.says("Turn it off and on again.")
    await talk.ask("My printer burns")

    assert "I have called a person" in await talk.ask_command("!human it really burns")
    await team.called()
    [call] = team.read()
    assert "it really burns" in call
    assert "They: My printer burns" in call
    assert "called already" in await talk.ask_command("!human")
    assert "I answer here again" in await talk.ask_command("!resolved")
    talk.model.says("Back.")
    assert "Back." in await talk.ask("Hello?")


async def test_a_second_press_of_resolved_says_so_and_does_nothing(
    slack_conversation: Conversation, discord_team: Channel
) -> None:
    team = Team(slack_conversation, discord_team)
    await slack_conversation.ask_command("!human")
    await team.called()
    await team.press_resolved()
    await slack_conversation.hear("This is resolved")

    assert "resolved already" in await team.press_resolved(is_told=True)


async def test_who_calls_two_answers_bad_gets_a_person(
    slack_conversation: Conversation, discord_team: Channel
) -> None:
    talk, person = slack_conversation, slack_conversation.person
    assert isinstance(person, OnSlack)
    team = Team(talk, discord_team)
    for n in range(2):
        talk.model.says("Have you tried turning it off and on?")
        await talk.ask("My printer burns")
        assert team.read() == []
        ts = person.slack.posted(person.channel, person.thread)[-1].ts
        run = await person.slack.press(person.user, person.channel, ts, "firstline_down")
        await person.slack.wait_for(lambda: run.answers)  # noqa: B023 (awaited here)
        assert ("I have called a person" in run.answers[-1]) is (n == 1)
    await team.called()

    assert "They: My printer burns" in team.read()[0]


async def test_without_a_team_the_bot_says_so(mattermost_conversation: Conversation) -> None:
    assert "no team here" in await mattermost_conversation.ask_command("!human")


class Team:
    """The team's channel, as somebody of the team sees it."""

    def __init__(self, talk: Conversation, channel: Channel) -> None:
        self._person, self._channel = talk.person, channel
        if isinstance(self._person, OnSlack):
            self._person.slack.add_channel(TEAM)

    @property
    def tenant(self) -> str:
        if isinstance(self._person, OnSlack):
            return f"slack:{self._person.slack.world.team_id}"
        assert isinstance(self._person, OnDiscord)
        return f"discord:{self._person.discord.world.guild_id}"

    def read(self) -> list[str]:
        if isinstance(self._person, OnSlack):
            return [each.text for each in self._person.slack.posted(TEAM)]
        assert isinstance(self._person, OnDiscord)
        return [each.content for each in self._person.discord.posted(self._channel)]

    async def called(self) -> None:
        async with asyncio.timeout(10):
            while not any("needed" in said for said in self.read()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def press_resolved(self, *, is_told: bool = False) -> str:
        """What the one who pressed was told, on Slack; waited for if `is_told`."""
        if isinstance(self._person, OnSlack):
            slack = self._person.slack
            run = await slack.press(
                self._person.user, TEAM, slack.posted(TEAM)[-1].ts, "firstline_resolve"
            )
            await slack.wait_for(lambda: run.answers or not is_told)
            return run.answers[-1] if run.answers else ""
        assert isinstance(self._person, OnDiscord)
        discord = self._person.discord
        await discord.press(discord.alice, str(discord.posted(self._channel)[-1].id), "resolve")
        return ""
